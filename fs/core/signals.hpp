// Signal names and numbers of Linux (the same on x86 and arm).
#pragma once

#include <string>
#include <string_view>

#include "fs/core/result.hpp"

namespace proc9::core {

inline constexpr int signal_kill = 9;

// "TERM", "SIGTERM", "term", "15", "RTMIN+3". EINVAL with the nearest name.
Result<int> parse_signal(std::string_view word);
std::string signal_name(int number);  // "TERM"; "34" where it has none

}  // namespace proc9::core
