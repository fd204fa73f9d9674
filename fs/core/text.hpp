// The words of a command line, and numbers in them (SPEC 3).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "fs/core/result.hpp"

namespace proc9::core {

using Words = std::vector<std::string>;

// Cuts a line at blanks. '...' is literal ('' inside stands for one '), "..." knows
// \n \t \r \0 \\ \" \xHH. Quoted and bare parts that touch are one word. EINVAL if it cannot be cut, or
// if a word holds a zero byte, as none of a process can.
Result<Words> split_words(std::string_view line);
Result<std::string> checked_word(std::string word);

// The shortest way to write a word so that split_words gives it back.
std::string quote_word(std::string_view word);
std::string join_words(std::span<const std::string> words);

// What stands between commas; nothing for an empty text.
Words split_list(std::string_view text);

// Decimal, 0x hex or 0 octal.
Result<std::uint64_t> parse_number(std::string_view word);
// A number that may end in K, M or G (powers of 1024).
Result<std::uint64_t> parse_size(std::string_view word);
// Digits 0-7, with or without a leading 0.
Result<std::uint32_t> parse_octal(std::string_view word);
// A number up to `limit`, called `what` in the error.
Result<std::uint64_t> parse_number_up_to(std::string_view what, std::string_view word,
                                         std::uint64_t limit);

// Decimal, with a sign perhaps.
Result<std::int64_t> parse_signed(std::string_view what, std::string_view word, std::int64_t least,
                                  std::int64_t most);

// The candidate that differs least from `word`; empty if none is near.
std::string_view nearest(std::string_view word, std::span<const std::string_view> candidates);

// The user's own line as an error quotes it: in double quotes, control characters escaped, cut
// when long.
std::string requote(std::string_view line);

}  // namespace proc9::core
