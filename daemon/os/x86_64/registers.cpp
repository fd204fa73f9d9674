#include "daemon/os/registers.hpp"

#include "daemon/os/parent.hpp"

#include <elf.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "daemon/os/unique_fd.hpp"

namespace proc9::os::arch {
namespace {

struct Row {
    std::string_view name;
    unsigned long long user_regs_struct::* field;
};

// clang-format off
constexpr std::array<Row, 20> rows = {{
    {"rax", &user_regs_struct::rax}, {"rbx", &user_regs_struct::rbx}, {"rcx", &user_regs_struct::rcx},
    {"rdx", &user_regs_struct::rdx}, {"rsi", &user_regs_struct::rsi}, {"rdi", &user_regs_struct::rdi},
    {"rbp", &user_regs_struct::rbp}, {"rsp", &user_regs_struct::rsp}, {"r8",  &user_regs_struct::r8},
    {"r9",  &user_regs_struct::r9},  {"r10", &user_regs_struct::r10}, {"r11", &user_regs_struct::r11},
    {"r12", &user_regs_struct::r12}, {"r13", &user_regs_struct::r13}, {"r14", &user_regs_struct::r14},
    {"r15", &user_regs_struct::r15}, {"rip", &user_regs_struct::rip}, {"eflags", &user_regs_struct::eflags},
    {"fs_base", &user_regs_struct::fs_base}, {"gs_base", &user_regs_struct::gs_base},
}};

// What `entry` calls them on every architecture, by the function calling convention.
struct Role {
    std::string_view role;
    std::string_view name;
};
constexpr std::array<Role, 9> roles = {{
    {"pc", "rip"}, {"sp", "rsp"}, {"tls", "fs_base"},
    {"arg0", "rdi"}, {"arg1", "rsi"}, {"arg2", "rdx"}, {"arg3", "rcx"}, {"arg4", "r8"}, {"arg5", "r9"},
}};
// clang-format on

std::string name_of(const std::string& role) {
    const auto* const found =
        std::find_if(roles.begin(), roles.end(), [&](const auto& row) { return row.role == role; });
    return found == roles.end() ? role : std::string(found->name);
}

constexpr unsigned long long interrupts_on = 0x202;
constexpr unsigned long long no_system_call = ~0ULL;
// Bits of eflags that a program may have; the rest is the kernel's.
constexpr unsigned long long user_eflags = 0x240cd5;

long regset(__ptrace_request what, core::Pid pid, unsigned long type, iovec& span) {
    return trace(what, pid, type, reinterpret_cast<unsigned long>(&span));  // NOLINT
}

core::Result<user_regs_struct> get(core::Pid pid) {
    user_regs_struct all{};
    iovec span{&all, sizeof all};
    TRY(check("ptrace GETREGSET", regset(PTRACE_GETREGSET, pid, NT_PRSTATUS, span)));
    return all;
}

core::Result<> put(core::Pid pid, user_regs_struct& all) {
    iovec span{&all, sizeof all};
    TRY(check("ptrace SETREGSET", regset(PTRACE_SETREGSET, pid, NT_PRSTATUS, span)));
    return {};
}

// An extended state whose header names no component puts every component into its initial state;
// the legacy area still holds the two control words.
core::Result<> reset_floating_point(core::Pid pid) {
    alignas(64) std::array<char, 16384> area{};
    iovec span{area.data(), area.size()};
    TRY(check("ptrace GETREGSET", regset(PTRACE_GETREGSET, pid, NT_X86_XSTATE, span)));
    constexpr std::size_t software_area = 464;  // what the kernel keeps for itself, 48 bytes
    constexpr std::size_t legacy_size = 512;
    std::fill_n(area.begin(), software_area, '\0');
    std::fill(area.begin() + legacy_size, area.begin() + static_cast<std::ptrdiff_t>(span.iov_len),
              '\0');
    const std::uint16_t control = 0x37f;
    const std::uint32_t mxcsr = 0x1f80;
    std::memcpy(area.data(), &control, sizeof control);
    std::memcpy(area.data() + 24, &mxcsr, sizeof mxcsr);
    TRY(check("ptrace SETREGSET", regset(PTRACE_SETREGSET, pid, NT_X86_XSTATE, span)));
    return {};
}

}  // namespace

core::Result<std::string> register_for(const std::string& role, std::uint64_t value) {
    std::string name = name_of(role);
    const auto known = register_names();
    if (std::find(known.begin(), known.end(), name) == known.end()) {
        const std::vector<std::string_view> names(known.begin(), known.end());
        const auto near = core::nearest(name, names);
        return core::fail(std::errc::invalid_argument, "unknown register {}{}", core::requote(name),
                          near.empty() ? "" : fmt::format("; did you mean {}?", near));
    }
    if (name.ends_with("_base") && value >= core::address_space_end)
        return core::fail(std::errc::invalid_argument, "{} cannot be {:#x}, above {:#x}", name,
                          value, core::address_space_end);
    if (name == name_of("pc") && value >= core::address_space_end)
        return core::fail(std::errc::invalid_argument, "address {:#x} is above {:#x}", value,
                          core::address_space_end);
    return name;
}

core::Result<core::Address> program_counter(core::Pid pid) {
    return core::Address{TRY(get(pid)).rip};
}

std::vector<std::string> register_names() {
    std::vector<std::string> names;
    names.reserve(rows.size());
    for (const auto& row : rows) names.emplace_back(row.name);
    return names;
}

core::Result<> set_registers(core::Pid pid, const core::Registers& registers) {
    user_regs_struct all = TRY(get(pid));
    for (const auto& row : rows) all.*(row.field) = 0;
    for (const auto& [role, value] : registers) {
        const auto* const row =
            std::find_if(rows.begin(), rows.end(),
                         [name = name_of(role)](const auto& item) { return item.name == name; });
        if (row == rows.end())
            return core::fail(std::errc::invalid_argument, "no register {}", role);
        all.*(row->field) = value;
    }
    all.eflags = (all.eflags & user_eflags) | interrupts_on;
    all.orig_rax = no_system_call;
    TRY(put(pid, all));
    return reset_floating_point(pid);
}

core::Result<> break_call(core::Pid pid) {
    // ERESTARTSYS, ERESTARTNOINTR, ERESTARTNOHAND, ERESTART_RESTARTBLOCK: never seen by programs.
    constexpr std::array<long long, 4> restarts = {-512, -513, -514, -516};
    user_regs_struct all = TRY(get(pid));
    if (all.orig_rax == no_system_call ||
        std::find(restarts.begin(), restarts.end(), static_cast<long long>(all.rax)) ==
            restarts.end())
        return {};
    all.rax = static_cast<unsigned long long>(-EINTR);
    all.orig_rax = no_system_call;
    return put(pid, all);
}

}  // namespace proc9::os::arch
