// One line: words and how they are quoted, numbers, commands in words and in JSON.
#include "fs/ctl/match.hpp"
#include "tests/fuzz/fixture.hpp"

using namespace proc9;
using fuzz::check_error;
using fuzz::require;

namespace {

void check_quoting(const core::Words& words) {
    const auto again = core::split_words(core::join_words(words));
    require(again && *again == words, "quoted words are read back");
}

void check_numbers(const std::string& word) {
    check_error(core::parse_number(word));
    check_error(core::parse_octal(word));
    check_error(core::parse_signed("it", word, -20, 19));
    check_error(core::parse_protection(word));
    if (const auto address = core::parse_address(word))
        require(core::parse_address(fmt::format("{:#x}", address->value)) == *address,
                "an address is read back");
    if (const auto size = core::parse_size(word))
        require(core::parse_size(std::to_string(*size)) == *size, "a size is read back");
}

void check_match(const core::Result<ctl::Match>& match) {
    check_error(match);
    if (!match) return;
    core::Words words{std::string(match->command->name)};
    for (const auto& word : match->arguments.words()) words.push_back(word);
    check_quoting(words);
    const auto again = ctl::match_words(words);
    require(again && again->command->name == match->command->name,
            "what was understood can be said");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string line(reinterpret_cast<const char*>(data), size);
    if (core::checked_word(line)) check_quoting({line});
    (void)core::requote(line);
    (void)core::split_list(line);
    const auto words = core::split_words(line);
    check_error(words);
    if (words && !words->empty()) {
        check_quoting(*words);
        for (const auto& word : *words) check_numbers(word);
        check_match(ctl::match_words(*words));
    }
    check_match(ctl::match_json(line));
    return 0;
}
