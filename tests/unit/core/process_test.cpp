#include "fs/core/process.hpp"

#include "fs/core/registry.hpp"
#include "tests/unit/fake_host.hpp"
#include "tests/unit/run.hpp"

namespace proc9::core {
namespace {

using fake::errno_of;
using fake::good;
using fake::run;
using fake::Started;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using State = Process::State;

struct ProcessTest : testing::Test {
    fake::FakeHost host;
    Registry registry{host};
    Request request{.who = {1000, 1000}, .thread = 7, .cancellation = {}};
    ProcessRef process = good(run(registry.efork(request, "")));
    fake::FakeEmbryo& body = host.embryo(process->id());

    Task<Result<>> in_turn(Request& who, std::string path) {
        const auto turn = co_await process->turn(who);
        co_await process->body->open(3, std::move(path), OpenMode{.read = true}, 0);
        co_return done();
    }
    auto exec(std::optional<std::string> path, Words words = {}) {
        return run(process->exec(std::move(path), std::move(words)));
    }
};

TEST_F(ProcessTest, IsAnEmbryoUntilItRunsAndThenNobodyBuildsIt) {
    EXPECT_EQ(errno_of(process->check_embryo()), 0);
    good(exec("/bin/echo", {"/bin/echo", "hi"}));
    EXPECT_EQ(process->state(), State::running);
    EXPECT_EQ(errno_of(process->check_embryo()), EPERM);
    body.exit({"exit 3", 1, 2});
    EXPECT_EQ(process->state(), State::exited);
    EXPECT_EQ(process->exit_status()->text, "exit 3");
    EXPECT_EQ(errno_of(process->check_embryo()), EPERM);
}

TEST_F(ProcessTest, OneThatDiedUnstartedIsGoneAndAStoppedOneIsBusy) {
    body.stopped = true;
    EXPECT_EQ(errno_of(process->check_embryo()), EBUSY);
    body.exit({"signal 9 KILL", 0, 0});
    EXPECT_EQ(errno_of(process->check_embryo()), ESRCH);
}

TEST_F(ProcessTest, ExecThatIsRefusedLeavesAnEmbryoThatMayTryAgain) {
    EXPECT_EQ(errno_of(exec("/bin/nothing")), ENOENT);
    EXPECT_EQ(process->state(), State::embryo);
    EXPECT_THAT(process->arguments, IsEmpty());
    EXPECT_EQ(errno_of(exec("/bin/sh")), 0);
}

TEST_F(ProcessTest, ExecWithoutPathRunsTheArgumentsAsSet) {
    EXPECT_EQ(errno_of(exec(std::nullopt)), EINVAL);
    process->arguments = {"/bin/echo", "a b"};
    good(exec(std::nullopt));
    EXPECT_THAT(host.calls, Contains("exec /bin/echo [/bin/echo 'a b'] []"));
}

TEST_F(ProcessTest, ExecSearchesThePathOfTheNewProcess) {
    EXPECT_EQ(errno_of(exec("echo")), ENOENT);
    good(process->environment.set("PATH", "/usr/bin:/bin\n", true));
    good(exec("echo", {"echo", "x"}));
    EXPECT_THAT(host.calls, Contains("exec /usr/bin/echo:/bin/echo [echo x] [PATH=/usr/bin:/bin]"));
}

TEST_F(ProcessTest, EnterIsolatesMemoryAndPassesTheRegistersThatAreSet) {
    process->threads.front() = {{"rdi", 1}, {"rsp", 2}};
    good(run(process->memory.create(Address{0x600000}, 0600)));
    process->pending_links["tmp"] = "x";
    good(run(process->enter({{"pc", 0x600000}, {"rsp", 3}})));
    EXPECT_THAT(host.calls, Contains("enter pc=600000 rdi=1 rsp=3"));
    EXPECT_THAT(process->memory.regions(), IsEmpty());
    EXPECT_THAT(process->pending_links, IsEmpty());
    EXPECT_EQ(process->state(), State::running);
}

TEST_F(ProcessTest, RealTimeRunsFromStartToExit) {
    good(exec("/bin/sh"));
    host.clock += 250;
    body.exit({});
    EXPECT_EQ(process->real_ms(), 250U);
}

TEST_F(ProcessTest, ItsExitIsToldOnceToEveryWatcherThatStillWants) {
    std::vector<std::string> told;
    (void)process->on_exit([&] { told.emplace_back("first"); });
    const auto watcher = process->on_exit([&] { told.emplace_back("forgotten"); });
    process->forget(watcher);
    body.exit({});
    (void)process->on_exit([&] { told.emplace_back("late"); });
    EXPECT_THAT(told, ElementsAre("first", "late"));
}

TEST_F(ProcessTest, CommandsRunOneAfterTheOther) {
    Request other = request;
    host.hold("open 3 /a");
    const Started first(in_turn(request, "/bin/sh"));
    EXPECT_TRUE(first.is_done());
    const Started second(in_turn(request, "/a"));
    const Started third(in_turn(other, "/bin/sh"));
    EXPECT_FALSE(third.is_done());
    host.release();
    EXPECT_TRUE(second.is_done());
    EXPECT_EQ(errno_of(third.answer()), 0);
}

TEST_F(ProcessTest, AnInterruptionReachesTheCallUnderWayAndNobodyElses) {
    Request other = request;
    host.hold("open");
    const Started first(in_turn(request, "/bin/sh"));
    const Started second(in_turn(other, "/bin/sh"));
    request.cancellation.request();
    EXPECT_EQ(errno_of(first.answer()), EINTR);
    EXPECT_EQ(errno_of(second.answer()), 0);
    EXPECT_EQ(std::count(host.calls.begin(), host.calls.end(), "interrupt"), 1);
}

TEST_F(ProcessTest, WhoIsInterruptedInTheQueueDoesNotDisturbWhoIsIn) {
    Request other = request;
    host.hold("open");
    const Started first(in_turn(request, "/bin/sh"));
    const Started second(in_turn(other, "/bin/sh"));
    other.cancellation.request();
    EXPECT_EQ(errno_of(second.answer()), EINTR);
    EXPECT_FALSE(first.is_done());
    host.release();
    EXPECT_EQ(errno_of(first.answer()), 0);
    EXPECT_THAT(host.calls, Not(Contains("interrupt")));
}

TEST_F(ProcessTest, AnInterruptionBetweenTwoCallsEndsTheNextOneAndNotTheNextCommand) {
    const auto two_calls = [this](Request& who) -> Task<Result<>> {
        const auto turn = co_await process->turn(who);
        who.cancellation.request();
        co_await process->body->open(3, "/bin/sh", OpenMode{.read = true}, 0);
        co_return done();
    };
    Request other = request;
    EXPECT_EQ(errno_of(run(two_calls(request))), EINTR);
    EXPECT_EQ(errno_of(run(in_turn(other, "/bin/sh"))), 0);
}

TEST_F(ProcessTest, AnInterruptionAfterTheTurnIsNobodysBusiness) {
    good(run(in_turn(request, "/bin/sh")));
    request.cancellation.request();
    EXPECT_THAT(host.calls, Not(Contains("interrupt")));
}

TEST_F(ProcessTest, AProcessThatBuildsItselfThroughItsOwnCallIsToldInsteadOfWaitingForEver) {
    Request own{.who = {1000, 1000}, .thread = process->id(), .cancellation = {}};
    host.hold("open");
    const Started first(in_turn(request, "/bin/sh"));
    EXPECT_EQ(errno_of(run(in_turn(own, "/bin/sh"))), EDEADLK);
    host.release();
}

TEST_F(ProcessTest, WhoQueuedWhileItDiedIsToldSo) {
    Request other = request;
    host.hold("open");
    const Started first(in_turn(request, "/bin/sh"));
    const Started second(in_turn(other, "/bin/sh"));
    body.exit({"signal 9 KILL", 0, 0});
    EXPECT_EQ(errno_of(first.answer()), ESRCH);
    EXPECT_EQ(errno_of(second.answer()), ESRCH);
}

TEST_F(ProcessTest, WhatCouldNotBeSettledStandsInItsErrorButTheCommandRuns) {
    good(run(process->memory.create(Address{0x600000}, 0600)));
    good(run(process->memory.create(Address{0x602000}, 0600)));
    good(process->memory.at(Address{0x600000})->object->resize(0x9000));
    EXPECT_EQ(errno_of(run(in_turn(request, "/bin/sh"))), 0);
    EXPECT_THAT(process->error, HasSubstr("reaches the one at 602000"));
}

TEST_F(ProcessTest, LookingSettlesButWaitsForNobody) {
    Request other = request;
    host.hold("open");
    const Started first(in_turn(request, "/bin/sh"));
    run(process->settle(other));  // would hang
    host.release();
    good(run(process->memory.create(Address{0x600000}, 0600)));
    good(process->memory.at(Address{0x600000})->object->resize(5));
    run(process->settle(other));
    EXPECT_EQ(body.pages.size(), 1U);
}

}  // namespace
}  // namespace proc9::core
