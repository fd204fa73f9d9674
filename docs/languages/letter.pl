#!/usr/bin/perl
# A child built with files: two descriptors, a variable, a limit, and a page of memory shared with this program.
use strict;
use warnings;

my $proc9 = $ENV{PROC9} // '/proc9';
open my $ctl, '+<', "$proc9/clone" or die "clone: $!\n";    # makes the child; what is written to it builds the child
sysread $ctl, my $id, 16;
my $job = "$proc9/" . int $id;

sub slurp {
    my $name = shift;
    open my $file, '<', $name or die "$name: $!\n";
    return join '', <$file>;
}

sub order {
    my $lines = shift;
    while (length $lines) {    # a short count: the next line is refused, and says so when it is written again
        my $count = syswrite($ctl, $lines) // die slurp("$job/error");
        substr($lines, 0, $count) = '';
    }
}

order("map 0x600000 4K rw- shared\n");
open my $memory, '+<', "$job/mem/600000" or die "memory: $!\n";
syswrite $memory, "world\n";
order(<<'END');
inherit cwd
env 'GREETING=good morning'
limit NOFILE 64
fd 1 open letter w
fd 2 self:2
fd 3 mem 0x600000
exec /bin/sh -c 'read -r name <&3; echo $GREETING, $name; echo limit $(ulimit -n) >&2; echo thanks >&3; exit 3'
END
my $ended = (split ' ', slurp("$job/wait"), 5)[4];    # PID UTIME STIME RTIME 'STATUS'
print 'ended: ', $ended, 'letter: ', slurp('letter'), 'memory: ', scalar <$memory>;
