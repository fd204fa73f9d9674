#include "fs/core/text.hpp"

#include <random>

#include "tests/unit/run.hpp"

namespace proc9::core {
namespace {

using fake::errno_of;
using fake::why;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

Words words_of(std::string_view line) { return split_words(line).value_or(Words{"refused"}); }

TEST(SplitWords, CutsAtBlanksTabsAndCarriageReturns) {
    EXPECT_THAT(words_of("  map\t0x1000 \r 4K\r"), ElementsAre("map", "0x1000", "4K"));
    EXPECT_THAT(words_of(" \t\r"), IsEmpty());
}

TEST(SplitWords, TwoQuotesInsideQuotesAreOneQuote) {
    EXPECT_THAT(words_of("'it''s' '' ''''"), ElementsAre("it's", "", "'"));
}

TEST(SplitWords, DoubleQuotesKnowEveryEscape) {
    EXPECT_THAT(words_of(R"("a\n\t\r\\\"\x41\x7f")"), ElementsAre("a\n\t\r\\\"A\x7f"));
    for (const auto* const line : {R"("\0")", R"(a "b\x00c")"})
        EXPECT_THAT(why(split_words(line)), HasSubstr("zero byte"));
}

TEST(SplitWords, PartsThatTouchAreOneWord) {
    EXPECT_THAT(words_of(R"(a'b c'"d e"f)"), ElementsAre("ab cd ef"));
}

TEST(SplitWords, SaysWhichQuoteIsOpenOrWhichEscapeIsUnknown) {
    EXPECT_THAT(why(split_words("echo 'x")), HasSubstr("' is not closed"));
    EXPECT_THAT(why(split_words("echo \"x")), HasSubstr("\" is not closed"));
    EXPECT_THAT(why(split_words(R"("\)")), HasSubstr("at the end"));
    for (const auto* const line : {R"("\q")", R"("\xg0")", R"("\x1)", R"("\x")"})
        EXPECT_EQ(errno_of(split_words(line)), EINVAL) << line;
}

TEST(QuoteWord, LeavesPlainWordsAlone) {
    EXPECT_EQ(quote_word("/bin/echo"), "/bin/echo");
    EXPECT_EQ(quote_word(""), "''");
    EXPECT_EQ(quote_word("it's"), "'it''s'");
    EXPECT_EQ(quote_word("#x"), "'#x'");
    EXPECT_EQ(quote_word("{x"), "'{x'");
    EXPECT_EQ(quote_word("a\nb"), R"("a\x0ab")");
}

TEST(QuoteWord, WhatIsQuotedIsReadBackForAnyBytes) {
    std::mt19937 random(9);  // NOLINT: the same words each time
    constexpr std::string_view tricky = " \t\r\n'\"\\#{}x0a\x7f\xff";
    for (int round = 0; round < 2000; ++round) {
        Words words(random() % 4);
        for (auto& word : words) {
            word.resize(random() % 6);
            for (auto& c : word) c = tricky[random() % tricky.size()];
        }
        ASSERT_EQ(words_of(join_words(words)), words) << join_words(words);
    }
}

TEST(ParseNumber, TakesDecimalHexAndOctal) {
    EXPECT_EQ(parse_number("0"), 0U);
    EXPECT_EQ(parse_number("42"), 42U);
    EXPECT_EQ(parse_number("0x2A"), 42U);
    EXPECT_EQ(parse_number("0X2a"), 42U);
    EXPECT_EQ(parse_number("052"), 42U);
    EXPECT_EQ(parse_number("0xffffffffffffffff"), ~std::uint64_t{0});
}

TEST(ParseNumber, RefusesEverythingElse) {
    for (const auto* const word :
         {"", " 1", "1 ", "-1", "+1", "0x", "0x-1", "08", "1K", "one", "1.0"})
        EXPECT_EQ(errno_of(parse_number(word)), EINVAL) << word;
    EXPECT_THAT(why(parse_number("18446744073709551616")), HasSubstr("64 bits"));
}

TEST(ParseSize, UnitsArePowersOf1024) {
    EXPECT_EQ(parse_size("64K"), 65536U);
    EXPECT_EQ(parse_size("2M"), 2U << 20U);
    EXPECT_EQ(parse_size("0x1G"), 1U << 30U);
    EXPECT_EQ(parse_size("7"), 7U);
    for (const auto* const word : {"K", "1KK", "1T", "1k", ""})
        EXPECT_EQ(errno_of(parse_size(word)), EINVAL) << word;
    EXPECT_THAT(why(parse_size("18014398509481984K")), HasSubstr("64 bits"));
    EXPECT_EQ(parse_size("18014398509481983K"), ~std::uint64_t{0} << 10U);
}

TEST(ParseOctal, NeedsNoLeadingZero) {
    EXPECT_EQ(parse_octal("644"), 0644U);
    EXPECT_EQ(parse_octal("0644"), 0644U);
    EXPECT_EQ(parse_octal("7777"), 07777U);
    for (const auto* const word : {"10000", "8", "", "0x1"})
        EXPECT_EQ(errno_of(parse_octal(word)), EINVAL) << word;
}

TEST(ParseNumberUpTo, NamesWhatIsTooLarge) {
    EXPECT_EQ(parse_number_up_to("signal", "64", 64), 64U);
    EXPECT_EQ(why(parse_number_up_to("signal", "65", 64)), "signal 65 is more than 64");
}

TEST(Nearest, FindsTheTypingErrorAndNothingFarAway) {
    constexpr std::array<std::string_view, 4> names = {"map", "unmap", "protect", "exec"};
    EXPECT_EQ(nearest("mpa", names), "map");
    EXPECT_EQ(nearest("exce", names), "exec");
    EXPECT_EQ(nearest("protcet", names), "protect");
    EXPECT_EQ(nearest("launch", names), "");
    EXPECT_EQ(nearest("x", {}), "");
}

TEST(Nearest, OfAWordAsLongAsAWriteIsNotLookedFor) {
    const std::vector<std::string_view> names(100, "a");
    EXPECT_EQ(nearest(std::string(16U << 20U, 'a'), names), "");  // at once: ctest has a time-out
}

TEST(Requote, EscapesControlCharactersAndCutsWhatIsLong) {
    EXPECT_EQ(requote("map 'a'"), "\"map 'a'\"");
    EXPECT_EQ(requote("a\nb"), R"("a\x0ab")");
    EXPECT_EQ(requote(std::string(500, 'x')).size(), 205U);
}

}  // namespace
}  // namespace proc9::core
