// The registers of other processes, by the words that `reg`, `thread` and `entry` have for them.
#pragma once

#include <sys/ptrace.h>
#include <sys/user.h>

#include <span>

#include "fs/core/host.hpp"

namespace proc9::os {

std::vector<std::string> register_names();
core::Result<std::string> register_for(const std::string& word, std::uint64_t value);  // EINVAL

// Of a process that is stopped and ours to trace: every register as in a new process, then those
// named; floating point and vector state as after exec; no system call to restart.
core::Result<> set_registers(core::Pid pid, const core::Registers& registers);

// What of that depends on the architecture; implemented in the folder of each.
namespace arch {

struct Register {
    std::string_view name;
    std::string_view role = {};  // what it is called on every architecture
    bool is_address = false;     // of the user's half of the address space, else the kernel refuses
};
std::span<const Register> registers();

core::Result<core::Address> program_counter(core::Pid pid);  // of a traced process that is stopped

// As set_registers(), with a value for each of registers().
core::Result<> set(core::Pid pid, std::span<const std::uint64_t> values);

// If the process was stopped inside a system call that would start over, makes that call return
// EINTR instead.
core::Result<> break_call(core::Pid pid);

}  // namespace arch

// For those: PTRACE_GETREGSET or PTRACE_SETREGSET; answers how many bytes there are.
core::Result<std::size_t> regset(__ptrace_request what, core::Pid pid, unsigned long type,
                                 void* bytes, std::size_t size);
// Of those that every system call may use.
core::Result<user_regs_struct> get_general(core::Pid pid);
core::Result<> put_general(core::Pid pid, user_regs_struct& all);

}  // namespace proc9::os
