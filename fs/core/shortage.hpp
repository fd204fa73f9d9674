// Whether an error is about who asked and not about what was asked for: then it is no answer, and must not be
// taken for "there is none".
#pragma once

#include <algorithm>
#include <array>
#include <cerrno>

#include "fs/core/result.hpp"

namespace proc9::core {

inline bool is_shortage(std::errc code) {
    constexpr std::array shortages = {
        std::errc::no_buffer_space,
        std::errc::not_enough_memory,
        std::errc::interrupted,
        std::errc::resource_unavailable_try_again,
        std::errc::too_many_files_open,
        std::errc::too_many_files_open_in_system,
        static_cast<std::errc>(ETOOMANYREFS)};  // of descriptors on their way
    return std::find(shortages.begin(), shortages.end(), code) != shortages.end();
}

// Nothing, of what has gone or is closed to us.
template <class T>
Result<T> or_nothing(Result<T> answer) {
    if (answer || is_shortage(answer.error().code)) return answer;
    return T{};
}

}  // namespace proc9::core
