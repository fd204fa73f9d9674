// What of ptrace depends on the architecture; implemented in the folder of each.
#pragma once

#include "fs/core/host.hpp"

namespace proc9::os::arch {

std::vector<std::string> register_names();
core::Result<std::string> register_for(const std::string& role, std::uint64_t value);  // EINVAL

core::Result<core::Address> program_counter(core::Pid pid);  // of a traced process that is stopped

// Of a process that is stopped and ours to trace: every register as in a new process, then those
// named; floating point and vector state as after exec; no system call to restart.
core::Result<> set_registers(core::Pid pid, const core::Registers& registers);

// If the process was stopped inside a system call that would start over, makes that call return
// EINTR instead.
core::Result<> break_call(core::Pid pid);

}  // namespace proc9::os::arch
