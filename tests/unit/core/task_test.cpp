#include "fs/core/task.hpp"

#include <stdexcept>

#include "tests/unit/run.hpp"

namespace proc9::core {
namespace {

using fake::errno_of;
using fake::run;
using fake::Started;

// Counts the frames that are alive.
struct Guard {
    explicit Guard(int& count) : alive(count) { ++alive; }
    ~Guard() { --alive; }
    Guard(const Guard&) = delete;
    Guard& operator=(const Guard&) = delete;
    int& alive;
};

Result<int> give(int number) {
    if (number < 0) return fail(std::errc::invalid_argument, "{} is negative", number);
    return number;
}

Task<Result<int>> twice(int number, int& frames) {
    const Guard guard(frames);
    const int value = co_await give(number);
    co_return value * 2;
}

Task<Result<int>> nested(int depth, int number, int& frames) {
    const Guard guard(frames);
    if (depth == 0) co_return co_await twice(number, frames);
    co_return co_await nested(depth - 1, number, frames) + 1;
}

Task<Result<int>> await_later(Later<int>& later, int& frames) {
    const Guard guard(frames);
    const int value = co_await later;
    co_return co_await give(value);
}

TEST(Task, AnswersThroughManyLevels) {
    int frames = 0;
    EXPECT_EQ(run(nested(1000, 21, frames)), 1042);
    EXPECT_EQ(frames, 0);
}

TEST(Task, AnErrorEndsEveryAwaiterAndDestroysWhatTheyHold) {
    int frames = 0;
    const auto answer = run(nested(1000, -1, frames));
    EXPECT_EQ(errno_of(answer), EINVAL);
    EXPECT_EQ(answer.error().why, "-1 is negative");
    EXPECT_EQ(frames, 0);
}

TEST(Task, ResultLooksAtTheErrorInsteadOfPassingItOn) {
    int frames = 0;
    const auto look = [](int& count) -> Task<Result<int>> {
        const auto answer = co_await twice(-1, count).result();
        co_return answer ? 1 : 2;
    };
    EXPECT_EQ(run(look(frames)), 2);
}

TEST(Task, DoesNotBeginBeforeItIsAwaited) {
    int frames = 0;
    bool began = false;
    const auto begin = [](bool& flag, int& count) -> Task<Result<int>> {
        const Guard guard(count);
        flag = true;
        co_return 1;
    };
    { const auto never = begin(began, frames); }
    EXPECT_FALSE(began);
    EXPECT_EQ(run(begin(began, frames)), 1);
    EXPECT_TRUE(began);
}

TEST(Task, ATaskOfTasksWithoutResultsPassesItsValue) {
    const auto inner = [](std::string text) -> Task<std::string> { co_return text + "!"; };
    const auto outer = [&]() -> Task<std::string> { co_return co_await inner("hello"); };
    EXPECT_EQ(run(outer()), "hello!");
}

TEST(Task, DestroyedWhileItWaitsItsFrameGoes) {
    int frames = 0;
    Later<int> later;
    const auto start = [](Later<int>& awaited, int& count) {
        struct Detached {
            struct promise_type {
                Detached get_return_object() {
                    return {std::coroutine_handle<promise_type>::from_promise(*this)};
                }
                std::suspend_never initial_suspend() noexcept { return {}; }
                std::suspend_always final_suspend() noexcept { return {}; }
                void return_void() {}
                void unhandled_exception() { std::terminate(); }
            };
            std::coroutine_handle<promise_type> handle;
        };
        return
            [](Task<Result<int>> task)
                -> Detached { (void)co_await task.result(); }(await_later(awaited, count)).handle;
    };
    const auto handle = start(later, frames);
    EXPECT_EQ(frames, 1);
    handle.destroy();
    EXPECT_EQ(frames, 0);
}

TEST(Task, AnExceptionComesOutWhereItIsAwaited) {
    const auto throws = []() -> Task<Result<int>> {
        throw std::logic_error("bug");
        co_return 1;
    };
    std::string caught;
    const auto catches = [&]() -> Task<Result<int>> {
        try {
            co_return co_await throws();
        } catch (const std::logic_error& bug) {
            caught = bug.what();
        }
        co_return 2;
    };
    EXPECT_EQ(run(catches()), 2);
    EXPECT_EQ(caught, "bug");
}

TEST(Later, ResumesTheOneThatWaitsInsideSet) {
    int frames = 0;
    Later<int> later;
    const Started waiting(await_later(later, frames));
    EXPECT_FALSE(waiting.is_done());
    EXPECT_TRUE(later.set(7));
    ASSERT_TRUE(waiting.is_done());
    EXPECT_EQ(waiting.answer(), 7);
    EXPECT_EQ(frames, 0);
}

TEST(Later, MayBeSetBeforeAnybodyWaitsAndOnlyOnce) {
    int frames = 0;
    Later<int> later;
    EXPECT_TRUE(later.set(1));
    EXPECT_FALSE(later.set(2));
    EXPECT_TRUE(later.is_set());
    EXPECT_EQ(run(await_later(later, frames)), 1);
}

TEST(Later, AnErrorAfterItPropagatesToo) {
    int frames = 0;
    Later<int> later;
    const Started waiting(await_later(later, frames));
    (void)later.set(-1);
    EXPECT_EQ(errno_of(waiting.answer()), EINVAL);
    EXPECT_EQ(frames, 0);
}

TEST(Spawn, DestroysTheFrameWhenTheTaskHasEnded) {
    int frames = 0;
    Later<int> later;
    const auto task = [](Later<int>& awaited, int& count) -> Task<> {
        const Guard guard(count);
        (void)co_await await_later(awaited, count).result();
    };
    spawn(task(later, frames));
    EXPECT_EQ(frames, 2);
    (void)later.set(1);
    EXPECT_EQ(frames, 0);
}

TEST(Result, TryReturnsTheErrorAndGivesTheValue) {
    const auto half = [](int number) -> Result<int> { return TRY(give(number)) / 2; };
    EXPECT_EQ(half(4), 2);
    EXPECT_EQ(errno_of(half(-4)), EINVAL);
    const auto refusal = refused("openat", ENOENT);
    EXPECT_EQ(refusal.number(), ENOENT);
    EXPECT_EQ(refusal.why, "openat: No such file or directory");
}

}  // namespace
}  // namespace proc9::core
