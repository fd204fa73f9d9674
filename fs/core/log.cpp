#include "fs/core/log.hpp"

#include <array>
#include <cstdio>
#include <cstdlib>
#include <utility>

namespace proc9::core {
namespace {

Severity threshold_from_environment() {
    constexpr std::array<std::pair<std::string_view, Severity>, 4> names = {
        {{"error", Severity::error},
         {"warn", Severity::warn},
         {"info", Severity::info},
         {"debug", Severity::debug}}};
    const char* const wanted = std::getenv("PROC9_LOG");
    for (const auto& [name, severity] : names) {
        if (wanted && name == wanted) return severity;
    }
    return Severity::warn;
}

}  // namespace

bool is_logged(Severity severity) {
    static const Severity threshold = threshold_from_environment();
    return severity <= threshold;
}

void log_line(Severity severity, std::string_view text) {
    static const bool for_journal = std::getenv("JOURNAL_STREAM") != nullptr;
    const std::string priority = for_journal ? fmt::format("<{}>", static_cast<int>(severity)) : "";
    fmt::print(stderr, "{}proc9d: {}\n", priority, text);
}

}  // namespace proc9::core
