// The small parts of daemon/os: the loop, memory objects, descriptors, /proc, other processes.
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/resource.h>

#include <csignal>

#include "daemon/os/memory.hpp"
#include "daemon/os/procfs.hpp"
#include "daemon/os/unique_fd.hpp"
#include "tests/unit/os/machine.hpp"

namespace proc9::os {
namespace {

using core::done;
using fake::errno_of;
using fake::good;
using testing::Contains;
using testing::ElementsAre;

constexpr core::Pid nobody = 0x3ffffe;

TEST(Loop, RunsWhatIsReadyWhatIsDueAndWhatIsPosted) {
    Loop loop;
    std::vector<std::string> story;
    const UniqueFd event(::eventfd(1, EFD_CLOEXEC));
    auto readable = loop.on_readable(event.get(), [&] {
        std::uint64_t count = 0;
        EXPECT_EQ(::read(event.get(), &count, sizeof count), 8);
        story.emplace_back("readable");
        loop.post([&] { story.emplace_back("posted"); });
        (void)::raise(SIGUSR1);
    });
    const auto signal = loop.on_signal(SIGUSR1, [&] {
        story.emplace_back("signal");
        loop.stop();
    });
    loop.run();
    EXPECT_THAT(story, ElementsAre("readable", "posted", "signal"));
}

TEST(Loop, AWatchThatIsDestroyedInItsOwnCallbackIsNotCalledAgain) {
    Loop loop;
    int calls = 0;
    const UniqueFd event(::eventfd(1, EFD_CLOEXEC));  // stays readable
    Loop::WatchRef watch = loop.on_readable(event.get(), [&] {
        ++calls;
        watch.reset();
    });
    const auto never = loop.after(std::chrono::hours(1), [&] { calls += 100; });
    auto cancelled = loop.after(std::chrono::milliseconds(1), [&] { calls += 100; });
    const auto end = loop.after(std::chrono::milliseconds(5), [&] { loop.stop(); });
    cancelled.reset();
    loop.run();
    EXPECT_EQ(calls, 1);
}

TEST(UniqueFd, ClosesOnceAndSwapsWhenAssigned) {
    UniqueFd first(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    const int number = first.get();
    UniqueFd second(std::move(first));
    EXPECT_EQ(second.get(), number);
    second.reset();
    second.reset();
    EXPECT_EQ(::fcntl(number, F_GETFD), -1);
    EXPECT_FALSE(second);
    errno = ENOENT;
    EXPECT_EQ(errno_of(check_fd("open", -1)), ENOENT);
    EXPECT_EQ(errno_of(check("read", ssize_t{-1})), ENOENT);
}

TEST(Memfd, KeepsSizeModeAndBytesUntilItIsSealed) {
    const auto memory = good(make_memory());
    good(memory->resize(5000));
    good(memory->set_mode(01640));
    EXPECT_EQ(memory->size(), 5000U);
    EXPECT_EQ(memory->mode(), 01640U);
    EXPECT_EQ(good(memory->write("hello", 4998)), 5U);
    EXPECT_EQ(memory->size(), 5003U);
    EXPECT_EQ(good(memory->read(10, 4998)), "hello");
    EXPECT_EQ(good(memory->read(10, 6000)), "");
    EXPECT_TRUE(memory->seal());
    EXPECT_EQ(errno_of(memory->write("x", 0)), EPERM);
    EXPECT_EQ(errno_of(memory->resize(1)), EPERM);
}

TEST(Memfd, OfAnImpossibleSizeIsRefused) {
    const auto memory = good(make_memory());
    EXPECT_NE(errno_of(memory->resize(~0ULL)), 0);
    EXPECT_EQ(memory->size(), 0U);
}

TEST(Procfs, SaysOfThisProcessWhatIsSo) {
    const UniqueFd file(::open("/dev/null", O_WRONLY | O_APPEND | O_CLOEXEC));
    EXPECT_THAT(good(procfs::numbers(::getpid(), "fd")), Contains(file.get()));
    const auto info = good(procfs::descriptor_info(::getpid(), file.get()));
    EXPECT_EQ(info.flags & (O_ACCMODE | O_APPEND | O_CLOEXEC), O_WRONLY | O_APPEND | O_CLOEXEC);
    EXPECT_EQ(good(procfs::status(::getpid()))["Pid"], std::to_string(::getpid()));
    const auto lines = good(procfs::maps(::getpid()));
    EXPECT_TRUE(std::any_of(lines.begin(), lines.end(),
                            [](const auto& line) { return line.name == "[stack]"; }));
    EXPECT_EQ(good(procfs::link(::getpid(), "cwd")), std::filesystem::current_path());
    ASSERT_TRUE(procfs::mount_at("/proc"));
    EXPECT_EQ(procfs::mount_at("/proc")->type, "proc");
    EXPECT_FALSE(procfs::mount_at("/proc/nothing"));
}

TEST(Procfs, AProcessThatIsNotThereIsEsrch) {
    EXPECT_EQ(errno_of(procfs::read(nobody, "status")), ESRCH);
    EXPECT_EQ(errno_of(procfs::maps(nobody)), ESRCH);
    EXPECT_EQ(errno_of(procfs::numbers(nobody, "fd")), ESRCH);
}

std::vector<int> numbers_of(const std::vector<core::Numbered>& descriptors) {
    std::vector<int> numbers;
    for (const auto& [number, descriptor] : descriptors) numbers.push_back(number);
    return numbers;
}

TEST(Host, TakesDescriptorsEnvironmentAndDirectoryOfACaller) {
    in_machine([](Machine& machine) -> Task<Result<>> {
        auto& host = machine.host;
        const UniqueFd kept(::open("/dev/null", O_RDONLY));  // NOLINT: to be inherited
        const auto here = co_await host.process_of_thread(::gettid());
        EXPECT_EQ(here, ::getpid());
        const auto taken = co_await host.take_descriptor(machine.me, here, kept.get());
        EXPECT_NE(taken->number(), kept.get());
        EXPECT_NE(::fcntl(taken->number(), F_GETFD) & FD_CLOEXEC, 0);
        const auto inherited = numbers_of(co_await host.take_inheritable(here));
        EXPECT_THAT(inherited, Contains(kept.get()));
        EXPECT_THAT(inherited, testing::Not(Contains(taken->number())));
        const auto environment = co_await host.environment_of(here);
        const auto reader = co_await machine.efork();
        const std::string words = co_await reader->read(environment, 1U << 20U);
        EXPECT_THAT(words, testing::HasSubstr(std::string("PATH=") + std::getenv("PATH")));
        EXPECT_EQ(errno_of(co_await reader->read(environment, 1).result()), EFBIG);
        const auto directory = co_await host.directory_of(here);
        EXPECT_GE(directory->number(), 0);
        const auto settings = co_await host.settings_of(::gettid());
        const core::Setting nice{"nice", {std::to_string(::getpriority(PRIO_PROCESS, 0))}};
        EXPECT_THAT(settings, Contains(nice));
        co_return done();
    });
}

TEST(Host, LooksIntoNobodyElsesProcess) {
    in_machine([](Machine& machine) -> Task<Result<>> {
        auto& host = machine.host;
        core::Request stranger = machine.me;
        ++stranger.who.uid;
        const auto here = ::getpid();
        EXPECT_EQ(errno_of(host.take_descriptor(stranger, here, 0)), EPERM);
        EXPECT_EQ(errno_of(co_await host.freeze(stranger, here, false).result()), EPERM);
        EXPECT_EQ(errno_of(host.take_descriptor(machine.me, here, 9999)), EBADF);
        EXPECT_EQ(errno_of(host.take_descriptor(machine.me, nobody, 0)), ESRCH);
        EXPECT_EQ(errno_of(host.process_of_thread(nobody)), ESRCH);
        co_return done();
    });
}

TEST(Host, NeverTakesAFileOfItsOwnMount) {
    in_machine([](Machine& machine) -> Task<Result<>> {
        const UniqueFd file(::open("/proc/self/status", O_RDONLY));  // NOLINT: to be inherited
        machine.host.mounted_at("/proc");
        EXPECT_EQ(errno_of(machine.host.take_descriptor(machine.me, ::getpid(), file.get())),
                  EINVAL);
        const auto inherited = numbers_of(co_await machine.host.take_inheritable(::getpid()));
        EXPECT_THAT(inherited, testing::Not(Contains(file.get())));
        co_return done();
    });
}

TEST(Host, KnowsItsRegistersAndItsClockGoesForward) {
    in_machine([](Machine& machine) -> Task<Result<>> {
        EXPECT_THAT(machine.host.register_names(), Contains("rip"));
        EXPECT_EQ(errno_of(machine.host.register_for("rdi", ~0ULL)), 0);
        EXPECT_EQ(errno_of(machine.host.register_for("fs_base", ~0ULL)), EINVAL);
        EXPECT_EQ(fake::why(machine.host.register_for("rdx_", 1)),
                  "unknown register \"rdx_\"; did you mean rdx?");
        EXPECT_LE(machine.host.now_ms(), machine.host.now_ms());
        co_return done();
    });
}

}  // namespace
}  // namespace proc9::os
