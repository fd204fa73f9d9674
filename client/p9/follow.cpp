#include "client/p9/follow.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <functional>

#include "client/p9/command.hpp"
#include "client/p9/mount.hpp"

namespace proc9::p9 {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int timed_out = 124;
constexpr Seconds grace(2);  // between TERM and KILL

sigset_t all_signals() {
    sigset_t set;
    sigfillset(&set);
    return set;
}

sigset_t only(int signal) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, signal);
    return set;
}

sigset_t& mask_before() {
    static sigset_t mask;
    return mask;
}

// What the terminal sends goes to the whole process group: the program has it already.
bool came_from_terminal(int signal, int code) {
    constexpr std::array of_terminal = {SIGINT,   SIGQUIT, SIGTSTP, SIGHUP,
                                        SIGWINCH, SIGCONT, SIGTTIN, SIGTTOU};
    return code == SI_KERNEL &&
           std::find(of_terminal.begin(), of_terminal.end(), signal) != of_terminal.end();
}

// TERM when the time is over, and KILL after the grace.
class Deadline {
public:
    explicit Deadline(std::optional<Seconds> timeout) {
        if (timeout) next_ = after(*timeout);
    }
    bool is_over() const { return signals_ > 0; }
    int milliseconds() const {  // until the next signal; -1: there is none
        if (next_ == never) return -1;
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(next_ - Clock::now());
        return static_cast<int>(std::clamp<long>(left.count(), 0, 3600L * 1000));
    }
    void check(const std::function<void(int)>& send) {
        if (Clock::now() < next_) return;
        send(signals_ == 0 ? SIGTERM : SIGKILL);
        send(SIGCONT);
        next_ = ++signals_ == 1 ? after(grace) : never;
    }

private:
    static constexpr Clock::time_point never = Clock::time_point::max();
    static Clock::time_point after(Seconds time) {
        return Clock::now() + std::chrono::duration_cast<Clock::duration>(time);
    }
    Clock::time_point next_ = never;
    int signals_ = 0;
};

void relay(pid_t child, const siginfo_t& info) {
    if (info.si_signo == SIGCHLD || info.si_pid == child ||
        came_from_terminal(info.si_signo, info.si_code))
        return;
    if (info.si_code == SI_QUEUE) {
        ::sigqueue(child, info.si_signo, info.si_value);
    } else {
        ::kill(child, info.si_signo);
    }
}

// Stops as the program has stopped, so that the shell sees it. Raised while blocked it is one with what the terminal
// may have sent. Whoever continues p9 alone means the program, too: nothing has happened to it then.
void stop_like(pid_t child, int signal) {
    const sigset_t set = only(signal);
    ::raise(signal);
    ::sigprocmask(SIG_UNBLOCK, &set, nullptr);
    ::sigprocmask(SIG_BLOCK, &set, nullptr);
    siginfo_t event{};
    ::waitid(P_PID, static_cast<id_t>(child), &event,
             WEXITED | WSTOPPED | WCONTINUED | WNOHANG | WNOWAIT | __WALL);
    if (event.si_pid != child) ::kill(child, SIGCONT);
}

Ending ending_of(const siginfo_t& event) {
    return event.si_code == CLD_EXITED ? Ending{event.si_status, 0} : Ending{0, event.si_status};
}

void take_signal(pid_t child, int milliseconds) {
    const sigset_t all = all_signals();
    const timespec time{milliseconds / 1000, milliseconds % 1000 * 1000000L};
    siginfo_t info{};
    const int signal =
        milliseconds < 0 ? ::sigwaitinfo(&all, &info) : ::sigtimedwait(&all, &info, &time);
    if (signal > 0) relay(child, info);
}

// Of a child of the mount's. Where poll(2) does not tell of it, as sshfs does not, it is looked for now and then.
class Exit {
public:
    explicit Exit(const std::string& directory)
        : directory_(directory),
          file_(::open(path_of(directory + "/wait").c_str(), O_RDONLY | O_CLOEXEC)) {}
    Exit(const Exit&) = delete;
    Exit& operator=(const Exit&) = delete;
    ~Exit() {
        if (file_ >= 0) ::close(file_);
    }

    // True: it has exited, or is not there. False: the other descriptor can be read, or time has passed.
    bool wait(int other, int milliseconds) {
        if (file_ < 0) return true;
        std::array<pollfd, 2> sources{{{is_told_ ? file_ : -1, POLLIN, 0}, {other, POLLIN, 0}}};
        if (!is_told_) milliseconds = milliseconds < 0 ? glance : std::min(milliseconds, glance);
        ::poll(sources.data(), sources.size(), milliseconds);
        if (is_told_ && sources[0].revents == 0) return false;
        is_told_ = has_exited();
        return is_told_;
    }

private:
    static constexpr int glance = 100;

    bool has_exited() const {
        const auto text = try_read(directory_ + "/ctl");  // ID STATE
        return !text || text->find(" exited") != std::string::npos;
    }

    std::string directory_;
    int file_;
    bool is_told_ = true;
};

}  // namespace

void hold_signals() {
    const sigset_t all = all_signals();
    ::sigprocmask(SIG_BLOCK, &all, &mask_before());
    ::signal(SIGCHLD, SIG_DFL);  // ignored, it would leave nobody to wait for
    for (const int signal : {SIGTSTP, SIGTTIN, SIGTTOU}) ::signal(signal, SIG_DFL);
}

// The zygote ends with its descriptor. The child itself is like it if it died before its program ran.
void close_from(unsigned first, pid_t child) {
    ::close_range(first, ~0U, 0);
    siginfo_t info{};
    while (::waitid(P_ALL, 0, &info, WEXITED | WNOWAIT | __WCLONE) == 0 && info.si_pid != child)
        ::waitpid(info.si_pid, nullptr, __WCLONE);
}

void release_signals() { ::sigprocmask(SIG_SETMASK, &mask_before(), nullptr); }

Ending follow(pid_t child, std::optional<Seconds> timeout) {
    close_from(0, child);
    Deadline deadline(timeout);
    for (;;) {
        siginfo_t event{};
        ::waitid(P_PID, static_cast<id_t>(child), &event, WEXITED | WSTOPPED | WNOHANG | __WALL);
        if (event.si_pid == child && event.si_code == CLD_STOPPED) {
            stop_like(child, event.si_status);
        } else if (event.si_pid == child) {
            return deadline.is_over() ? Ending{timed_out, 0} : ending_of(event);
        } else {
            take_signal(child, deadline.milliseconds());
            deadline.check([child](int signal) { ::kill(child, signal); });
        }
    }
}

Ending follow(const std::string& directory, std::optional<Seconds> timeout,
              const std::function<void()>& look) {
    const sigset_t all = all_signals();
    const int signals = ::signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK);
    const auto send = [&](int signal) {
        if (signal == SIGCHLD) return;
        try {
            write_file(directory + "/note", std::to_string(signal) + '\n');
        } catch (const Problem&) {
            return;  // it has ended
        }
    };
    Deadline deadline(timeout);
    Exit exit(directory);
    while (!exit.wait(signals, deadline.milliseconds())) {
        signalfd_siginfo info{};
        if (::read(signals, &info, sizeof info) > 0) send(static_cast<int>(info.ssi_signo));
        deadline.check(send);
        if (look) look();
    }
    if (look) look();
    const Ending ending = parse_wait(read_file(directory + "/wait"));
    return deadline.is_over() ? Ending{timed_out, 0} : ending;
}

void await(const std::string& directory) {
    Exit exit(directory);
    while (!exit.wait(-1, -1)) {}
}

}  // namespace proc9::p9
