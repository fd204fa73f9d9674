// Whether this machine is one that the program was compiled for.
#pragma once

#include "fs/core/result.hpp"

namespace proc9::os {

// ENOTSUP: the kernel has larger pages, or fewer addresses for users.
core::Result<> check_machine();

}  // namespace proc9::os
