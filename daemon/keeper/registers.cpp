#include "daemon/keeper/registers.hpp"

#include <elf.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

#include <cerrno>

namespace proc9::keeper {
namespace {

bool call(__ptrace_request what, pid_t pid, unsigned long type, void* data, std::size_t& size) {
    iovec span{data, size};
    if (::ptrace(what, pid, type, &span) != 0) return false;
    size = span.iov_len;
    return true;
}

bool save_set(pid_t pid, unsigned long type, RegisterSet& set) {
    set.size = set.bytes.size();
    if (call(PTRACE_GETREGSET, pid, type, set.bytes.data(), set.size)) return true;
    set.size = 0;
    return errno == EINVAL;  // the kernel does not know it, or the machine does not have it
}

}  // namespace

bool save(pid_t pid, Registers& registers) {
    std::size_t size = sizeof registers.general;
    if (!call(PTRACE_GETREGSET, pid, NT_PRSTATUS, &registers.general, size)) return false;
    auto* set = registers.others.data();
    for (const auto type : other_sets())
        if (!save_set(pid, type, *set++)) return false;
    return ::ptrace(PTRACE_GETSIGMASK, pid, sizeof registers.blocked, &registers.blocked) == 0;
}

bool restore(pid_t pid, const Registers& registers) {
    auto general = registers.general;
    auto blocked = registers.blocked;
    std::size_t size = sizeof general;
    if (!call(PTRACE_SETREGSET, pid, NT_PRSTATUS, &general, size)) return false;
    const auto* set = registers.others.data();
    for (const auto type : other_sets()) {
        size = set->size;
        void* const bytes = const_cast<char*>(set++->bytes.data());  // which the kernel only reads
        if (size != 0 && !call(PTRACE_SETREGSET, pid, type, bytes, size)) return false;
    }
    return ::ptrace(PTRACE_SETSIGMASK, pid, sizeof blocked, &blocked) == 0;
}

}  // namespace proc9::keeper
