#include "daemon/os/registers.hpp"

#include <elf.h>

#include <algorithm>
#include <array>
#include <cstring>

namespace proc9::os::arch {
namespace {

// clang-format off
constexpr std::array<Register, 20> rows = {{
    {"rax"},         {"rbx"},         {"rcx", "arg3"},     {"rdx", "arg2"},
    {"rsi", "arg1"}, {"rdi", "arg0"}, {"rbp"},             {"rsp", "sp"},
    {"r8", "arg4"},  {"r9", "arg5"},  {"r10"},             {"r11"},
    {"r12"},         {"r13"},         {"r14"},             {"r15"},
    {"rip", "pc", true}, {"eflags"},  {"fs_base", "tls", true}, {"gs_base", {}, true},
}};

using Field = unsigned long long user_regs_struct::*;
constexpr std::array<Field, rows.size()> fields = {
    &user_regs_struct::rax, &user_regs_struct::rbx, &user_regs_struct::rcx, &user_regs_struct::rdx,
    &user_regs_struct::rsi, &user_regs_struct::rdi, &user_regs_struct::rbp, &user_regs_struct::rsp,
    &user_regs_struct::r8,  &user_regs_struct::r9,  &user_regs_struct::r10, &user_regs_struct::r11,
    &user_regs_struct::r12, &user_regs_struct::r13, &user_regs_struct::r14, &user_regs_struct::r15,
    &user_regs_struct::rip, &user_regs_struct::eflags, &user_regs_struct::fs_base, &user_regs_struct::gs_base,
};
// clang-format on

constexpr unsigned long long interrupts_on = 0x202;
constexpr unsigned long long no_system_call = ~0ULL;
// Bits of eflags that a program may have; the rest is the kernel's.
constexpr unsigned long long user_eflags = 0x240cd5;

// An extended state whose header names no component puts every component into its initial state;
// the legacy area still holds the two control words.
core::Result<> reset_floating_point(core::Pid pid) {
    alignas(64) std::array<char, 16384> area{};
    const std::size_t size =
        TRY(regset(PTRACE_GETREGSET, pid, NT_X86_XSTATE, area.data(), area.size()));
    constexpr std::size_t software_area = 464;  // what the kernel keeps for itself, 48 bytes
    constexpr std::size_t legacy_size = 512;
    std::fill_n(area.begin(), software_area, '\0');
    std::fill(area.begin() + legacy_size, area.begin() + static_cast<std::ptrdiff_t>(size), '\0');
    const std::uint16_t control = 0x37f;
    const std::uint32_t mxcsr = 0x1f80;
    std::memcpy(area.data(), &control, sizeof control);
    std::memcpy(area.data() + 24, &mxcsr, sizeof mxcsr);
    TRY(regset(PTRACE_SETREGSET, pid, NT_X86_XSTATE, area.data(), size));
    return {};
}

}  // namespace

std::span<const Register> registers() { return rows; }

core::Result<core::Address> program_counter(core::Pid pid) {
    return core::Address{TRY(get_general(pid)).rip};
}

core::Result<> set(core::Pid pid, std::span<const std::uint64_t> values) {
    user_regs_struct all = TRY(get_general(pid));
    for (std::size_t i = 0; i < fields.size(); ++i) all.*(fields.at(i)) = values[i];
    all.eflags = (all.eflags & user_eflags) | interrupts_on;
    all.orig_rax = no_system_call;
    TRY(put_general(pid, all));
    return reset_floating_point(pid);
}

core::Result<> break_call(core::Pid pid) {
    // ERESTARTSYS, ERESTARTNOINTR, ERESTARTNOHAND, ERESTART_RESTARTBLOCK: never seen by programs.
    constexpr std::array<long long, 4> restarts = {-512, -513, -514, -516};
    user_regs_struct all = TRY(get_general(pid));
    if (all.orig_rax == no_system_call ||
        std::find(restarts.begin(), restarts.end(), static_cast<long long>(all.rax)) ==
            restarts.end())
        return {};
    all.rax = static_cast<unsigned long long>(-EINTR);
    all.orig_rax = no_system_call;
    return put_general(pid, all);
}

}  // namespace proc9::os::arch
