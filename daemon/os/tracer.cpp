#include "daemon/os/tracer.hpp"

#include <sys/wait.h>

#include <csignal>

#include "daemon/os/parent.hpp"
#include "daemon/os/registers.hpp"
#include "daemon/os/unique_fd.hpp"

namespace proc9::os {
namespace {

constexpr int no_stop = 0;

// The signal of a stop that is there to be seen; 0 if there is none. Never reaps.
int stop_of(core::Pid pid) {
    siginfo_t info{};
    if (wait_id(pid, info, WSTOPPED | WNOHANG | __WALL) < 0) return no_stop;
    return info.si_pid == pid ? info.si_status : no_stop;
}

// Its end is for somebody else to see.
bool is_child(core::Pid pid) {
    siginfo_t info{};
    return wait_id(pid, info, WEXITED | WNOHANG | WNOWAIT | __WALL) == 0;
}

// The kernel tells of stops here whether asked or not: first a look.
bool sees_off(core::Pid thread) {
    siginfo_t info{};
    const auto ask = [&](int options) { return wait_id(thread, info, WEXITED | __WALL | options); };
    if (ask(WNOHANG | WNOWAIT) < 0) return true;  // another became the first thread of its process
    if (info.si_pid != thread) return false;
    const bool is_dead =
        info.si_code == CLD_EXITED || info.si_code == CLD_KILLED || info.si_code == CLD_DUMPED;
    return is_dead && ask(WNOHANG) == 0;
}

}  // namespace

Tracer::Tracer(Loop& loop) : loop_(loop), child_signals_(on_children(loop, [this] { look(); })) {}

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
    TRY(check("ptrace SEIZE", trace(PTRACE_SEIZE, pid, 0, options)));
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
    TRY(check("ptrace CONT", trace(PTRACE_CONT, pid, 0, static_cast<unsigned long>(signal))));
    return {};
}

core::Result<> Tracer::release(core::Pid pid, int signal) {
    TRY(check("ptrace DETACH", trace(PTRACE_DETACH, pid, 0, static_cast<unsigned long>(signal))));
    traced_.erase(pid);
    early_.erase(pid);
    return {};
}

core::Result<> Tracer::interrupt(core::Pid pid) {
    TRY(check("ptrace INTERRUPT", trace(PTRACE_INTERRUPT, pid)));
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
    const int stop = co_await stopped(pid);
    if (wanted()) co_await arch::break_call(pid);
    const bool is_stopped = (stop & 0xff) != SIGTRAP;  // which is our own interruption
    if (!is_stopped || !wanted()) co_return release(pid);
    co_await pass_on(pid, 0);
    co_await run_while(pid, wanted);
    co_return co_await give_up(pid).result();  // the kernel stops it again when nobody traces it
}

// It stops for the signal as well as for the interruption, and may do so once more.
core::Task<> Tracer::run_while(core::Pid pid, std::function<bool()> wanted) {
    for (int patience = 1000; patience > 0 && wanted(); --patience) {
        if (early_.erase(pid) != 0) (void)pass_on(pid, 0);
        core::Later<bool> due;
        const auto timer =
            loop_.after(std::chrono::milliseconds(1), [&due] { (void)due.set(true); });
        (void)co_await due;
    }
}

}  // namespace proc9::os
