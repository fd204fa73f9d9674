// The mappings of a process, from the text of its maps file.
#pragma once

#include <string>
#include <vector>

#include "client/elf/layout.hpp"

namespace proc9::elf {

struct MapsLine {
    Range range;
    std::string name;
};

std::vector<MapsLine> parse_maps(const std::string& text);

// The kernel's code and its data are laid out alike in every process.
struct Vdso {
    Range range;       // empty: there is none
    Address code = 0;  // an ELF file, behind its data
};

Vdso vdso_in(const std::vector<MapsLine>& lines);

}  // namespace proc9::elf
