// What the daemon tells its operator: a line on standard error, with the time in front; in a journal, which has the time,
// with the priority as journald reads it. PROC9_LOG=error|warn|notice|info|debug, default notice.
#pragma once

#include <fmt/format.h>

#include <string_view>

namespace proc9::core {

enum class Severity { error = 3, warn = 4, notice = 5, info = 6, debug = 7 };

void log_line(Severity severity, std::string_view text);
[[nodiscard]] bool is_logged(Severity severity);

template <class... Args>
void log(Severity severity, fmt::format_string<Args...> format, Args&&... args) {
    if (is_logged(severity)) log_line(severity, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace proc9::core
