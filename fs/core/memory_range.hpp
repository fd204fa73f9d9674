// Addresses of another process, ranges of them, and what may be done there.
#pragma once

#include <compare>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>

#include "fs/core/result.hpp"

namespace proc9::core {

inline constexpr std::uint64_t page_size = 4096;
extern const std::uint64_t address_space_end;  // of the user; in the folder of each architecture

constexpr std::uint64_t page_ceil(std::uint64_t size) {
    return (size + page_size - 1) & ~(page_size - 1);
}

// An address in an embryo; never a pointer of ours.
struct Address {
    std::uint64_t value = 0;

    auto operator<=>(const Address&) const = default;
    Address operator+(std::uint64_t offset) const { return {value + offset}; }
    std::uint64_t operator-(Address other) const { return value - other.value; }
};

// [start, start + length); page-aligned unless it says otherwise.
struct Range {
    Address start;
    std::uint64_t length = 0;

    [[nodiscard]] Address end() const { return start + length; }
    [[nodiscard]] bool overlaps(const Range& other) const {
        return start < other.end() && other.start < end();
    }
    [[nodiscard]] bool contains(const Range& other) const {
        return start <= other.start && other.end() <= end();
    }
    bool operator==(const Range&) const = default;
};

struct Protection {
    bool read = false;
    bool write = false;
    bool execute = false;

    bool operator==(const Protection&) const = default;
    [[nodiscard]] std::string text() const {
        return {read ? 'r' : '-', write ? 'w' : '-', execute ? 'x' : '-'};
    }
    // As the owner's bits of a file mode, 0 to 7.
    [[nodiscard]] std::uint32_t bits() const {
        return (read ? 4U : 0U) | (write ? 2U : 0U) | (execute ? 1U : 0U);
    }
    static Protection of_bits(std::uint32_t bits) {
        return {(bits & 4U) != 0, (bits & 2U) != 0, (bits & 1U) != 0};
    }
};

Result<Address> parse_address(std::string_view word);            // EINVAL: not page-aligned
Result<Protection> parse_protection(std::string_view word);      // "rw-"
Result<Range> checked_range(Address start, std::uint64_t size);  // size rounded up to pages; ENOMEM

}  // namespace proc9::core
