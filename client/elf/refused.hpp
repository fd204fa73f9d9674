// Why a program cannot be loaded. Thrown where it is found out, for whoever called load().
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string_view>

namespace proc9::elf {

struct Refused : std::runtime_error {
    using std::runtime_error::runtime_error;
};

template <class... Args>
[[noreturn]] void refuse(fmt::format_string<Args...> format, Args&&... args) {
    throw Refused(fmt::format(format, std::forward<Args>(args)...));
}

// "WHAT: No such file or directory", as errno says.
[[noreturn]] void refuse_by_errno(std::string_view what);

}  // namespace proc9::elf
