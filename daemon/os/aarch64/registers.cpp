#include "daemon/os/registers.hpp"

#include <elf.h>
#include <sys/syscall.h>

#include <algorithm>
#include <array>

#include "daemon/os/parent.hpp"
#include "daemon/os/unique_fd.hpp"

namespace proc9::os::arch {
namespace {

// In the order of user_regs_struct, and then the one that is in a set of its own.
// clang-format off
constexpr std::array<Register, 35> rows = {{
    {"x0", "arg0"}, {"x1", "arg1"}, {"x2", "arg2"}, {"x3", "arg3"}, {"x4", "arg4"}, {"x5", "arg5"},
    {"x6"},  {"x7"},  {"x8"},  {"x9"},  {"x10"}, {"x11"}, {"x12"}, {"x13"}, {"x14"}, {"x15"},
    {"x16"}, {"x17"}, {"x18"}, {"x19"}, {"x20"}, {"x21"}, {"x22"}, {"x23"}, {"x24"}, {"x25"},
    {"x26"}, {"x27"}, {"x28"}, {"x29"}, {"x30"},
    {"sp", "sp"}, {"pc", "pc", true}, {"pstate"}, {"tpidr", "tls"},
}};
// clang-format on
constexpr std::size_t tls = rows.size() - 1;
static_assert(sizeof(user_regs_struct) == tls * sizeof(std::uint64_t));

// Of pstate: the condition flags, and whether speculation past a store is allowed, which prctl(2) decides.
constexpr unsigned long long condition_flags = 0xf0000000;
constexpr unsigned long long speculation = 1U << 12U;

// Of wider vectors the kernel keeps nothing over a system call, and zero behind what is set here.
core::Result<> reset_floating_point(core::Pid pid) {
    user_fpsimd_struct none{};
    TRY(regset(PTRACE_SETREGSET, pid, NT_PRFPREG, &none, sizeof none));
    return {};
}

core::Result<bool> is_at_system_call(core::Pid pid, std::uint64_t at) {
    constexpr std::uint32_t svc_0 = 0xd4000001;
    constexpr std::uint64_t word =
        sizeof(long);  // what one look reads; an instruction is half of that
    errno = 0;
    const auto bytes = static_cast<std::uint64_t>(trace(PTRACE_PEEKTEXT, pid, at & ~(word - 1)));
    if (errno != 0) return core::refused("ptrace PEEKTEXT", errno);
    return static_cast<std::uint32_t>(bytes >> (at % word * 8)) == svc_0;
}

}  // namespace

std::span<const Register> registers() { return rows; }

core::Result<core::Address> program_counter(core::Pid pid) {
    return core::Address{TRY(get_general(pid)).pc};
}

core::Result<> set(core::Pid pid, std::span<const std::uint64_t> values) {
    user_regs_struct all = TRY(get_general(pid));
    const auto kept = all.pstate & speculation;
    std::copy_n(values.begin(), std::size(all.regs), std::begin(all.regs));
    all.sp = values[std::size(all.regs)];
    all.pc = values[std::size(all.regs) + 1];
    all.pstate = kept | (values[std::size(all.regs) + 2] & condition_flags);
    TRY(put_general(pid, all));
    std::uint64_t thread_pointer = values[tls];
    TRY(regset(PTRACE_SETREGSET, pid, NT_ARM_TLS, &thread_pointer, sizeof thread_pointer));
    return reset_floating_point(pid);
}

// In a stop the call is about to be made again: the kernel has set the program counter back to it, and goes by where that
// is now. One that was about to be made for the first time looks alike, and is not made either, unless it is the answer.
core::Result<> break_call(core::Pid pid) {
    user_regs_struct all = TRY(get_general(pid));
    if (all.regs[8] == SYS_sendto || !TRY(is_at_system_call(pid, all.pc))) return {};
    all.regs[0] = static_cast<unsigned long long>(-EINTR);
    all.pc += sizeof(std::uint32_t);
    return put_general(pid, all);
}

}  // namespace proc9::os::arch
