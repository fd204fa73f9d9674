#include "daemon/os/tracer.hpp"

#include <sys/ptrace.h>
#include <sys/wait.h>

#include <csignal>
#include <vector>

#include "daemon/os/registers.hpp"
#include "daemon/os/unique_fd.hpp"

namespace proc9::os {
namespace {

constexpr int no_stop = 0;

// The signal of a stop that is there to be seen; 0 if there is none. Never reaps.
int stop_of(core::Pid pid) {
    siginfo_t info{};
    if (::waitid(P_PID, static_cast<id_t>(pid), &info, WSTOPPED | WNOHANG | __WALL) < 0)
        return no_stop;
    return info.si_pid == pid ? info.si_status & 0xff : no_stop;
}

}  // namespace

Tracer::Tracer(Loop& loop) : child_signals_(loop.on_signal(SIGCHLD, [this] { look(); })) {}

void Tracer::look() {
    std::vector<core::Pid> pids;
    pids.reserve(waiting_.size());
    for (const auto& [pid, waiter] : waiting_) pids.push_back(pid);
    for (const auto pid : pids) {
        const auto found = waiting_.find(pid);
        if (found == waiting_.end()) continue;
        if (const int signal = stop_of(pid)) {
            auto* const waiter = found->second;
            waiting_.erase(found);
            (void)waiter->set(signal);
        }
    }
}

void Tracer::gone(core::Pid pid) {
    const auto found = waiting_.find(pid);
    if (found == waiting_.end()) return;
    auto* const waiter = found->second;
    waiting_.erase(found);
    (void)waiter->set(no_stop);
}

core::Result<> Tracer::seize(core::Pid pid) {
    TRY(check("ptrace SEIZE", ::ptrace(PTRACE_SEIZE, pid, 0, PTRACE_O_EXITKILL)));
    return {};
}

core::Task<core::Result<int>> Tracer::stopped(core::Pid pid) {
    int signal = stop_of(pid);
    if (signal == no_stop) {
        core::Later<int> stop;
        waiting_[pid] = &stop;
        signal = co_await stop;
    }
    if (signal == no_stop) co_return core::Error{std::errc::no_such_process, "the process is gone"};
    co_return signal;
}

core::Result<> Tracer::pass_on(core::Pid pid, int signal) {
    TRY(check("ptrace CONT", ::ptrace(PTRACE_CONT, pid, 0, signal)));
    return {};
}

core::Result<> Tracer::release(core::Pid pid) {
    TRY(check("ptrace DETACH", ::ptrace(PTRACE_DETACH, pid, 0, 0)));
    return {};
}

core::Task<core::Result<>> Tracer::break_call(core::Pid pid) {
    co_await seize(pid);
    co_await check("ptrace INTERRUPT", ::ptrace(PTRACE_INTERRUPT, pid, 0, 0));
    co_await stopped(pid);
    co_await arch::break_call(pid);
    co_return release(pid);
}

}  // namespace proc9::os
