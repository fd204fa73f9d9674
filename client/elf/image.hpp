// A program in memory, and the segments of a file as commands.
#pragma once

#include "client/elf/file.hpp"
#include "client/elf/layout.hpp"
#include "client/elf/plan.hpp"

namespace proc9::elf {

// Where things are in memory.
struct Image {
    File program;
    Address bias = 0;
    Address base = 0;  // the interpreter's bias
    Address entry = 0;
    Address vdso = 0;  // 0: none
    Range stack;
};

// Chooses the place and takes it; a file that cannot be moved is where it was linked. Answers what
// is to be added to its addresses.
Address place(Layout& layout, const File& file, Range window);

void map_image(Plan& plan, const File& file, Address bias);

}  // namespace proc9::elf
