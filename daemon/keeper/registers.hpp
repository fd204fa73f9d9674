// The registers of a process that was killed, for another one; implemented in the folder of each architecture.
#pragma once

#include <sys/types.h>
#include <sys/user.h>

#include <array>
#include <cstddef>

namespace proc9::keeper {

struct Registers {
    user_regs_struct general;
    alignas(64) std::array<
        char, 16384> extended;  // floating point and vectors, as far as the machine has them
    std::size_t extended_size = 0;
    unsigned long blocked = 0;  // signals
};

// Of a traced process that is stopped. False: errno.
bool save(pid_t pid, Registers& registers);
bool restore(pid_t pid, const Registers& registers);

// A system call that the kill has broken off is to be made again.
void resume_call(Registers& registers);

}  // namespace proc9::keeper
