#include "fs/core/log.hpp"

#include <array>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <utility>

namespace proc9::core {
namespace {

Severity threshold_from_environment() {
    constexpr std::array<std::pair<std::string_view, Severity>, 5> names = {
        {{"error", Severity::error},
         {"warn", Severity::warn},
         {"notice", Severity::notice},
         {"info", Severity::info},
         {"debug", Severity::debug}}};
    const char* const wanted = std::getenv("PROC9_LOG");
    for (const auto& [name, severity] : names) {
        if (wanted && name == wanted) return severity;
    }
    return Severity::notice;
}

std::string time_now() {
    const std::time_t now = std::time(nullptr);
    std::tm parts{};
    ::gmtime_r(&now, &parts);
    std::array<char, 32> text{};
    return {text.data(), std::strftime(text.data(), text.size(), "%FT%TZ", &parts)};
}

}  // namespace

bool is_logged(Severity severity) {
    static const Severity threshold = threshold_from_environment();
    return severity <= threshold;
}

void log_line(Severity severity, std::string_view text) {
    static const bool for_journal = std::getenv("JOURNAL_STREAM") != nullptr;
    const std::string before =
        for_journal ? fmt::format("<{}>", static_cast<int>(severity)) : time_now() + " ";
    fmt::print(stderr, "{}proc9d: {}\n", before, text);
}

}  // namespace proc9::core
