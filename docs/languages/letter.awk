#!/usr/bin/awk -f
# A child built with files: two descriptors, a variable, a limit, and a page of memory shared with this program.

function tell(lines) {
    printf "%s", lines > ctl
    if (fflush(ctl) == 0) return
    while ((getline reason < (proc9 "/" job "/error")) > 0) print reason > "/dev/stderr"
    print "kill" > (proc9 "/" job "/ctl")
    exit 1
}

BEGIN {
    proc9 = "PROC9" in ENVIRON ? ENVIRON["PROC9"] : "/proc9"
    ctl = proc9 "/ctl"
    PROCINFO[ctl, "NONFATAL"] = 1               # gawk: let fflush answer; mawk always does
    "echo $PPID" | getline pid                  # a name of its own: awk cannot read what it has open for writing
    job = "letter" pid
    page = "page" pid
    memory = proc9 "/" page "/mem/600000"

    tell("efork " page "\n")                    # never started, so that its mem/ can still be read at the end
    print "world" > memory
    close(memory)
    tell("fd 3 mem 0x600000\n")                 # the region becomes shared

    tell("efork " job "\ninherit cwd\nenv 'GREETING=good morning'\nlimit NOFILE 64\n" \
         "fd 1 open letter w\nfd 2 self:2\nfd 3 " page ":3\n" \
         "exec /bin/sh -c 'read -r name <&3; echo $GREETING, $name; " \
         "echo limit $(ulimit -n) >&2; echo thanks >&3; exit 3'\n")

    getline ended < (proc9 "/" job "/wait")     # PID UTIME STIME RTIME 'STATUS'
    sub(/^([0-9]+ )+/, "", ended)
    getline letter < "letter"
    getline answer < memory
    getline answer < memory                     # behind the line written above
    printf "ended: %s\nletter: %s\nmemory: %s\n", ended, letter, answer
}

END { print "kill" > (proc9 "/" page "/ctl") }
