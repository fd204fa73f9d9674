// The segments of a file as commands.
#pragma once

#include "client/elf/file.hpp"
#include "client/elf/layout.hpp"
#include "client/elf/plan.hpp"

namespace proc9::elf {

// Chooses the place and takes it; a file that cannot be moved is where it was linked. Answers what is to be added to its
// addresses.
Address place(Layout& layout, const File& file, Range window);

void map_image(Plan& plan, const File& file, Address bias);

}  // namespace proc9::elf
