// The few things that only a tracer can do. A process is traced for microseconds, and never when
// its user's code runs.
#pragma once

#include <map>
#include <set>

#include "daemon/os/loop.hpp"
#include "fs/core/host.hpp"

namespace proc9::os {

// Of a stop: the kernel's own doing, and no signal that the process is to get.
inline bool is_event(int stop) { return stop >> 8 != 0; }

class Tracer {
public:
    explicit Tracer(Loop& loop);

    // Begins to trace a process or a thread. With PTRACE_O_EXITKILL it dies when the daemon does, else it
    // goes on. One that dies while it is traced is seen off here, or its process, or its parent's wait for
    // it, would not end; a child of the daemon is reaped by its owner.
    core::Result<> seize(core::Pid pid, unsigned long options);
    core::Result<> interrupt(core::Pid pid);  // it is about to stop
    // Waits for the stop that the process is about to make, and answers the signal that caused it,
    // or an event.
    core::Task<core::Result<int>> stopped(core::Pid pid);
    void stop_waiting(core::Pid pid);                   // who waits for it gets ESRCH
    core::Result<> pass_on(core::Pid pid, int signal);  // it goes on with the signal, still traced
    core::Result<> release(core::Pid pid, int signal = 0);  // it goes on
    // A process that did not come to its stop goes on; who waited for that gets ESRCH.
    core::Task<core::Result<>> give_up(core::Pid pid);

    // Makes the system call in which the process is blocked return EINTR, if that is still wanted
    // when the process has been stopped for it. One that a signal has stopped runs for as long as that is wanted, or a
    // moment, and is stopped again.
    core::Task<core::Result<>> break_call(core::Pid pid, std::function<bool()> wanted);

    void add(core::Pid pid) { known_.insert(pid); }  // one of the embryos, until gone()

    [[nodiscard]] bool is_ours(core::Pid pid) const { return traced_.contains(pid); }
    [[nodiscard]] bool is_idle() const { return traced_.empty() && waiting_.empty(); }
    [[nodiscard]] bool is_known(core::Pid pid) const { return known_.contains(pid); }

    // The process has exited: nobody waits for its stop any more.
    void gone(core::Pid pid);

private:
    void look();
    void look_for_stops();
    void look_for_deaths();
    void end_wait(core::Pid pid, int signal);

    core::Task<> run_while(core::Pid pid, std::function<bool()> wanted);

    Loop& loop_;
    Loop::WatchRef child_signals_;
    std::map<core::Pid, bool> traced_;  // whether it is a child of the daemon
    std::map<core::Pid, core::Later<int>*> waiting_;
    std::map<core::Pid, int> early_;  // stops of those that nobody waits for yet
    std::set<core::Pid> known_;
};

}  // namespace proc9::os
