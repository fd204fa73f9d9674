// How a process ended.
#pragma once

#include <optional>

#include "daemon/os/loop.hpp"
#include "daemon/os/unique_fd.hpp"
#include "fs/core/host.hpp"

namespace proc9::os {

// Looks at a child's end without reaping it (options WNOWAIT), or (0) reaps it. Nothing: it lives. ECHILD.
core::Result<std::optional<core::ExitStatus>> wait_for(int pidfd, int options);

// The same of a process that is another's child, and may have been reaped: then its times are not known,
// and before Linux 6.15 neither is its status.
core::Result<std::optional<core::ExitStatus>> end_of_foreign(core::Pid pid, int pidfd);

}  // namespace proc9::os
