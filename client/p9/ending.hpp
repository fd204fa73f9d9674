// How a process ended, and ending in the same way.
#pragma once

#include <string>

namespace proc9::p9 {

struct Ending {
    int code = 0;
    int signal = 0;  // 0: none, it exited
};

// Of what N/wait says: `PID UTIME STIME RTIME 'STATUS'`.
Ending parse_wait(const std::string& line);

// The exit status; does not return if it was killed: p9 is, too, by the same signal, without a second core dump.
int end_as(Ending ending);

}  // namespace proc9::p9
