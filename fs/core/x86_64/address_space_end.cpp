#include "fs/core/memory_range.hpp"

namespace proc9::core {

const std::uint64_t address_space_end = 0x7ffffffff000;  // 47 bits

}  // namespace proc9::core
