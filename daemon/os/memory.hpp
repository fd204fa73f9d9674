// A memfd as a core::Memory.
#pragma once

#include "daemon/os/unique_fd.hpp"

namespace proc9::os {

core::Result<core::MemoryRef> make_memory();

}  // namespace proc9::os
