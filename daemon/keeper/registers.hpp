// The registers of a process that was killed, for another one.
#pragma once

#include <sys/types.h>
#include <sys/user.h>

#include <array>
#include <cstddef>
#include <span>

namespace proc9::keeper {

// One of the sets that PTRACE_GETREGSET knows besides the general registers.
struct RegisterSet {
    std::size_t size = 0;                       // 0: this machine has none
    alignas(64) std::array<char, 16384> bytes;  // room for the longest vectors
};
constexpr std::size_t most_sets = 4;

struct Registers {
    user_regs_struct general;
    std::array<RegisterSet, most_sets> others;
    unsigned long blocked = 0;  // signals
};

// Of a traced process that is stopped. False: errno.
bool save(pid_t pid, Registers& registers);
bool restore(pid_t pid, const Registers& registers);

// Implemented in the folder of each architecture.

// The types (NT_...) of the other sets, at most most_sets, in the order in which they are restored.
std::span<const unsigned long> other_sets();

// A system call that the kill has broken off is to be made again.
void resume_call(Registers& registers);

}  // namespace proc9::keeper
