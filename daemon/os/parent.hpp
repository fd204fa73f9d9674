// What only the parent and tracer of the children can do, who may be the daemon's keeper.
#pragma once

#include <sys/ptrace.h>

#include <csignal>
#include <functional>

#include "daemon/os/loop.hpp"
#include "fs/core/host.hpp"

namespace proc9::os {

// ptrace(2).
long trace(__ptrace_request what, core::Pid pid, unsigned long address = 0, unsigned long data = 0);
// waitid(2) of one process.
int wait_id(core::Pid pid, siginfo_t& info, int options);

// Runs `changed` when a child has ended, or one that is traced has stopped.
Loop::WatchRef on_children(Loop& loop, std::function<void()> changed);

}  // namespace proc9::os
