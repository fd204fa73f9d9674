#include "daemon/keeper/registers.hpp"

#include <elf.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cerrno>

namespace proc9::keeper {
namespace {

constexpr auto no_system_call = ~0ULL;
constexpr std::size_t length_of_syscall = 2;
constexpr std::array<unsigned long, 1> others = {NT_X86_XSTATE};

}  // namespace

std::span<const unsigned long> other_sets() { return others; }

// Those that the kernel itself would make again after a signal, and those that a kill lets fail: EINTR where only a
// kill interrupts, EFAULT where it does not wait for a page, ENOMEM of a fork. None of them has done anything, save close(2); and
// who was about to exit has to exit.
void resume_call(Registers& registers) {
    constexpr std::array<long, 6> broken = {-512, -513, -514, -516, -EINTR, -EFAULT};
    auto& general = registers.general;
    const auto number = general.orig_rax;
    const bool is_broken =
        std::find(broken.begin(), broken.end(), static_cast<long>(general.rax)) != broken.end();
    const bool is_exit = number == SYS_exit || number == SYS_exit_group;
    const bool is_fork = number == SYS_clone && static_cast<long>(general.rax) == -ENOMEM;
    if (number != no_system_call && number != SYS_close && (is_broken || is_exit || is_fork)) {
        general.rax = number;
        general.rip -= length_of_syscall;
    }
    general.orig_rax = no_system_call;
}

}  // namespace proc9::keeper
