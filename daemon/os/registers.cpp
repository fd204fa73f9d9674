#include "daemon/os/registers.hpp"

#include <elf.h>
#include <sys/uio.h>

#include <algorithm>

#include "daemon/os/parent.hpp"
#include "daemon/os/unique_fd.hpp"

namespace proc9::os {
namespace {

core::Result<std::size_t> index_of(const std::string& word) {
    const auto rows = arch::registers();
    const auto found = std::find_if(rows.begin(), rows.end(), [&](const auto& row) {
        return row.name == word || row.role == word;
    });
    if (found != rows.end()) return static_cast<std::size_t>(found - rows.begin());
    std::vector<std::string_view> names;
    for (const auto& row : rows) names.push_back(row.name);
    const auto near = core::nearest(word, names);
    return core::fail(std::errc::invalid_argument, "unknown register {}{}", core::requote(word),
                      near.empty() ? "" : fmt::format("; did you mean {}?", near));
}

}  // namespace

std::vector<std::string> register_names() {
    std::vector<std::string> names;
    for (const auto& row : arch::registers()) names.emplace_back(row.name);
    return names;
}

core::Result<std::string> register_for(const std::string& word, std::uint64_t value) {
    const auto& row = arch::registers()[TRY(index_of(word))];
    const bool is_beyond = row.is_address && value >= core::address_space_end;
    if (is_beyond && row.role == "pc")
        return core::fail(std::errc::invalid_argument, "address {:#x} is above {:#x}", value,
                          core::address_space_end);
    if (is_beyond)
        return core::fail(std::errc::invalid_argument, "{} cannot be {:#x}, above {:#x}", row.name,
                          value, core::address_space_end);
    return std::string(row.name);
}

core::Result<> set_registers(core::Pid pid, const core::Registers& registers) {
    std::vector<std::uint64_t> values(arch::registers().size());
    for (const auto& [word, value] : registers) values[TRY(index_of(word))] = value;
    return arch::set(pid, values);
}

core::Result<std::size_t> regset(__ptrace_request what, core::Pid pid, unsigned long type,
                                 void* bytes, std::size_t size) {
    iovec span{bytes, size};
    const char* const name = what == PTRACE_GETREGSET ? "ptrace GETREGSET" : "ptrace SETREGSET";
    TRY(check(name, trace(what, pid, type, reinterpret_cast<unsigned long>(&span))));  // NOLINT
    return span.iov_len;
}

core::Result<user_regs_struct> get_general(core::Pid pid) {
    user_regs_struct all{};
    TRY(regset(PTRACE_GETREGSET, pid, NT_PRSTATUS, &all, sizeof all));
    return all;
}

core::Result<> put_general(core::Pid pid, user_regs_struct& all) {
    TRY(regset(PTRACE_SETREGSET, pid, NT_PRSTATUS, &all, sizeof all));
    return {};
}

}  // namespace proc9::os
