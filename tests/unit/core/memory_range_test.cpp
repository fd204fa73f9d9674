#include "fs/core/memory_range.hpp"

#include "tests/unit/run.hpp"

namespace proc9::core {
namespace {

using fake::errno_of;
using fake::why;

constexpr Range range(std::uint64_t start, std::uint64_t length) {
    return {Address{start}, length};
}

TEST(ParseAddress, MustBeginAPageBelowTheEnd) {
    EXPECT_EQ(parse_address("0x600000")->value, 0x600000U);
    EXPECT_EQ(why(parse_address("0x600001")),
              "address 0x600001 is not a multiple of the page size 4096");
    EXPECT_EQ(parse_address("600000").error().why,
              "address 600000 is not a multiple of the page size 4096 (did you mean 0x600000?)");
    EXPECT_EQ(errno_of(parse_address("0x7ffffffff000")), EINVAL);
    EXPECT_EQ(errno_of(parse_address("0x7fffffffe000")), 0);
    EXPECT_EQ(errno_of(parse_address("any")), EINVAL);
}

TEST(CheckedRange, RoundsUpAndNeverWrapsAround) {
    EXPECT_EQ(checked_range(Address{0x1000}, 1), range(0x1000, 0x1000));
    EXPECT_EQ(checked_range(Address{0x1000}, 0x1001), range(0x1000, 0x2000));
    EXPECT_EQ(errno_of(checked_range(Address{0x1000}, 0)), EINVAL);
    for (const std::uint64_t size : {~0ULL, ~0ULL - 4095, 1ULL << 63U, 0x7ffffffff000ULL})
        EXPECT_EQ(errno_of(checked_range(Address{0x1000}, size)), ENOMEM) << size;
    EXPECT_EQ(errno_of(checked_range(Address{0}, address_space_end)), 0);
}

TEST(Range, NeighboursDoNotOverlap) {
    EXPECT_FALSE(range(0x1000, 0x1000).overlaps(range(0x2000, 0x1000)));
    EXPECT_FALSE(range(0x2000, 0x1000).overlaps(range(0x1000, 0x1000)));
    EXPECT_TRUE(range(0x1000, 0x1001).overlaps(range(0x2000, 0x1000)));
    EXPECT_TRUE(range(0x1000, 0x3000).contains(range(0x2000, 0x1000)));
    EXPECT_FALSE(range(0x1000, 0x1000).contains(range(0x1000, 0x2000)));
}

TEST(ParseProtection, WantsThreeLettersInTheirPlaces) {
    EXPECT_EQ(parse_protection("r-x"), (Protection{true, false, true}));
    EXPECT_EQ(parse_protection("---"), Protection{});
    for (const auto* const word : {"", "rw", "rwxp", "wr-", "RW-", "r w"})
        EXPECT_EQ(errno_of(parse_protection(word)), EINVAL) << word;
}

TEST(Protection, TextAndModeBitsAgree) {
    for (std::uint32_t bits = 0; bits < 8; ++bits) {
        const auto protection = Protection::of_bits(bits);
        EXPECT_EQ(protection.bits(), bits);
        EXPECT_EQ(parse_protection(protection.text()), protection);
    }
}

}  // namespace
}  // namespace proc9::core
