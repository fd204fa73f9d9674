#!/bin/sh
# A child built with files: two descriptors, a variable, a limit, and a page of memory shared with this script.
set -eu
proc9=${PROC9:-/proc9}

exec 3<>"$proc9/clone"                # opening it makes the child; what is written to it builds the child
read -r id <&3
job=$proc9/$id

tell() {
    cat >&3 || { cat "$job/error" >&2; exit 1; }
}

echo 'map 0x600000 4K rw- shared' | tell
exec 4<>"$job/mem/600000"             # before the start: then mem/ closes, and what is open stays open
echo world >&4

tell <<'END'
inherit cwd
env 'GREETING=good morning'
limit NOFILE 64
fd 1 open letter w
fd 2 self:2
fd 3 mem 0x600000
exec /bin/sh -c 'read -r name <&3; echo $GREETING, $name; echo limit $(ulimit -n) >&2; echo thanks >&3; exit 3'
END

ended=$(cat "$job/wait")              # PID UTIME STIME RTIME 'STATUS'
read -r answer <&4                    # behind the line written above
echo "ended: ${ended#* * * * }"
echo "letter: $(cat letter)"
echo "memory: $answer"
