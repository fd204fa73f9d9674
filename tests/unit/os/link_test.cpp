// A link whose other end is the test: what a stub that is not ours could send.
#include "daemon/os/link.hpp"

#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <csignal>

#include "daemon/os/child.hpp"
#include "tests/unit/fake_host.hpp"
#include "tests/unit/os/machine.hpp"

namespace proc9::os {
namespace {

using core::done;
using fake::errno_of;
using fake::good;
using fake::Started;

struct LinkTest : testing::Test {
    Loop loop;
    Counters counters;
    std::pair<UniqueFd, UniqueFd> ends = good(Link::make_pair());
    Link link{loop, std::move(ends.first), counters};
    Batch batch{core::Address{PROC9_STUB_BASE}};

    LinkTest() { batch.call("getpid", SYS_getpid); }

    void say(std::string_view bytes) const {
        EXPECT_EQ(::send(ends.second.get(), bytes.data(), bytes.size(), 0),
                  static_cast<ssize_t>(bytes.size()));
    }
    [[nodiscard]] std::string hear() const {
        std::string bytes(Batch::capacity, '\0');
        const auto got = ::recv(ends.second.get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
        bytes.resize(got < 0 ? 0 : static_cast<std::size_t>(got));
        return bytes;
    }
    // Lets the loop run until a task has ended.
    template <class T>
    T finish(core::Task<T> task) {
        std::optional<T> answer;
        const auto whole = [](core::Task<T> inner, Loop& running, std::optional<T>& out) -> Task<> {
            out.emplace(co_await inner.result());
            running.stop();
        };
        const auto deadline = loop.after(std::chrono::seconds(5), [this] { loop.stop(); });
        core::spawn(whole(std::move(task), loop, answer));
        if (!answer) loop.run();
        return std::move(answer.value());
    }
};

TEST_F(LinkTest, AHelloIsFromWhomTheKernelSays) {
    const proc9_hello hello = {63, 0x5000};
    say({reinterpret_cast<const char*>(&hello), sizeof hello});
    const auto heard = finish(link.hello());
    EXPECT_EQ(heard->speaker, ::getpid());
    EXPECT_EQ(heard->number, 63);
    EXPECT_EQ(heard->pages.value, 0x5000U);
}

TEST_F(LinkTest, AHelloFromOutsideTheAddressSpaceIsRefused) {
    const proc9_hello hello = {63, ~std::uint64_t{0} << 12U};
    say({reinterpret_cast<const char*>(&hello), sizeof hello});
    EXPECT_FALSE(finish(link.hello()));
}

TEST_F(LinkTest, WhoIsOnlyNamedIsNotTakenForAChildAndLivesOn) {
    Tracer tracer(loop);
    Morgue morgue(loop);
    Rounds rounds(loop);
    Workshop workshop{loop, tracer, morgue, rounds, counters, {}, 0, false};
    const core::Pid named = ::fork();
    if (named == 0) {
        ::pause();
        ::_exit(0);
    }
    tracer.add(named);  // as every embryo is
    auto pair = good(Link::make_pair());
    const proc9_hello hello = {63, 0x5000};
    EXPECT_EQ(::send(pair.second.get(), &hello, sizeof hello, 0), ssize_t{sizeof hello});
    auto foreign = std::make_shared<Link>(loop, std::move(pair.first), counters);
    EXPECT_EQ(errno_of(finish(Child::greet(workshop, std::move(foreign), named))), ESRCH);
    EXPECT_EQ(::waitpid(named, nullptr, WNOHANG), 0);
    ::kill(named, SIGKILL);
    EXPECT_EQ(::waitpid(named, nullptr, 0), named);
}

TEST_F(LinkTest, ThePagesOfAStubAreItsCode) {
    EXPECT_EQ(errno_of(link.send_pages("code")), 0);
    const proc9_pages pages = {PROC9_STUB_BASE, PROC9_STUB_SIZE, 4};
    EXPECT_EQ(hear(), std::string(reinterpret_cast<const char*>(&pages), sizeof pages) + "code");
}

TEST_F(LinkTest, OnlyOneEndOfAPairIsTakenForALink) {
    EXPECT_EQ(errno_of(Link::check_foreign(ends.second.get())), 0);
    std::array<int, 2> pipe{};
    ASSERT_EQ(::pipe(pipe.data()), 0);
    for (const int number : {pipe[0], pipe[1], -1}) {
        EXPECT_EQ(errno_of(Link::check_foreign(number)), EINVAL);
    }
    ::close(pipe[0]);
    ::close(pipe[1]);
}

TEST_F(LinkTest, WhatIsSentArrivesWithItsDescriptors) {
    const auto sent = batch.send(std::make_shared<fake::FakeDescriptor>(ends.second.get(), "x"));
    batch.call("close", SYS_close, sent);
    EXPECT_EQ(errno_of(link.send_only(batch)), 0);
    EXPECT_EQ(hear(), batch.encode(false));
    EXPECT_EQ(counters.remote_calls, 2U);
}

TEST_F(LinkTest, AnAnswerOfOneByteIsAnAnswer) {
    const Started running(link.run_or_close(batch));
    say("?");
    const auto closes = loop.after(std::chrono::seconds(5), [this] { link.close(); });
    const auto until = [](Loop& running_loop, const Started<Result<std::optional<Replies>>>& one,
                          std::function<void()> again) {
        if (one.is_done()) {
            running_loop.stop();
        } else {
            running_loop.post(std::move(again));
        }
    };
    std::function<void()> look = [&] { until(loop, running, look); };
    loop.post(look);
    loop.run();
    ASSERT_TRUE(running.answer() && *running.answer());
    EXPECT_EQ((*running.answer())->of(0), 0);
}

TEST_F(LinkTest, GarbageInsteadOfResultsIsRead) {
    say(std::string(300, '\xff'));
    const auto replies = finish(link.run_or_close(batch));
    ASSERT_TRUE(replies && *replies);
    EXPECT_EQ(errno_of((*replies)->of(0)), 1) << "all ones is -1, EPERM";
}

TEST_F(LinkTest, ClosedInsteadOfAnsweredIsNoAnswer) {
    ends.second.reset();
    const auto answer = finish(link.run_or_close(batch));
    EXPECT_TRUE(!answer || !*answer);
    EXPECT_EQ(errno_of(finish(link.run_or_close(batch))), ESRCH);
}

TEST_F(LinkTest, ClosingItTellsWhoWaitsAndWhoWantsToKnow) {
    bool told = false;
    link.on_close([&told] { told = true; });
    const Started running(link.run_or_close(batch));
    EXPECT_TRUE(link.is_waiting());
    link.close();
    link.close();
    EXPECT_TRUE(told);
    ASSERT_TRUE(running.is_done());
    EXPECT_FALSE(*running.answer());
    EXPECT_FALSE(link.is_open());
}

TEST_F(LinkTest, WhatDoesNotFitIsNotSent) {
    batch.call("chdir", SYS_chdir, batch.bytes(std::string(Batch::capacity, 'x')));
    EXPECT_EQ(errno_of(link.send_only(batch)), E2BIG);
    Batch many(core::Address{PROC9_STUB_BASE});
    for (int i = 0; i <= PROC9_MOST_DESCRIPTORS; ++i)
        many.send(std::make_shared<fake::FakeDescriptor>(ends.second.get(), "x"));
    EXPECT_EQ(errno_of(link.send_only(many)), E2BIG);
    EXPECT_EQ(hear(), "");
}

TEST_F(LinkTest, AStubThatDoesNotReadIsNotWaitedFor) {
    core::Result<> sent;
    for (int i = 0; i < 10000 && sent; ++i) sent = link.send_only(batch);
    EXPECT_EQ(errno_of(sent), EAGAIN);
}

}  // namespace
}  // namespace proc9::os
