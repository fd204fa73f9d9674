#include "client/p9/output.hpp"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <nlohmann/json.hpp>

namespace proc9::p9 {
namespace {

bool is_coloured() {
    static const bool coloured = ::isatty(STDOUT_FILENO) == 1 && std::getenv("NO_COLOR") == nullptr;
    return coloured;
}

std::vector<std::size_t> widths(const std::vector<Row>& rows) {
    std::vector<std::size_t> widths(rows.empty() ? 0 : rows.front().cells.size());
    for (const auto& row : rows) {
        for (std::size_t i = 0; i < row.cells.size(); ++i)
            widths[i] = std::max(widths[i], row.cells[i].size());
    }
    return widths;
}

std::string line(const Row& row, const std::string& flush, const std::vector<std::size_t>& widths) {
    std::string text;
    for (std::size_t i = 0; i + 1 < row.cells.size(); ++i)
        text += flush[i] == '>' ? fmt::format("{:>{}}  ", row.cells[i], widths[i])
                                : fmt::format("{:<{}}  ", row.cells[i], widths[i]);
    return (text + row.cells.back()).substr(0, terminal_width());
}

}  // namespace

std::string painted(const std::string& text, Colour colour) {
    if (colour == Colour::none || !is_coloured()) return text;
    return fmt::format("\033[{}m{}\033[0m", static_cast<int>(colour), text);
}

std::size_t terminal_width() {
    winsize size{};
    if (::isatty(STDOUT_FILENO) == 1 && ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 &&
        size.ws_col > 0)
        return size.ws_col;
    return std::numeric_limits<std::size_t>::max();
}

std::string table(const std::vector<Row>& rows, const std::string& flush) {
    const auto wide = widths(rows);
    std::string text;
    for (const auto& row : rows) text += painted(line(row, flush, wide), row.colour) + '\n';
    return text;
}

std::string human_size(std::uint64_t bytes) {
    constexpr std::array units = {"", "K", "M", "G", "T", "P"};
    auto size = static_cast<double>(bytes);
    std::size_t unit = 0;
    for (; size >= 1024 && unit + 1 < units.size(); ++unit) size /= 1024;
    return unit == 0 || size >= 100 ? fmt::format("{:.0f}{}", size, units[unit])
                                    : fmt::format("{:.1f}{}", size, units[unit]);
}

std::string human_time(std::uint64_t milliseconds) {
    const auto seconds = milliseconds / 1000;
    return fmt::format("{}:{:02}.{:02}", seconds / 60, seconds % 60, milliseconds % 1000 / 10);
}

void complain(const std::string& what) { std::fputs(("p9: " + what + '\n').c_str(), stderr); }

void print(const nlohmann::ordered_json& value) {
    fmt::print("{}\n", value.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
}

}  // namespace proc9::p9
