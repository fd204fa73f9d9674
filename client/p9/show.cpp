// p9 show: the regions from below to above, each with a bar as long as the region is large.
#include "client/p9/regions.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <sstream>

#include "client/p9/command.hpp"
#include "client/p9/mount.hpp"

namespace proc9::p9 {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t bar_width = 32;

// In eighths of a character, so that small ones differ, too.
std::string bar(std::uint64_t size, std::uint64_t largest) {
    constexpr std::array eighths = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
    const auto share = static_cast<double>(size) / static_cast<double>(largest);
    const auto length = std::max<std::size_t>(1, static_cast<std::size_t>(share * bar_width * 8));
    std::string text;
    for (std::size_t i = 0; i < length / 8; ++i) text += "█";
    return text + eighths[length % 8];
}

std::string padded(const std::string& bar, std::uint64_t size, std::uint64_t largest) {
    const auto share = static_cast<double>(size) / static_cast<double>(largest);
    const auto eighths = std::max<std::size_t>(1, static_cast<std::size_t>(share * bar_width * 8));
    return bar + std::string(bar_width - (eighths + 7) / 8, ' ');
}

void draw(const std::vector<Region>& regions) {
    std::uint64_t largest = 1;
    for (const auto& region : regions) largest = std::max(largest, region.size());
    std::uint64_t before = 0;
    for (const auto& region : regions) {
        if (region.start > before && before != 0)
            fmt::print("{}\n",
                       painted(fmt::format("{:>12}  {:>6}", "·", human_size(region.start - before)),
                               Colour::dim));
        fmt::print("{:>12x}  {:>6}  {}  {}  {}\n", region.start, human_size(region.size()),
                   region.protection,
                   painted(padded(bar(region.size(), largest), region.size(), largest),
                           shade_of(region).terminal),
                   region.name);
        before = region.end;
    }
}

Json to_json(const std::vector<Region>& regions) {
    Json all = Json::array();
    for (const auto& region : regions)
        all.push_back({{"start", region.start},
                       {"end", region.end},
                       {"protection", region.protection},
                       {"name", region.name}});
    return all;
}

}  // namespace

std::vector<Region> parse_maps(const std::string& text) {
    std::vector<Region> regions;
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
        std::istringstream words(line);
        Region region{};
        char dash = 0;
        std::string offset;
        std::string device;
        std::string inode;
        words >> std::hex >> region.start >> dash >> region.end >> region.protection >> offset >>
            device >> inode;
        std::getline(words >> std::ws, region.name);
        regions.push_back(region);
    }
    return regions;
}

Shade shade_of(const Region& region) {
    const auto has = [&](char right) { return region.protection.find(right) != std::string::npos; };
    if (has('w') && has('x')) return {Colour::red, "#d9534f"};
    if (has('x')) return {Colour::green, "#5cb85c"};
    if (has('w')) return {Colour::yellow, "#e6b422"};
    if (has('r')) return {Colour::blue, "#5b8fd9"};
    return {Colour::dim, "#bbbbbb"};
}

int show(const Arguments& given) {
    const std::string& process = given.operands[0];
    const auto regions = parse_maps(read_file(process + "/maps"));
    if (given.has("json")) return print(to_json(regions)), 0;
    if (given.has("svg")) return fmt::print("{}", svg(process, regions)), 0;
    draw(regions);
    return 0;
}

}  // namespace proc9::p9
