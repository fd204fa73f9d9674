#include "fs/fuse/reserve.hpp"

#include <malloc.h>
#include <sys/mman.h>

#include <cstddef>
#include <cstdlib>
#include <new>

namespace proc9::fuse {
namespace {

constexpr std::size_t reserve_size = 1U << 20U;    // of address space; it is never touched
constexpr std::size_t largest_small = 64U << 10U;  // bytes

void* reserve = nullptr;

bool use_reserve(std::size_t size) noexcept {
    if (!reserve || size > largest_small) return false;
    ::munmap(reserve, reserve_size);
    reserve = nullptr;
    return true;
}

}  // namespace

bool keep_reserve() noexcept {
    // The second time after the heap has given back what it does not use.
    for (int attempt = 0; !reserve && attempt < 2; ++attempt) {
        if (attempt != 0) ::malloc_trim(0);
        void* const place = ::mmap(nullptr, reserve_size, PROT_READ | PROT_WRITE,
                                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (place != MAP_FAILED) reserve = place;
    }
    return reserve != nullptr;
}

}  // namespace proc9::fuse

#ifndef PROC9_SANITIZED  // a sanitizer has its own
// The array and nothrow forms of the library come here as well.
void* operator new(std::size_t size) {
    do {
        if (void* const memory = std::malloc(size != 0 ? size : 1)) return memory;
    } while (proc9::fuse::use_reserve(size));
    throw std::bad_alloc();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t /*size*/) noexcept { std::free(memory); }
#endif
