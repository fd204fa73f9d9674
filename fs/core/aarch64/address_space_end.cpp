#include "fs/core/memory_range.hpp"

namespace proc9::core {

const std::uint64_t address_space_end = 0x1000000000000;  // 48 bits

}  // namespace proc9::core
