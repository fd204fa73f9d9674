#include "daemon/os/settings/words.hpp"

#include <algorithm>

namespace proc9::os {

using core::fail;
using core::Result;

Result<std::uint64_t> named_value(std::string_view what, std::string_view word,
                                  std::span<const Named> names) {
    const auto found = std::find_if(names.begin(), names.end(),
                                    [word](const Named& row) { return row.name == word; });
    if (found != names.end()) return found->value;
    std::vector<std::string_view> known;
    for (const auto& row : names) known.push_back(row.name);
    const auto near = core::nearest(word, known);
    if (!near.empty())
        return fail(std::errc::invalid_argument, "unknown {} {}; did you mean {}?", what,
                    core::requote(word), near);
    return fail(std::errc::invalid_argument, "unknown {} {}; there are {}", what,
                core::requote(word), fmt::join(known, " "));
}

Result<std::uint64_t> named_or_number(std::string_view what, std::string_view word,
                                      std::span<const Named> names) {
    const bool is_number = !word.empty() && word.front() >= '0' && word.front() <= '9';
    return is_number ? core::parse_number(word) : named_value(what, word, names);
}

Result<std::uint64_t> named_bits(std::string_view what, const core::Words& words,
                                 std::span<const Named> names) {
    std::uint64_t bits = 0;
    for (const auto& word : words) bits |= TRY(named_or_number(what, word, names));
    return bits;
}

std::string name_of(std::uint64_t value, std::span<const Named> names) {
    const auto found = std::find_if(names.begin(), names.end(),
                                    [value](const Named& row) { return row.value == value; });
    return found == names.end() ? "" : std::string(found->name);
}

core::Words names_of_bits(std::uint64_t bits, std::span<const Named> names) {
    core::Words words;
    if (bits == 0 && !name_of(0, names).empty()) words.push_back(name_of(0, names));
    for (const auto& row : names) {
        if (row.value == 0 || (bits & row.value) != row.value) continue;
        words.emplace_back(row.name);
        bits &= ~row.value;
    }
    if (bits != 0) words.push_back(fmt::format("{:#x}", bits));
    return words;
}

Result<bool> on_or_off(std::string_view word) {
    constexpr Named names[] = {{"on", 1}, {"off", 0}, {"1", 1}, {"0", 0}};
    return TRY(named_value("switch", word, names)) != 0;
}

Result<std::uint32_t> parse_id(std::string_view what, std::string_view word) {
    constexpr std::uint32_t highest = 0xfffffffe;
    return static_cast<std::uint32_t>(TRY(core::parse_number_up_to(what, word, highest)));
}

Result<std::vector<std::uint64_t>> parse_mask(std::string_view what, std::string_view word) {
    constexpr std::uint64_t highest = 8191;
    constexpr std::uint64_t bits = 64;
    std::vector<std::uint64_t> mask;
    for (const auto& part : core::split_list(word)) {
        const auto dash = part.find('-');
        const auto first = TRY(core::parse_number_up_to(what, part.substr(0, dash), highest));
        auto last = first;
        if (dash != std::string::npos)
            last = TRY(core::parse_number_up_to(what, part.substr(dash + 1), highest));
        if (last < first)
            return fail(std::errc::invalid_argument, "{} {} runs backwards", what, part);
        mask.resize(std::max<std::size_t>(mask.size(), last / bits + 1));
        for (auto i = first; i <= last; ++i) mask[i / bits] |= 1ULL << (i % bits);
    }
    if (mask.empty()) return fail(std::errc::invalid_argument, "no {} is named", what);
    return mask;
}

std::string mask_text(const std::vector<std::uint64_t>& mask) {
    constexpr std::size_t bits = 64;
    const auto has = [&mask](std::size_t i) {
        return i / bits < mask.size() && (mask[i / bits] >> (i % bits) & 1U) != 0;
    };
    std::vector<std::string> parts;
    for (std::size_t i = 0; i < mask.size() * bits; ++i) {
        if (!has(i)) continue;
        const std::size_t first = i;
        while (has(i + 1)) ++i;
        parts.push_back(first == i ? std::to_string(i) : fmt::format("{}-{}", first, i));
    }
    return fmt::format("{}", fmt::join(parts, ","));
}

}  // namespace proc9::os
