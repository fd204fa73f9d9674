#include "daemon/os/machine.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>

#include "fs/core/memory_range.hpp"

namespace proc9::os {
namespace {

// Beyond the end the kernel has no room for anything; at the end something may be.
bool has_page(std::uint64_t at) {
    void* const wanted = reinterpret_cast<void*>(at);  // NOLINT
    void* const page = ::mmap(wanted, core::page_size, PROT_NONE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (page == MAP_FAILED) return errno == EEXIST;
    (void)::munmap(page, core::page_size);
    return page == wanted;
}

}  // namespace

core::Result<> check_machine() {
    const long page_size = ::sysconf(_SC_PAGESIZE);
    if (page_size != core::page_size)
        return core::fail(std::errc::not_supported,
                          "this kernel has pages of {} bytes, and proc9 is for pages of {}",
                          page_size, core::page_size);
    if (!has_page(core::address_space_end - core::page_size))
        return core::fail(std::errc::not_supported,
                          "this kernel has no user addresses up to {:#x}, for which proc9 is",
                          core::address_space_end);
    return {};
}

}  // namespace proc9::os
