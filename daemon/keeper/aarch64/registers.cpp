#include <elf.h>
#include <sys/syscall.h>

#include <cstring>

#include "daemon/keeper/registers.hpp"

namespace proc9::keeper {
namespace {

constexpr int no_system_call = -1;
constexpr std::size_t length_of_svc = 4;
// The vectors twice: what a machine with long ones has contains the short ones.
constexpr std::array<unsigned long, most_sets> others = {NT_ARM_SYSTEM_CALL, NT_ARM_TLS, NT_PRFPREG,
                                                         NT_ARM_SVE};

}  // namespace

std::span<const unsigned long> other_sets() { return others; }

// A call that the kernel itself would make again is so already: it puts back the program counter and the first argument
// before a tracer sees the stop. One that a kill lets fail (EINTR where only a kill interrupts) stays failed, for its first
// argument is lost. Who was about to exit has to exit: that argument is still there.
void resume_call(Registers& registers) {
    int number = no_system_call;
    auto& system_call = registers.others.front().bytes;
    std::memcpy(&number, system_call.data(), sizeof number);
    if (number == SYS_exit || number == SYS_exit_group) registers.general.pc -= length_of_svc;
    std::memcpy(system_call.data(), &no_system_call, sizeof no_system_call);
}

}  // namespace proc9::keeper
