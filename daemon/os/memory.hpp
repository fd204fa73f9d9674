// A memfd as a core::Memory.
#pragma once

#include "daemon/os/unique_fd.hpp"

namespace proc9::os {

core::Result<core::MemoryRef> make_memory();

// A memfd that may be executed, whatever the system's default is.
core::Result<UniqueFd> make_memfd(const char* name, unsigned flags);

}  // namespace proc9::os
