// Reading the words of a setting: names that stand for numbers of the kernel, and lists of numbers.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "fs/core/text.hpp"

namespace proc9::os {

struct Named {
    std::string_view name;
    std::uint64_t value;
};

// EINVAL with the nearest name.
core::Result<std::uint64_t> named_value(std::string_view what, std::string_view word,
                                        std::span<const Named> names);
// The same, or a number.
core::Result<std::uint64_t> named_or_number(std::string_view what, std::string_view word,
                                            std::span<const Named> names);
// Several, or'ed.
core::Result<std::uint64_t> named_bits(std::string_view what, const core::Words& words,
                                       std::span<const Named> names);

// The other way round: the name of a value, empty if it has none; the names of bits, and what has
// none as a number.
std::string name_of(std::uint64_t value, std::span<const Named> names);
core::Words names_of_bits(std::uint64_t bits, std::span<const Named> names);

core::Result<bool> on_or_off(std::string_view word);

// A user or group number; -1 is none.
core::Result<std::uint32_t> parse_id(std::string_view what, std::string_view word);

// "0-3,5" as a mask in words of 64 bits, as the kernel's calls take it.
core::Result<std::vector<std::uint64_t>> parse_mask(std::string_view what, std::string_view word);
std::string mask_text(const std::vector<std::uint64_t>& mask);  // "0-3,5"

}  // namespace proc9::os
