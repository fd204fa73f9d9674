// Where things go: free places in an address space, chosen at random as exec does.
#pragma once

#include <string_view>
#include <vector>

#include "client/elf/file.hpp"

namespace proc9::elf {

struct Range {
    Address start = 0;
    Address end = 0;
};

class Layout {
public:
    void take(Range range) { taken_.push_back(range); }
    // `what` is for the error, if something is there.
    void take_free(Range range, std::string_view what);
    // A free place in a window that begins at a multiple of the alignment, a power of two. It is taken then.
    Address choose(Range window, std::uint64_t length, std::uint64_t alignment,
                   std::string_view what);

private:
    [[nodiscard]] bool is_free(Range range) const;

    std::vector<Range> taken_;
};

// Each as wide as the kernel's own randomness on x86-64.
namespace window {
constexpr std::uint64_t random_pages = (1ULL << 28U) * page_size;
constexpr Range programs{MACHINE_PROGRAMS_START, MACHINE_PROGRAMS_START + random_pages};
constexpr Range stacks{address_space_end - (1ULL << 34U), address_space_end};
constexpr Range libraries{stacks.start - random_pages, stacks.start};
}  // namespace window

}  // namespace proc9::elf
