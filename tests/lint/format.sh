#!/bin/bash
# Whether all C and C++ is formatted as .clang-format says. `tests/lint/format.sh -i` formats it.
set -euo pipefail
cd "$(dirname "$0")/../.."

arguments=(--dry-run --Werror)
[[ ${1:-} != -i ]] || arguments=(-i)
folders=(fs daemon tests)
[[ ! -d client ]] || folders+=(client)
find "${folders[@]}" -type f \( -name '*.[ch]' -o -name '*.[ch]pp' \) -print0 2>/dev/null |
    xargs --null --no-run-if-empty --max-procs=2 --max-args=20 clang-format-19 "${arguments[@]}"
