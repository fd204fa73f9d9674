#include "client/elf/layout.hpp"

#include <sys/random.h>

#include <algorithm>

#include "client/elf/refused.hpp"

namespace proc9::elf {
namespace {

std::uint64_t random_number() {
    std::uint64_t number = 0;
    if (::getrandom(&number, sizeof number, 0) != sizeof number) refuse_by_errno("getrandom");
    return number;
}

}  // namespace

bool Layout::is_free(Range range) const {
    return std::ranges::none_of(taken_, [&](const Range& other) {
        return other.start < range.end && range.start < other.end;
    });
}

void Layout::take_free(Range range, std::string_view what) {
    if (!is_free(range))
        refuse("{}: something is at {:#x}-{:#x} already", what, range.start, range.end);
    take(range);
}

Address Layout::choose(Range window, std::uint64_t length, std::uint64_t alignment,
                       std::string_view what) {
    constexpr int attempts = 1000;
    const Address first = (window.start + alignment - 1) & ~(alignment - 1);
    const bool fits =
        alignment <= window.end && length <= window.end && first <= window.end - length;
    for (int attempt = 0; fits && attempt < attempts; ++attempt) {
        const std::uint64_t places = (window.end - length - first) / alignment + 1;
        const Address start = first + random_number() % places * alignment;
        if (!is_free({start, start + length})) continue;
        take({start, start + length});
        return start;
    }
    refuse("{}: no room for {:#x} bytes", what, length);
}

}  // namespace proc9::elf
