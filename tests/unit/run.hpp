// Runs tasks in tests, and says what came out of them in words that a failed test can print.
//
//     EXPECT_EQ(errno_of(run(memory.unmap(range))), 0);
//     Started command(process->exec(...));       // may have to wait for something
//     EXPECT_FALSE(command.is_done());
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>

#include "fs/core/task.hpp"

namespace proc9::fake {

// A task under way. Every one that a test starts has to end before the test does.
template <class T>
class Started {
public:
    explicit Started(core::Task<T> task) { core::spawn(watch(std::move(task), answer_)); }
    [[nodiscard]] bool is_done() const { return answer_->has_value(); }
    [[nodiscard]] T& answer() const { return answer_->value(); }

private:
    static core::Task<> watch(core::Task<T> task, std::shared_ptr<std::optional<T>> answer) {
        answer->emplace(co_await task.result());
    }
    std::shared_ptr<std::optional<T>> answer_ = std::make_shared<std::optional<T>>();
};

// What a task answers that has nothing to wait for; throws if it waits all the same.
template <class T>
T run(core::Task<T> task) {
    return std::move(Started(std::move(task)).answer());
}
inline void run(core::Task<> task) { core::spawn(std::move(task)); }

// 0 if it worked.
template <class T>
int errno_of(const core::Result<T>& result) {
    return result ? 0 : result.error().number();
}
template <class T>
std::string why(const core::Result<T>& result) {
    return result ? "" : result.error().why;
}
// The value of what must have worked; throws, and so fails the test, if it did not.
template <class T>
T good(core::Result<T> result) {
    if (!result) throw std::runtime_error("refused: " + result.error().why);
    if constexpr (!std::is_void_v<T>) return std::move(*result);
}

}  // namespace proc9::fake
