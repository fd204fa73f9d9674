// The address space of a process, from its `maps`.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "client/p9/output.hpp"

namespace proc9::p9 {

struct Region {
    std::uint64_t start;
    std::uint64_t end;
    std::string protection;  // rwxp, as in /proc/PID/maps
    std::string name;

    std::uint64_t size() const { return end - start; }
};

std::vector<Region> parse_maps(const std::string& text);

// What colour, on a terminal and in an image, memory of this protection has.
struct Shade {
    Colour terminal;
    const char* image;
};
Shade shade_of(const Region& region);

std::string svg(const std::string& title, const std::vector<Region>& regions);

}  // namespace proc9::p9
