#!/usr/bin/tclsh
# A child built with files: two descriptors, a variable, a limit, and a page of memory shared with this program.

proc slurp {name} {
    set file [open $name]
    set text [read -nonewline $file]
    close $file
    return $text
}

proc tell_child {lines} {
    if {[catch {puts $::ctl $lines; flush $::ctl}]} {
        puts stderr [slurp $::job/error]
        exit 1
    }
}

set proc9 [expr {[info exists env(PROC9)] ? $env(PROC9) : "/proc9"}]
set ctl [open $proc9/clone RDWR]    ;# opening it makes the child; what is written to it builds the child
set job $proc9/[gets $ctl]

tell_child {map 0x600000 4K rw- shared}
set memory [open $job/mem/600000 RDWR]
puts $memory world
flush $memory
tell_child {inherit cwd
env 'GREETING=good morning'
limit NOFILE 64
fd 1 open letter w
fd 2 self:2
fd 3 mem 0x600000
exec /bin/sh -c 'read -r name <&3; echo $GREETING, $name; echo limit $(ulimit -n) >&2; echo thanks >&3; exit 3'}

regexp {'.*'} [slurp $job/wait] ended    ;# PID UTIME STIME RTIME 'STATUS'
puts "ended: $ended"
puts "letter: [slurp letter]"
puts "memory: [gets $memory]"
