#include "fs/core/memory_range.hpp"

#include "fs/core/text.hpp"

namespace proc9::core {

// The names in mem/ are hexadecimal without saying so.
static std::string hex_hint(std::string_view word) {
    const bool is_decimal = word.find_first_not_of("0123456789") == std::string_view::npos;
    return is_decimal ? fmt::format(" (did you mean 0x{}?)", word) : "";
}

Result<Address> parse_address(std::string_view word) {
    const auto value = TRY(parse_number(word));
    if (value % page_size != 0)
        return fail(std::errc::invalid_argument,
                    "address {} is not a multiple of the page size {}{}", word, page_size,
                    hex_hint(word));
    if (value >= address_space_end)
        return fail(std::errc::invalid_argument, "address {} is above {:#x}", word,
                    address_space_end);
    return Address{value};
}

Result<Protection> parse_protection(std::string_view word) {
    constexpr std::string_view letters = "rwx";
    bool well_formed = word.size() == letters.size();
    for (std::size_t i = 0; well_formed && i < letters.size(); ++i)
        well_formed = word[i] == letters[i] || word[i] == '-';
    if (!well_formed)
        return fail(std::errc::invalid_argument, "{} is not a protection like rw-", requote(word));
    return Protection{word[0] == 'r', word[1] == 'w', word[2] == 'x'};
}

Result<Range> checked_range(Address start, std::uint64_t size) {
    if (size == 0) return fail(std::errc::invalid_argument, "the length is 0");
    if (size > address_space_end || start.value > address_space_end ||
        page_ceil(size) > address_space_end - start.value)
        return fail(std::errc::not_enough_memory, "{:#x} bytes at {:#x} reach above {:#x}", size,
                    start.value, address_space_end);
    return Range{start, page_ceil(size)};
}

}  // namespace proc9::core
