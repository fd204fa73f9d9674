#include "daemon/os/tracer.hpp"

#include <sys/ptrace.h>
#include <sys/wait.h>

#include <csignal>

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
    return info.si_pid == pid ? info.si_status : no_stop;
}

// Its end is for somebody else to see.
bool is_child(core::Pid pid) {
    siginfo_t info{};
    return ::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG | WNOWAIT | __WALL) ==
           0;
}

// The kernel tells of stops here whether asked or not: first a look.
bool sees_off(core::Pid thread) {
    siginfo_t info{};
    const auto ask = [&](int options) {
        return ::waitid(P_PID, static_cast<id_t>(thread), &info, WEXITED | __WALL | options);
    };
    if (ask(WNOHANG | WNOWAIT) < 0) return true;  // another became the first thread of its process
    if (info.si_pid != thread) return false;
    const bool is_dead =
        info.si_code == CLD_EXITED || info.si_code == CLD_KILLED || info.si_code == CLD_DUMPED;
    return is_dead && ask(WNOHANG) == 0;
}

}  // namespace

Tracer::Tracer(Loop& loop) : child_signals_(loop.on_signal(SIGCHLD, [this] { look(); })) {}

// One signal may stand for many changes: all there are is asked for.
void Tracer::look() {
    look_for_stops();
    look_for_deaths();
}

void Tracer::look_for_deaths() {
    for (const auto& [pid, is_child] : std::map(traced_)) {
        if (is_child || !sees_off(pid)) continue;
        traced_.erase(pid);
        early_.erase(pid);
        end_wait(pid, no_stop);
    }
}

// Of those that are traced, however many children there are.
void Tracer::look_for_stops() {
    for (const auto& [pid, is_child] : std::map(traced_)) {
        if (const int signal = stop_of(pid); signal != no_stop) end_wait(pid, signal);
    }
}

void Tracer::end_wait(core::Pid pid, int signal) {
    const auto found = waiting_.find(pid);
    if (found == waiting_.end()) {
        if (signal != no_stop && is_ours(pid)) early_[pid] = signal;
        return;
    }
    auto* const waiter = found->second;
    waiting_.erase(found);
    (void)waiter->set(signal);
}

void Tracer::gone(core::Pid pid) {
    const auto traced = traced_.find(pid);
    if (traced != traced_.end() && traced->second) traced_.erase(traced);
    known_.erase(pid);
    early_.erase(pid);
    end_wait(pid, no_stop);
}

core::Result<> Tracer::seize(core::Pid pid, unsigned long options) {
    const bool is_ours = is_child(pid);
    TRY(check("ptrace SEIZE", ::ptrace(PTRACE_SEIZE, pid, 0, options)));
    traced_[pid] = is_ours;
    return {};
}

core::Task<core::Result<int>> Tracer::stopped(core::Pid pid) {
    if (const auto early = early_.extract(pid)) co_return early.mapped();
    int signal = stop_of(pid);
    if (signal == no_stop && is_ours(pid)) {
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

core::Result<> Tracer::release(core::Pid pid, int signal) {
    TRY(check("ptrace DETACH", ::ptrace(PTRACE_DETACH, pid, 0, signal)));
    traced_.erase(pid);
    early_.erase(pid);
    return {};
}

core::Result<> Tracer::interrupt(core::Pid pid) {
    TRY(check("ptrace INTERRUPT", ::ptrace(PTRACE_INTERRUPT, pid, 0, 0)));
    return {};
}

void Tracer::stop_waiting(core::Pid pid) { end_wait(pid, no_stop); }

core::Task<core::Result<>> Tracer::give_up(core::Pid pid) {
    end_wait(pid, no_stop);
    co_await interrupt(pid);
    while (true) {
        const int signal = co_await stopped(pid);
        if (is_event(signal)) break;
        co_await pass_on(pid, signal);
    }
    co_return release(pid);
}

core::Task<core::Result<>> Tracer::break_call(core::Pid pid, std::function<bool()> wanted) {
    co_await seize(pid, PTRACE_O_EXITKILL);
    co_await interrupt(pid);
    co_await stopped(pid);
    if (wanted()) co_await arch::break_call(pid);
    co_return release(pid);
}

}  // namespace proc9::os
