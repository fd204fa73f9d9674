#!/bin/bash
# Builds proc9 if need be, mounts it and says how to go on.
#
#     ./mount.sh [--demo] [MOUNTPOINT]     mount; --demo then shows a process being made
#     ./mount.sh -u [MOUNTPOINT]           unmount, leaving nothing behind
#
# Without MOUNTPOINT: $PROC9; else /proc9 for root; else $XDG_RUNTIME_DIR/proc9 or ~/proc9.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly ROOT
readonly PATIENCE=10              # seconds the mount has for an answer
readonly LOG_LEVEL=info           # of the daemon, unless PROC9_LOG says another
readonly MARK=.made-by-mount.sh   # lies in a directory that was made here, beneath the mount

say() { printf '%s\n' "$*"; }
fail() {
    printf 'mount.sh: %s\n' "$*" >&2
    exit 1
}

# eventually SECONDS COMMAND...: whether it becomes true in time
eventually() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        ((SECONDS < end)) || return 1
        sleep 0.05
    done
}

# --- where ----------------------------------------------------------------------------------------

default_mountpoint() {
    if [[ -n ${PROC9:-} ]]; then
        say "$PROC9"
    elif ((EUID == 0)); then
        say /proc9
    elif [[ -d ${XDG_RUNTIME_DIR:-} ]]; then
        say "$XDG_RUNTIME_DIR/proc9"
    else
        say "${HOME:?is not set}/proc9"
    fi
}

# The name as the kernel lists it. Looks only at the directory above: touching a dead mount fails, a stuck one hangs.
absolute() {
    local parent
    parent=$(cd "$(dirname -- "$1")" 2>/dev/null && pwd -P) || fail "there is no directory $(dirname -- "$1")"
    say "${parent%/}/$(basename -- "$1")"
}

# A checkout that belongs to somebody else is built in one's own cache.
build_directory() {
    if [[ -w $ROOT ]]; then
        say "$ROOT/build/release"
    else
        say "${XDG_CACHE_HOME:-${HOME:?is not set}/.cache}/proc9/build"
    fi
}

# --- what is there --------------------------------------------------------------------------------

# The type of what is mounted at the mount point, or nothing; asks only the kernel.
mounted_type() {
    local where rest type=
    while read -r _ _ _ _ where rest; do
        printf -v where %b "${where//\\/\\0}"   # a blank is listed as \040
        [[ $where != "$MOUNTPOINT" ]] || type=${rest##* - }
    done </proc/self/mountinfo
    say "${type%% *}"
}
is_mounted() { [[ $(mounted_type) == fuse* ]]; }

# One of: absent, answers, dead, stuck, or what else is in the way. Whoever asks a stuck mount is left behind: inside a
# request that is never answered a process cannot even be killed, and timeout(1) would wait for it.
condition() {
    local type answer=stuck
    type=$(mounted_type)
    case $type in
        '') say absent ;;
        fuse*)
            read -r -t "$PATIENCE" answer < <(LC_ALL=C stat -c answers -- "$MOUNTPOINT/ctl" 2>&1) || answer=stuck
            case $answer in
                *'not connected' | *'connection abort') say dead ;;
                *) say "$answer" ;;
            esac
            ;;
        *) say "a file system of type $type" ;;
    esac
}
answers() { [[ $(condition) == answers ]]; }

# The pids of the daemons that serve the mount point, and of their keepers.
daemons() {
    local process name words
    for process in /proc/[0-9]*; do
        { read -r name <"$process/comm" && [[ $name == proc9d || $name == proc9d-keeper ]]; } 2>/dev/null || continue
        { mapfile -d '' words <"$process/cmdline"; } 2>/dev/null || continue
        ((${#words[@]})) || continue   # dead, and nobody has asked how it ended
        [[ ${words[-1]} == "$MOUNTPOINT" && $process/ns/mnt -ef /proc/self/ns/mnt ]] || continue
        say "${process#/proc/}"
    done
}
no_daemons() { [[ -z $(daemons) ]]; }

# --- what is to be done ---------------------------------------------------------------------------

build() {
    local output quiet=--quiet
    [[ ! -t 1 ]] || quiet=   # then it tells how far it is, in one line
    "$ROOT/cmake/install-dependencies.sh" --build >/dev/null
    [[ -x $PROC9D ]] || say "building proc9; the first time this takes some minutes"
    [[ -f $BUILD/build.ninja ]] || (cd "$ROOT" && cmake --preset release -B "$BUILD" >/dev/null)
    if [[ -x $PROC9D ]]; then
        output=$(ninja --quiet -C "$BUILD") || fail "proc9 does not build"$'\n'"$output"
    else
        ninja ${quiet:+"$quiet"} -C "$BUILD" || fail "proc9 does not build"
    fi
}

make_directory() {
    [[ ! -d $MOUNTPOINT ]] || return 0
    mkdir -- "$MOUNTPOINT" || exit 1
    : >"$MOUNTPOINT/$MARK"
}

remove_directory() {
    [[ -e $MOUNTPOINT/$MARK ]] || return 0
    rm -f -- "$MOUNTPOINT/$MARK"
    rmdir -- "$MOUNTPOINT"
}

# detach [lazily]
detach() {
    if ((EUID == 0)); then
        timeout 3 umount ${1:+--lazy} -- "$MOUNTPOINT"
    else
        timeout 3 fusermount3 -u ${1:+-z} -- "$MOUNTPOINT"
    fi
}

signal_daemons() {
    local pids
    mapfile -t pids < <(daemons)
    ((${#pids[@]} == 0)) || kill "-$1" "${pids[@]}" 2>/dev/null || true
}

# Takes away the mount, be it busy, stuck or dead, and its daemon.
unmount() {
    is_mounted || say "nothing is mounted at $MOUNTPOINT"
    if is_mounted && ! detach 2>/dev/null; then
        signal_daemons TERM
        eventually 2 no_daemons || signal_daemons KILL
        ! is_mounted || detach lazily || fail "cannot unmount $MOUNTPOINT"
    fi
    eventually 3 no_daemons || signal_daemons TERM
    eventually 3 no_daemons || signal_daemons KILL
    eventually 3 no_daemons || fail "the daemon of $MOUNTPOINT does not end; its pid: $(daemons)"
    remove_directory
}

mount_it() {
    make_directory
    if ! PROC9_LOG=${PROC9_LOG:-$LOG_LEVEL} timeout --foreground 30 "$PROC9D" --keep --log "$LOG" "$MOUNTPOINT" </dev/null; then
        remove_directory
        [[ -r /dev/fuse && -w /dev/fuse ]] || say "/dev/fuse cannot be opened; for root: chmod 666 /dev/fuse" >&2
        fail "proc9d could not mount $MOUNTPOINT"
    fi
    eventually "$PATIENCE" answers || fail "proc9d was started, but $MOUNTPOINT does not answer: $(condition)"
}

# The file that the daemon was started from; " (deleted)" behind it if that is another one by now.
served_by() { readlink "/proc/$(daemons | head -n 1)/exe" || true; }
is_current() { [[ $(served_by) == "$PROC9D" ]]; }

# Sees to it that there is a mount that answers.
mount_up() {
    local state program
    state=$(condition)
    case $state in
        absent) mount_it ;;
        dead)
            say "the daemon of $MOUNTPOINT has died; mounting anew"
            unmount
            mount_it
            ;;
        answers)
            say "proc9 was mounted already"
            program=$(served_by)
            if [[ $program == "$PROC9D (deleted)" ]]; then
                signal_daemons HUP
                eventually "$PATIENCE" is_current || fail "the daemon of $MOUNTPOINT does not change to the new build"
                say "its daemon has been replaced by the new build"
            elif [[ ${program:-$PROC9D} != "$PROC9D" ]]; then
                say "note: what serves $MOUNTPOINT is $program; ./mount.sh -u and ./mount.sh change to this build"
            fi
            ;;
        stuck) fail "$MOUNTPOINT does not answer within $PATIENCE seconds; ./mount.sh -u takes it away" ;;
        *) fail "something else is at $MOUNTPOINT: $state" ;;
    esac
}

transcript() {
    local at
    printf -v at %q "$MOUNTPOINT"
    cat <<END
echo 'efork hello' > $at/ctl
cat $at/hello/maps
ln -s /dev/stdout $at/hello/fd/1
echo 'exec /bin/echo hello, world' > $at/hello/ctl
cat $at/hello/wait
END
}

explain() {
    say "proc9 is at $MOUNTPOINT. A process, step by step:"
    transcript | sed 's/^/    /'
    hints
}

hints() {
    local elsewhere=
    [[ $MOUNTPOINT == "$(PROC9='' default_mountpoint)" ]] || elsewhere=yes
    say "All commands and files: cat $MOUNTPOINT/help     The end: ./mount.sh -u${elsewhere:+ $MOUNTPOINT}"
    say "What the daemon has to say: $LOG"
    say "For the pages of docs/: export SOURCE=$ROOT LIB=$BUILD/client PATH=$BUILD/client:$BUILD/daemon:\$PATH"
}

demo() {
    local command
    while read -r command; do
        say "\$ $command"
        timeout "$PATIENCE" bash -c "$command" </dev/null || fail "the demonstration ended at: $command"
        sleep 0.1   # the new program and this one write to the same place
    done < <(transcript)
    hints
}

action=explain
GIVEN=
for argument; do
    case $argument in
        -u) action=unmount ;;
        --demo) action=demo ;;
        -h | --help)
            sed -n '2,/^set/{ s/^# \{0,1\}//p }' "${BASH_SOURCE[0]}"
            exit
            ;;
        -*) fail "unknown option $argument; known: -u --demo" ;;
        *) GIVEN=$argument ;;
    esac
done
MOUNTPOINT=$(absolute "${GIVEN:-$(default_mountpoint)}")
BUILD=$(build_directory)
PROC9D=$BUILD/daemon/proc9d
LOG=$BUILD/daemon/log

if [[ $action != unmount ]]; then
    build
    mount_up
fi
"$action"
