// A memfd as a core::Memory.
#pragma once

#include "daemon/os/account.hpp"
#include "daemon/os/unique_fd.hpp"

namespace proc9::os {

// Somebody's, or the daemon's own.
core::Result<core::MemoryRef> make_memory(AccountRef account = nullptr);
// What another daemon has made so.
core::MemoryRef hold_memory(UniqueFd file, AccountRef account);

// A memfd that may be executed, whatever the system's default is.
core::Result<UniqueFd> make_memfd(const char* name, unsigned flags);

}  // namespace proc9::os
