// A daemon that is killed over and over: what it works out must be what it works out in peace.
#include "daemon/keeper/keeper.hpp"

#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cmath>
#include <csignal>
#include <fstream>
#include <functional>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

using namespace proc9;

namespace {

// Numbers, vectors, memory that comes and goes, system calls and what they say in errno.
struct Work {
    double sum = 0;
    unsigned mixed = 0;
    int wrong = 0;

    void round(int i, const std::array<int, 2>& pipe) {
        sum += std::sin(i) * std::sqrt(i);
        std::vector<float> values(64 + static_cast<std::size_t>(i) % 64, static_cast<float>(i));
        for (auto& value : values) value = value * 1.5F + 1;
        mixed = mixed * 31 + static_cast<unsigned>(values.back());
        const auto text = std::make_unique<std::string>(std::to_string(i));
        std::string back(text->size(), '\0');
        if (::write(pipe[1], text->data(), text->size()) != static_cast<ssize_t>(text->size()))
            ++wrong;
        if (::read(pipe[0], back.data(), back.size()) != static_cast<ssize_t>(text->size()))
            ++wrong;
        if (back != *text) ++wrong;
        errno = 0;
        if (::close(-1) != -1 || errno != EBADF) ++wrong;
    }
    bool operator==(const Work&) const = default;
};

Work work(int rounds) {
    std::array<int, 2> pipe{};
    Work done;
    if (::pipe(pipe.data()) != 0) ++done.wrong;
    for (int i = 0; i < rounds; ++i) done.round(i, pipe);
    for (const int end : pipe) ::close(end);
    return done;
}

pid_t only_child(pid_t parent) {
    std::ostringstream name;
    name << "/proc/" << parent << "/task/" << parent << "/children";
    std::ifstream file(name.str());
    pid_t child = 0;
    file >> child;
    return child;
}

// A process in which `serve` is kept, and what it has to say.
class Kept {
public:
    explicit Kept(const std::function<std::string()>& serve) {
        if (::pipe(pipe_.data()) != 0) std::abort();
        keeper_ = ::fork();
        if (keeper_ == 0) {
            ::prctl(PR_SET_PDEATHSIG, SIGKILL);
            ::alarm(30);
            ::close(pipe_[0]);
            ::_exit(keeper::keep(
                [&] {
                    keeper::settle();
                    say("ready");
                    const std::string text = serve();
                    say(text);
                    return 7;
                },
                [this](int signal) { say(std::to_string(signal)); }));
        }
        ::close(pipe_[1]);
        EXPECT_EQ(hear(5), "ready");
    }
    ~Kept() {
        if (keeper_ > 0) end(SIGKILL);
        ::close(pipe_[0]);
    }
    Kept(const Kept&) = delete;
    Kept& operator=(const Kept&) = delete;

    [[nodiscard]] pid_t keeper() const { return keeper_; }
    [[nodiscard]] pid_t daemon() const { return only_child(keeper_); }
    std::string hear(std::size_t most = 256) {
        std::string text(most, '\0');
        const auto got = ::read(pipe_[0], text.data(), text.size());
        text.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
        return text;
    }
    int end(int signal = 0) {
        int status = 0;
        if (signal != 0) ::kill(keeper_, signal);
        ::waitpid(keeper_, &status, 0);
        keeper_ = 0;
        return status;
    }

private:
    void say(const std::string& text) const { (void)!::write(pipe_[1], text.data(), text.size()); }

    std::array<int, 2> pipe_{};
    pid_t keeper_ = 0;
};

}  // namespace

TEST(Keeper, TheWorkOfADaemonThatIsKilledOverAndOver) {
    constexpr int rounds = 200'000;
    Kept kept([] {
        const Work done = work(rounds);
        std::ostringstream text;
        text << done.wrong << ' ' << done.mixed << ' ' << std::hexfloat << done.sum;
        return text.str();
    });
    int kills = 0;
    for (; kills < 300; ++kills) {
        ::usleep(200);
        const pid_t daemon = kept.daemon();
        if (daemon > 0) ::kill(daemon, SIGKILL);
    }
    const Work peaceful = work(rounds);
    std::ostringstream expected;
    expected << "0 " << peaceful.mixed << ' ' << std::hexfloat << peaceful.sum;
    EXPECT_EQ(kept.hear(), expected.str());
    const int status = kept.end();
    EXPECT_EQ(status, W_EXITCODE(7, 0));
}

TEST(Keeper, ADeedIsDoneByTheParentAndItsErrnoIsOurs) {
    Kept kept([] {
        const pid_t mine = ::getpid();
        const pid_t there = keeper::by_parent([] { return ::getpid(); });
        const int bad = keeper::by_parent([] { return ::close(-1); });
        const int error = errno;
        const bool is_so =
            there == keeper::parent() && there != mine && bad == -1 && error == EBADF;
        return std::string(is_so ? "yes" : "no");
    });
    EXPECT_EQ(kept.hear(), "yes");
}

TEST(Keeper, AnotherSignalThanKillEndsBoth) {
    Kept kept([] {
        while (true) ::pause();
        return std::string();
    });
    ::kill(kept.daemon(), SIGUSR1);
    const int status = kept.end();
    EXPECT_EQ(status, W_EXITCODE(128 + SIGUSR1, 0));
}

TEST(Keeper, ASignalToTheKeeperIsTheDaemons) {
    static volatile std::sig_atomic_t got = 0;
    ::signal(SIGTERM, [](int) { got = 1; });
    Kept kept([] {
        while (got == 0) ::usleep(1000);
        return std::string("terminated");
    });
    ::signal(SIGTERM, SIG_DFL);
    ::kill(kept.daemon(), SIGKILL);  // the next one has the handler too
    ::kill(kept.keeper(), SIGTERM);
    EXPECT_EQ(kept.hear(), "terminated");
}

TEST(Keeper, AStoppedDaemonIsContinued) {
    Kept kept([] {
        ::usleep(100'000);
        return std::string("done");
    });
    const pid_t daemon = kept.daemon();
    ::kill(daemon, SIGSTOP);
    ::usleep(50'000);
    ::kill(daemon, SIGCONT);
    EXPECT_EQ(kept.hear(), "done");
}

TEST(Keeper, WhoIsNotKeptDoesItsDeedsItself) {
    EXPECT_EQ(keeper::parent(), ::getpid());
    EXPECT_EQ(keeper::by_parent([] { return ::getpid(); }), ::getpid());
    EXPECT_EQ(keeper::watch_children(), -1);
}
