// What a program is told besides its arguments and environment: the auxiliary vector (getauxval(3)).
#pragma once

#include <vector>

#include "client/elf/embryo.hpp"
#include "client/elf/image.hpp"
#include "client/elf/stack.hpp"

namespace proc9::elf {

std::vector<Auxiliary> auxiliary_of(const Image& image, const Identity& who);

}  // namespace proc9::elf
