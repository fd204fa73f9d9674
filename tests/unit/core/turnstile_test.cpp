#include "fs/core/turnstile.hpp"

#include "tests/unit/run.hpp"

namespace proc9::core {
namespace {

using fake::errno_of;
using fake::Started;
using testing::ElementsAre;
using testing::IsEmpty;

struct Visitor {
    Request request;
    Later<bool> may_leave;
};

struct Turns : testing::Test {
    Turnstile turnstile;
    std::vector<std::string> story;
    Visitor a;
    Visitor b;
    Visitor c;

    Task<Result<>> visit(Visitor& visitor, std::string name) {
        const auto turn = co_await turnstile.enter(visitor.request);
        story.push_back(name + " in");
        co_await visitor.may_leave;
        story.push_back(name + " out");
        co_return done();
    }
};

TEST_F(Turns, AreTakenInTheOrderInWhichTheyWereAskedFor) {
    const Started first(visit(a, "a"));
    const Started second(visit(b, "b"));
    const Started third(visit(c, "c"));
    EXPECT_THAT(story, ElementsAre("a in"));
    (void)b.may_leave.set(true);
    (void)a.may_leave.set(true);
    (void)c.may_leave.set(true);
    EXPECT_THAT(story, ElementsAre("a in", "a out", "b in", "b out", "c in", "c out"));
    EXPECT_FALSE(turnstile.busy());
}

TEST_F(Turns, WhoIsInterruptedInTheQueueGetsEintrAndIsNeverIn) {
    const Started first(visit(a, "a"));
    const Started second(visit(b, "b"));
    const Started third(visit(c, "c"));
    b.request.cancellation.request();
    ASSERT_TRUE(second.is_done());
    EXPECT_EQ(errno_of(second.answer()), EINTR);
    (void)a.may_leave.set(true);
    EXPECT_THAT(story, ElementsAre("a in", "a out", "c in"));
    (void)c.may_leave.set(true);
    EXPECT_FALSE(turnstile.busy());
}

TEST_F(Turns, AnInterruptionThatCameFirstEndsTheWaitAtOnce) {
    const Started first(visit(a, "a"));
    b.request.cancellation.request();
    const Started second(visit(b, "b"));
    ASSERT_TRUE(second.is_done());
    EXPECT_EQ(errno_of(second.answer()), EINTR);
    (void)a.may_leave.set(true);
    EXPECT_FALSE(turnstile.busy());
}

TEST_F(Turns, AnInterruptionOfWhoIsInDoesNotThrowItOut) {
    const Started first(visit(a, "a"));
    a.request.cancellation.request();
    EXPECT_FALSE(first.is_done());
    (void)a.may_leave.set(true);
    EXPECT_EQ(errno_of(first.answer()), 0);
}

TEST_F(Turns, AMovedTurnLeavesOnce) {
    const auto pass_on = [this](Request& request) -> Task<Result<>> {
        auto turn = co_await turnstile.enter(request);
        const Turnstile::Turn moved(std::move(turn));
        EXPECT_TRUE(turnstile.busy());
        co_return done();
    };
    EXPECT_EQ(errno_of(fake::run(pass_on(a.request))), 0);
    EXPECT_FALSE(turnstile.busy());
}

TEST_F(Turns, WhoFailsInsideLetsTheNextOneIn) {
    const auto fails = [this](Visitor& visitor) -> Task<Result<>> {
        const auto turn = co_await turnstile.enter(visitor.request);
        co_await visitor.may_leave;
        co_await Result<>(fail(std::errc::io_error, "inside"));
        co_return done();
    };
    const Started first(fails(a));
    const Started second(visit(b, "b"));
    EXPECT_THAT(story, IsEmpty());
    (void)a.may_leave.set(true);
    EXPECT_EQ(errno_of(first.answer()), EIO);
    EXPECT_THAT(story, ElementsAre("b in"));
    (void)b.may_leave.set(true);
}

TEST_F(Turns, AnyNumberMayQueueWithoutExhaustingTheStack) {
    const auto pass = [this](Request& request) -> Task<Result<>> {
        const auto turn = co_await turnstile.enter(request);
        co_return done();
    };
    const Started first(visit(a, "a"));
    std::vector<Started<Result<>>> queue;
    for (int i = 0; i < 50000; ++i) queue.emplace_back(pass(b.request));
    (void)a.may_leave.set(true);
    EXPECT_TRUE(queue.back().is_done());
    EXPECT_FALSE(turnstile.busy());
}

TEST(Cancellation, RunsItsHookOnceAndNotWhenDisarmed) {
    int runs = 0;
    Cancellation cancellation;
    cancellation.on_request([&runs] { ++runs; });
    cancellation.disarm();
    cancellation.request();
    EXPECT_EQ(runs, 0);
    EXPECT_TRUE(cancellation.requested());
    cancellation.on_request([&runs] { ++runs; });  // came first: at once
    cancellation.request();
    EXPECT_EQ(runs, 1);
}

}  // namespace
}  // namespace proc9::core
