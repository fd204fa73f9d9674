// Task<T>: a coroutine that answers later, on the one thread that there is.
//
//     Task<Result<Addr>> map(...) {
//         auto turn = co_await process.turn(request);     // a Result or a Task<Result> that failed
//         co_return co_await embryo.map(mapping);         // ends this coroutine with its error
//     }
//     spawn(map(...));                                    // run without anybody waiting
//
// Awaiting a Result, or a Task<Result>, plays TRY: the coroutine goes on with the value, or ends
// with the error. To look at an error, await task.result(). A Task starts when it is awaited and
// its frame lives as long as the Task object. Arguments by value or kept alive by the awaiter.
#pragma once

#include <coroutine>
#include <deque>
#include <exception>
#include <functional>
#include <optional>
#include <utility>

#include "fs/core/result.hpp"

namespace proc9::core {

template <class T = void>
class Task;
template <class T>
class Later;

namespace detail {

template <class T>
struct IsResult : std::false_type {};
template <class T>
struct IsResult<Result<T>> : std::true_type {};

// Ends a coroutine from outside with an error and names who runs next.
using FailParent = std::coroutine_handle<> (*)(void* parent, Error&& error) noexcept;

struct FinalAwaiter {
    bool await_ready() noexcept { return false; }
    template <class P>
    std::coroutine_handle<> await_suspend(std::coroutine_handle<P> handle) noexcept {
        return handle.promise().finish();
    }
    void await_resume() noexcept {}
};

// Takes the value out of a Result. An error goes into the promise, and the coroutine stays where
// it is: the Task that owns the frame destroys it.
template <class U, class P>
struct ResultAwaiter {
    Result<U> result;
    P* promise;

    bool await_ready() noexcept { return result.has_value(); }
    std::coroutine_handle<> await_suspend(std::coroutine_handle<> /*self*/) noexcept {
        return P::fail(promise, std::move(result).error());
    }
    U await_resume() { return take(std::move(result)); }
};

// Runs a task and answers what it answered. With `propagate`, an error ends the parent instead.
template <class T, bool propagate>
struct TaskAwaiter {
    std::coroutine_handle<typename Task<T>::promise_type> child;

    bool await_ready() noexcept { return false; }
    template <class P>
    std::coroutine_handle<> await_suspend(std::coroutine_handle<P> parent) noexcept {
        child.promise().continuation = parent;
        if constexpr (propagate) {
            child.promise().parent = &parent.promise();
            child.promise().fail_parent = &P::fail;
        }
        return child;
    }
    auto await_resume() {
        if constexpr (propagate) {
            return take(child.promise().answer());
        } else {
            return child.promise().answer();
        }
    }
};

template <class T>
struct PromiseBase {
    std::coroutine_handle<> continuation = std::noop_coroutine();
    void* parent = nullptr;
    FailParent fail_parent = nullptr;
    std::optional<T> value;
    std::exception_ptr bug;

    std::suspend_always initial_suspend() noexcept { return {}; }
    FinalAwaiter final_suspend() noexcept { return {}; }
    void unhandled_exception() noexcept { bug = std::current_exception(); }
    template <class U>
    void return_value(U&& result) {
        value.emplace(std::forward<U>(result));
    }

    std::coroutine_handle<> finish() noexcept {
        if constexpr (IsResult<T>::value) {
            if (fail_parent && !bug && !*value)
                return fail_parent(parent, std::move(*value).error());
        }
        return continuation;
    }
    static std::coroutine_handle<> fail(void* self, Error&& error) noexcept {
        auto& promise = *static_cast<PromiseBase*>(self);
        promise.value.emplace(std::move(error));
        return promise.finish();
    }
    T answer() {
        if (bug) std::rethrow_exception(bug);
        return std::move(*value);
    }
};

template <>
struct PromiseBase<void> {
    std::coroutine_handle<> continuation = std::noop_coroutine();
    std::exception_ptr bug;

    std::suspend_always initial_suspend() noexcept { return {}; }
    FinalAwaiter final_suspend() noexcept { return {}; }
    void unhandled_exception() noexcept { bug = std::current_exception(); }
    void return_void() noexcept {}
    std::coroutine_handle<> finish() noexcept { return continuation; }
    void answer() {
        if (bug) std::rethrow_exception(bug);
    }
};

template <class T>
struct Promise : PromiseBase<T> {
    Task<T> get_return_object() {
        return Task<T>(std::coroutine_handle<Promise>::from_promise(*this));
    }

    template <class U>
    auto await_transform(Result<U>&& result) {
        static_assert(IsResult<T>::value, "only a Task<Result> can end with an error");
        return ResultAwaiter<U, PromiseBase<T>>{std::move(result), this};
    }
    template <class U>
    auto await_transform(Task<U>&& task) {
        return TaskAwaiter<U, IsResult<T>::value && IsResult<U>::value>{task.handle_};
    }
    template <class U>
    auto await_transform(Later<U>& later) {
        return typename Later<U>::Awaiter{
            &later};  // by value: GCC 12 copies an awaiter it gets by reference
    }
    template <class U>
    auto await_transform(TaskAwaiter<U, false>&& awaiter) {
        return std::move(awaiter);
    }
};

}  // namespace detail

template <class T>
class [[nodiscard]] Task {
public:
    using promise_type = detail::Promise<T>;

    explicit Task(std::coroutine_handle<promise_type> handle) : handle_(handle) {}
    Task(Task&& other) noexcept : handle_(std::exchange(other.handle_, {})) {}
    Task& operator=(Task&&) = delete;
    ~Task() {
        if (handle_) handle_.destroy();
    }

    // To await the Result itself instead of its value.
    detail::TaskAwaiter<T, false> result() { return {handle_}; }

private:
    friend promise_type;
    template <class>
    friend struct detail::Promise;
    std::coroutine_handle<promise_type> handle_;
};

// Runs a task that nobody waits for. What it throws is a bug and ends the program.
inline void spawn(Task<> task) {
    struct Detached {
        struct promise_type {
            Detached get_return_object() noexcept { return {}; }
            std::suspend_never initial_suspend() noexcept { return {}; }
            std::suspend_never final_suspend() noexcept { return {}; }
            void return_void() noexcept {}
            void unhandled_exception() noexcept { std::terminate(); }
        };
    };
    [](Task<> owned) -> Detached { co_await owned.result(); }(std::move(task));
}

// One answer that arrives later: the receiver awaits it, the sender sets it, once, in either
// order. The receiver is resumed inside set().
template <class T>
class Later {
public:
    [[nodiscard]] bool set(T value) {
        if (value_) return false;
        value_.emplace(std::move(value));
        if (auto waiter = std::exchange(waiter_, {})) waiter.resume();
        return true;
    }
    [[nodiscard]] bool is_set() const { return value_.has_value(); }

    struct Awaiter {
        Later* later;

        bool await_ready() const noexcept { return later->is_set(); }
        void await_suspend(std::coroutine_handle<> waiter) noexcept { later->waiter_ = waiter; }
        T await_resume() { return std::move(*later->value_); }
    };

private:
    std::optional<T> value_;
    std::coroutine_handle<> waiter_;
};

}  // namespace proc9::core
