// How a process without a vdso gets one; implemented in the folder of each architecture.
#pragma once

#include "daemon/os/batch.hpp"

namespace proc9::os::arch {

// Adds the call; the kernel takes the address, 0 for none, as a hint. ENOTSUP: there is no such call.
core::Result<> add_vdso(Batch& batch, core::Address at);

}  // namespace proc9::os::arch
