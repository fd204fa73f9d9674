#include "daemon/keeper/keeper.hpp"

#include <linux/futex.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <utility>

#include "daemon/keeper/registers.hpp"

namespace proc9::keeper {
namespace {

constexpr int most_signals = 64;
constexpr int request_signal = most_signals;  // the daemon wants something done
constexpr useconds_t pause_us = 10'000;
constexpr std::size_t stack_size = 8U << 20U;
constexpr std::array forwarded = {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2};

// Both processes see it. They share even errno and the heap: while the daemon runs the keeper makes no call that fails, and it
// never allocates but in a deed.
struct Shared {
    pid_t keeper = 0;
    std::atomic<pid_t> daemon = 0;  // 0: there is none now
    bool is_settled = false;
    std::atomic<std::uint32_t> kills = 0;  // that were survived

    // Of the daemon, for the next process.
    std::array<char, 16> name{};  // as PR_GET_NAME has it
    std::array<struct sigaction, most_signals + 1> handlers{};
    std::atomic<std::uint64_t> on_their_way = 0;  // signals that were sent to it

    // What one waits for and the other sets.
    enum Trace : std::uint32_t { unknown, traced, not_traced };
    std::atomic<std::uint32_t> trace = unknown;
    std::atomic<std::uint32_t> is_ready = 0;  // for registers
    std::atomic<std::uint32_t> is_asked = 0;  // there is a deed to be done

    const std::function<void()>* deed = nullptr;
    int error = 0;                                 // of that
    std::array<int, 4> events = {-1, -1, -1, -1};  // of those who watch children
    const std::function<int()>* serve = nullptr;
    const std::vector<std::string>* successor = nullptr;
};
Shared shared;

// Or for a moment: who would set it may have gone.
void wait_while(std::atomic<std::uint32_t>& word, std::uint32_t value) {
    constexpr timespec a_while{0, 100'000'000};
    (void)::syscall(SYS_futex, &word, FUTEX_WAIT, value, &a_while, nullptr, 0);
}

void set(std::atomic<std::uint32_t>& word, std::uint32_t value) {
    word = value;
    (void)::syscall(SYS_futex, &word, FUTEX_WAKE, 1, nullptr, nullptr, 0);
}

void block_all() {
    sigset_t all;
    ::sigfillset(&all);
    ::sigprocmask(SIG_SETMASK, &all, nullptr);
}

void unblock_all() {
    sigset_t none;
    ::sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
}

// ---------------------------------------------------------------------------------------------
// In the daemon

bool is_kept() { return shared.keeper != 0 && ::getppid() == shared.keeper; }

int run_daemon(void*) {
    (void)::prctl(PR_SET_PDEATHSIG, SIGTERM);
    while (shared.trace == Shared::unknown && is_kept()) wait_while(shared.trace, Shared::unknown);
    if (shared.trace != Shared::traced) return 0;
    return (*shared.serve)();
}

// What a new process does until the keeper gives it the registers of the one that was killed.
int wait_for_registers(void*) {
    (void)::prctl(PR_SET_PDEATHSIG, SIGTERM);
    (void)::prctl(PR_SET_NAME, shared.name.data());
    for (int number = 1; number <= most_signals; ++number)
        if (number != SIGKILL && number != SIGSTOP)
            (void)::sigaction(number, &shared.handlers.at(number), nullptr);
    set(shared.is_ready, 1);
    while (is_kept()) wait_while(shared.is_ready, 1);  // no signal ends it
    return 0;
}

// ---------------------------------------------------------------------------------------------
// In the keeper

class Keeper {
public:
    // Whether it may be traced.
    bool begin();
    // Until the daemon has ended by itself. Its status, as wait(2) has it.
    int watch();
    // To the successor, who gets the signals that the daemon did not take.
    [[noreturn]] void give_way();

private:
    pid_t make(int (*code)(void*));
    bool trace();
    void stopped(int status);
    void revive();
    bool give_registers();
    void kill_daemon();

    pid_t daemon_ = 0;
    void* stack_ = nullptr;
    void* waiting_room_ = nullptr;  // the stack of those that have no registers yet
    Registers registers_{};
    bool has_registers_ = false;
    int error_ = 0;  // what the daemon's last call said
};
Keeper self;

void* make_stack(std::size_t size) {
    void* const place = ::mmap(nullptr, size, PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (place == MAP_FAILED) return nullptr;
    (void)::mprotect(place, static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)),
                     PROT_NONE);  // a guard
    return static_cast<char*>(place) + size;
}

// As handler of its signal, so that none comes too early.
void do_deed(int) {
    if (shared.is_asked != 1) return;
    (*shared.deed)();
    shared.error = errno;
    set(shared.is_asked, 0);
}

void forward(int number) {
    shared.on_their_way |= 1UL << static_cast<unsigned>(number);
    if (shared.daemon > 0) (void)::kill(shared.daemon, number);
}

bool is_on_its_way(int number) {
    return (shared.on_their_way & 1UL << static_cast<unsigned>(number)) != 0;
}

void tell_of_children(int) {
    constexpr std::uint64_t one = 1;
    for (const int event : shared.events) {
        if (event >= 0) (void)::syscall(SYS_write, event, &one, sizeof one);
    }
}

void handle(int number, void (*handler)(int)) {
    struct sigaction action{};
    action.sa_handler = handler;
    action.sa_flags = SA_RESTART;
    ::sigfillset(&action.sa_mask);
    ::sigaction(number, &action, nullptr);
}

// It gets no signal before it has handlers and a mask of its own: the keeper's would send it on to itself.
pid_t Keeper::make(int (*code)(void*)) {
    sigset_t all;
    sigset_t before;
    ::sigfillset(&all);
    ::sigprocmask(SIG_SETMASK, &all, &before);
    void* const stack = code == run_daemon ? stack_ : waiting_room_;
    const int made = ::clone(code, stack, CLONE_VM | CLONE_FILES | CLONE_FS | SIGCHLD, nullptr);
    if (made > 0) shared.daemon = made;
    ::sigprocmask(SIG_SETMASK, &before, nullptr);
    return made;
}

bool Keeper::trace() { return ::ptrace(PTRACE_SEIZE, daemon_, nullptr, PTRACE_O_TRACEEXIT) == 0; }

bool Keeper::begin() {
    constexpr std::size_t small = 64U << 10U;
    stack_ = make_stack(stack_size);
    waiting_room_ = make_stack(small);
    if (!stack_ || !waiting_room_) return false;
    int status = 0;
    do {  // once more if it was killed just now
        shared.trace = Shared::unknown;
        daemon_ = make(run_daemon);
        if (daemon_ < 0) return false;
        const bool is_traced = trace();
        set(shared.trace, is_traced ? Shared::traced : Shared::not_traced);
        if (is_traced) return true;
        (void)::waitpid(daemon_, &status, __WALL);
    } while (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    return false;
}

// Its registers are looked at each time. What it is continued from may not be this stop any more, but that of its end,
// which is not seen then: killed meanwhile, it has not run since.
void Keeper::stopped(int status) {
    const int number = WSTOPSIG(status);
    const int event = status >> 16;
    error_ = errno;
    has_registers_ = shared.is_settled && save(daemon_, registers_);
    errno = error_;
    if (event == PTRACE_EVENT_EXIT) shared.daemon = 0;  // signals wait for the next one
    if (event == 0) shared.on_their_way &= ~(1UL << static_cast<unsigned>(number));
    const bool is_group_stop = event == PTRACE_EVENT_STOP && number != SIGTRAP;
    if (is_group_stop) {
        (void)::ptrace(PTRACE_LISTEN, daemon_, nullptr, 0);
    } else {
        (void)::ptrace(PTRACE_CONT, daemon_, nullptr, event == 0 ? number : 0);
    }
    errno = error_;  // it fails if the daemon was killed just now
}

// False: it was killed meanwhile. Once it is reaped its number is another's.
bool Keeper::give_registers() {
    int status = 0;
    while (shared.is_ready == 0) {
        if (::waitpid(daemon_, nullptr, WNOHANG | __WALL) > 0) {
            daemon_ = 0;
            return false;
        }
        wait_while(shared.is_ready, 0);
    }
    if (!trace() || ::ptrace(PTRACE_INTERRUPT, daemon_, nullptr, nullptr) != 0) return false;
    if (::waitpid(daemon_, &status, __WALL) < 0) return false;
    if (!WIFSTOPPED(status)) daemon_ = 0;
    return daemon_ != 0 && status >> 16 == PTRACE_EVENT_STOP && restore(daemon_, registers_);
}

void Keeper::kill_daemon() {
    int status = 0;
    (void)::kill(daemon_, SIGKILL);
    do {
        (void)::ptrace(PTRACE_CONT, daemon_, nullptr, nullptr);  // it may stop amid its end
    } while (::waitpid(daemon_, &status, __WALL) > 0 && WIFSTOPPED(status));
}

// The daemon may have been killed amid malloc(3), so nothing here may allocate: dprintf(3) would.
void tell(pid_t killed, pid_t next) {
    std::array<char, 100> line{};
    const int size =
        std::snprintf(line.data(), line.size(),
                      "proc9d: process %d was killed, and goes on as %d\n", killed, next);
    (void)!::write(STDERR_FILENO, line.data(), static_cast<std::size_t>(size));
}

void Keeper::revive() {
    resume_call(registers_);
    const pid_t killed = std::exchange(daemon_, 0);
    while (daemon_ <= 0) {
        shared.is_ready = 0;
        shared.daemon = 0;
        daemon_ = make(wait_for_registers);
        if (daemon_ > 0 && give_registers()) break;
        if (daemon_ > 0) kill_daemon();
        if (daemon_ < 0) (void)::usleep(pause_us);  // no room for one more process
        daemon_ = 0;
    }
    ++shared.kills;
    tell(killed, daemon_);
    for (const int number : forwarded) {
        if (is_on_its_way(number)) (void)::kill(daemon_, number);
    }
    errno = error_;
    (void)::ptrace(PTRACE_CONT, daemon_, nullptr, nullptr);
    errno = error_;
}

int Keeper::watch() {
    while (true) {
        int status = 0;
        if (::waitpid(daemon_, &status, __WALL) < 0) return 0;
        if (WIFSTOPPED(status)) {
            stopped(status);
        } else if (has_registers_ && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) {
            revive();
        } else {
            return status;
        }
    }
}

// ---------------------------------------------------------------------------------------------
// In either

// What comes before the successor has its handlers waits for that.
[[noreturn]] void exec(const std::vector<std::string>& command) {
    block_all();
    std::vector<char*> words;
    words.reserve(command.size() + 1);
    for (const auto& word : command) words.push_back(const_cast<char*>(word.c_str()));
    words.push_back(nullptr);
    ::execv(words.front(), words.data());
    ::execv("/proc/self/exe", words.data());
    ::_exit(127);
}

void Keeper::give_way() {
    block_all();
    for (const int number : forwarded) {
        if (is_on_its_way(number)) (void)::raise(number);
    }
    exec(*shared.successor);
}

}  // namespace

int keep(const std::function<int()>& serve, const std::function<void(int signal)>& on_defect) {
    block_all();  // until there are handlers
    shared.serve = &serve;
    shared.keeper = ::getpid();
    if (!self.begin()) {
        shared.keeper = 0;
        return serve();
    }
    (void)::prctl(PR_GET_NAME, shared.name.data());
    (void)::prctl(PR_SET_NAME, "proc9d-keeper");
    for (const int number : forwarded) handle(number, forward);
    handle(SIGCHLD, tell_of_children);
    handle(request_signal, do_deed);
    unblock_all();
    const int status = self.watch();
    if (shared.successor) self.give_way();
    if (WIFEXITED(status)) ::_exit(WEXITSTATUS(status));
    on_defect(WTERMSIG(status));
    ::_exit(128 + WTERMSIG(status));
}

void settle() {
    for (int number = 1; number <= most_signals; ++number)
        (void)::sigaction(number, nullptr, &shared.handlers.at(number));
    shared.is_settled = true;
    unblock_all();
}

void hold_signals() { block_all(); }
void let_signals_come() { unblock_all(); }

void replace(const std::vector<std::string>& command) {
    if (!is_kept()) exec(command);
    shared.successor = &command;
    ::_exit(0);
}

std::uint32_t kills() { return shared.kills; }

pid_t parent() { return is_kept() ? shared.keeper : ::getpid(); }

void do_by_parent(const std::function<void()>& deed) {
    if (!is_kept()) return deed();
    shared.deed = &deed;
    shared.is_asked = 1;
    (void)::kill(shared.keeper, request_signal);
    while (shared.is_asked == 1 && is_kept()) wait_while(shared.is_asked, 1);
    errno = shared.error;
}

int watch_children() {
    if (!is_kept()) return -1;
    for (int& event : shared.events) {
        if (event < 0) return event = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    }
    return -1;
}

}  // namespace proc9::keeper
