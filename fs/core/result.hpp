// Result<T>: a value, or an Error that says which errno and why.
//
//     Result<Range> parse(std::string_view text);
//     auto range = TRY(parse(word));                      // returns the error to the caller
//     return fail(std::errc::invalid_argument, "{} is not a range", word);
//
// Exceptions are for bugs. Everything that a user can cause is a Result.
#pragma once

#include <fmt/format.h>

#include <string>
#include <system_error>
#include <tl/expected.hpp>
#include <utility>

namespace proc9::core {

struct Error {
    std::errc code;
    std::string why;  // one clause, no capital, no full stop, no errno text

    [[nodiscard]] int number() const { return static_cast<int>(code); }
};

// tl::expected 1.0 is not [[nodiscard]]; this is.
template <class T = void>
class [[nodiscard]] Result : public tl::expected<T, Error> {
public:
    using value_type = T;
    using tl::expected<T, Error>::expected;
    Result(Error error) : tl::expected<T, Error>(tl::unexpect, std::move(error)) {}
};

// Success with nothing to say.
inline Result<> done() { return {}; }

template <class... Args>
[[nodiscard]] Error fail(std::errc code, fmt::format_string<Args...> format, Args&&... args) {
    return Error{code, fmt::format(format, std::forward<Args>(args)...)};
}

// What the kernel answered to `call`: "openat: No such file or directory".
[[nodiscard]] inline Error refused(std::string_view call, int error_number) {
    return Error{static_cast<std::errc>(error_number),
                 fmt::format("{}: {}", call, std::generic_category().message(error_number))};
}

}  // namespace proc9::core

// The value of a Result, or return its error. In a coroutine say co_await instead (task.hpp).
#define TRY(expression)                                                                            \
    __extension__({                                                                                \
        auto&& try_result_ = (expression);                                                         \
        if (!try_result_) return std::move(try_result_).error();                                   \
        proc9::core::detail::take(std::move(try_result_));                                         \
    })

namespace proc9::core::detail {
template <class T>
T take(Result<T>&& result) {
    if constexpr (!std::is_void_v<T>) return std::move(*result);
}
}  // namespace proc9::core::detail
