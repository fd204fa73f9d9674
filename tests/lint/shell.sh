#!/bin/bash
# Runs shellcheck over every file that begins with the #! line of a shell.
set -euo pipefail
cd "$(dirname "$0")/../.."

find . \( -path ./.git -o -path ./build \) -prune -o -type f -size -1024k -print0 |
    xargs --null awk 'FNR == 1 && /^#!.*[\/ ](ba|da)?sh( |$)/ { printf "%s%c", FILENAME, 0 } { nextfile }' |
    xargs --null --no-run-if-empty shellcheck --external-sources
