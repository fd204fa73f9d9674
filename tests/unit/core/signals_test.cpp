#include "fs/core/signals.hpp"

#include "tests/unit/run.hpp"

namespace proc9::core {
namespace {

using fake::errno_of;
using fake::why;
using testing::HasSubstr;

TEST(ParseSignal, TakesNamesInAnyCaseWithOrWithoutSig) {
    for (const auto* const word : {"TERM", "term", "SIGTERM", "sigterm", "15", "0xf"})
        EXPECT_EQ(parse_signal(word), 15) << word;
    EXPECT_EQ(parse_signal("0"), 0);
    EXPECT_EQ(parse_signal("RTMIN"), 34);
    EXPECT_EQ(parse_signal("RTMIN+3"), 37);
    EXPECT_EQ(parse_signal("RTMAX"), 64);
}

TEST(ParseSignal, RefusesWhatIsNoneAndSuggestsTheNearest) {
    for (const auto* const word : {"", "SIG", "65", "-9", "RTMIN+31", "RTMIN+", "9x", "TERMINATE"})
        EXPECT_EQ(errno_of(parse_signal(word)), EINVAL) << word;
    EXPECT_THAT(why(parse_signal("TEMR")), HasSubstr("did you mean TERM?"));
}

TEST(SignalName, IsReadBackAsTheSameNumber) {
    for (int number = 1; number <= 64; ++number)
        EXPECT_EQ(parse_signal(signal_name(number)), number);
    EXPECT_EQ(signal_name(9), "KILL");
    EXPECT_EQ(signal_name(40), "40");
    EXPECT_EQ(signal_name(-1), "-1");
}

}  // namespace
}  // namespace proc9::core
