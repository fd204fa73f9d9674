#include "fs/core/signals.hpp"

#include <algorithm>
#include <array>
#include <cctype>

#include "fs/core/text.hpp"

namespace proc9::core {
namespace {

constexpr int last_signal = 64;
constexpr int first_realtime = 34;  // as the C library counts: the kernel's 32 and 33 are its own

constexpr std::array<std::string_view, 32> names = {
    "",     "HUP",  "INT",  "QUIT", "ILL",    "TRAP",   "ABRT",  "BUS",  "FPE",  "KILL", "USR1",
    "SEGV", "USR2", "PIPE", "ALRM", "TERM",   "STKFLT", "CHLD",  "CONT", "STOP", "TSTP", "TTIN",
    "TTOU", "URG",  "XCPU", "XFSZ", "VTALRM", "PROF",   "WINCH", "IO",   "PWR",  "SYS"};

std::string upper_without_sig(std::string_view word) {
    std::string name(word);
    std::transform(name.begin(), name.end(), name.begin(),
                   [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
    return name.starts_with("SIG") ? name.substr(3) : name;
}

}  // namespace

Result<int> parse_signal(std::string_view word) {
    const std::string name = upper_without_sig(word);
    if (!name.empty() && std::isdigit(static_cast<unsigned char>(name.front())) != 0)
        return static_cast<int>(TRY(parse_number_up_to("signal", name, last_signal)));
    if (name.starts_with("RTMIN+"))
        return first_realtime +
               static_cast<int>(TRY(parse_number_up_to("RTMIN+", std::string_view(name).substr(6),
                                                       last_signal - first_realtime)));
    if (name == "RTMIN") return first_realtime;
    if (name == "RTMAX") return last_signal;
    const auto* const found = std::find(names.begin() + 1, names.end(), name);
    if (found != names.end()) return static_cast<int>(found - names.begin());
    const auto near = nearest(name, std::span(names).subspan(1));
    return fail(std::errc::invalid_argument, "unknown signal {}{}", requote(word),
                near.empty() ? "" : fmt::format("; did you mean {}?", near));
}

std::string signal_name(int number) {
    if (number > 0 && number < static_cast<int>(names.size()))
        return std::string(names[static_cast<std::size_t>(number)]);
    return std::to_string(number);
}

}  // namespace proc9::core
