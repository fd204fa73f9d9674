#include "client/elf/maps.hpp"

#include <charconv>
#include <sstream>

namespace proc9::elf {
namespace {

MapsLine parse_line(const std::string& line) {
    MapsLine parsed;
    std::string range;
    std::string skipped;
    std::istringstream words(line);
    words >> range >> skipped >> skipped >> skipped >> skipped >> parsed.name;
    const char* const end = range.data() + range.size();
    const auto start = std::from_chars(range.data(), end, parsed.range.start, 16);
    if (start.ptr < end) std::from_chars(start.ptr + 1, end, parsed.range.end, 16);
    return parsed;
}

}  // namespace

std::vector<MapsLine> parse_maps(const std::string& text) {
    std::vector<MapsLine> lines;
    std::istringstream all(text);
    for (std::string line; std::getline(all, line);) lines.push_back(parse_line(line));
    return lines;
}

Vdso vdso_in(const std::vector<MapsLine>& lines) {
    Vdso vdso;
    for (const auto& [range, name] : lines) {
        if (name == "[vdso]") vdso.code = range.start;
        if (name != "[vdso]" && !name.starts_with("[vvar")) continue;
        if (vdso.range.start == 0) vdso.range.start = range.start;
        vdso.range.end = range.end;
    }
    return vdso;
}

}  // namespace proc9::elf
