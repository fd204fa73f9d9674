#include "daemon/os/parent.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>

#include "daemon/keeper/keeper.hpp"

namespace proc9::os {

long trace(__ptrace_request what, core::Pid pid, unsigned long address, unsigned long data) {
    return keeper::by_parent([&] { return ::ptrace(what, pid, address, data); });
}

int wait_id(core::Pid pid, siginfo_t& info, int options) {
    return keeper::by_parent(
        [&] { return ::waitid(P_PID, static_cast<id_t>(pid), &info, options); });
}

Loop::WatchRef on_children(Loop& loop, std::function<void()> changed) {
    const int event = keeper::watch_children();
    if (event < 0) return loop.on_signal(SIGCHLD, std::move(changed));
    return loop.on_readable(event, [event, changed = std::move(changed)] {
        std::uint64_t count = 0;
        (void)!::read(event, &count, sizeof count);
        changed();
    });
}

}  // namespace proc9::os
