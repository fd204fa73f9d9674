#include "fs/ctl/dispatch.hpp"
#include "tests/unit/run.hpp"

namespace proc9::ctl {
namespace {

using fake::errno_of;
using fake::run;
using testing::ElementsAre;
using testing::IsEmpty;

struct LineInputTest : testing::Test {
    LineInput input;
    std::vector<std::string> lines;

    LineInput::Run runner() {
        return [this](std::vector<std::string> all) -> core::Task<Done> {
            Done so_far;
            for (const auto& line : all) {
                lines.push_back(line);
                if (line.starts_with("bad"))
                    so_far.outcome = core::fail(std::errc::not_enough_memory, "{}", line);
                if (!so_far.outcome) break;
                ++so_far.lines;
            }
            co_return so_far;
        };
    }
    core::Result<std::size_t> write(std::string bytes, bool may_go_on = false) {
        return run(input.write(std::move(bytes), may_go_on, runner()));
    }
};

TEST_F(LineInputTest, RunsEveryLineAndCountsAllBytes) {
    EXPECT_EQ(write("a\nb\n"), 4U);
    EXPECT_EQ(write("c"), 1U);  // needs no newline
    EXPECT_EQ(write(""), 0U);
    EXPECT_THAT(lines, ElementsAre("a", "b", "c"));
}

TEST_F(LineInputTest, OfTenLinesTheSeventhFailsAndTheRetryOfTheRestSeesTheError) {
    const std::string all = "1\n2\n3\n4\n5\n6\nbad\n8\n9\n10\n";
    const auto taken = write(all);
    EXPECT_EQ(taken, 12U);
    EXPECT_EQ(lines.size(), 7U);
    EXPECT_EQ(errno_of(write(all.substr(*taken))), ENOMEM);
    EXPECT_EQ(lines.back(), "bad") << "nothing is done twice, and nothing behind it";
}

TEST_F(LineInputTest, ThePiecesOfALongWriteAreJoined) {
    EXPECT_EQ(write("a\nlong", true), 6U);
    EXPECT_THAT(lines, ElementsAre("a"));
    EXPECT_EQ(write("er", true), 2U);
    EXPECT_EQ(write(" line\nb\n"), 8U);
    EXPECT_THAT(lines, ElementsAre("a", "longer line", "b"));
}

TEST_F(LineInputTest, AHeldLineThatFailsIsTheErrorOfTheWriteThatEndsIt) {
    EXPECT_EQ(write("ba", true), 2U);
    EXPECT_EQ(errno_of(write("d\nb\n")), ENOMEM);
    EXPECT_THAT(lines, ElementsAre("bad"));
}

TEST_F(LineInputTest, AHeldLineThatWorksCountsOnlyTheNewBytes) {
    EXPECT_EQ(write("aa", true), 2U);
    EXPECT_EQ(write("aa\nbad\n"), 3U);
    EXPECT_EQ(errno_of(write("bad\n")), ENOMEM);
}

TEST_F(LineInputTest, ClosingRunsTheLineThatWasHeldBack) {
    EXPECT_EQ(write("last", true), 4U);
    EXPECT_THAT(lines, IsEmpty());
    run(input.finish(runner()));
    run(input.finish(runner()));
    EXPECT_THAT(lines, ElementsAre("last"));
}

TEST_F(LineInputTest, AHeldLineThatWasRefusedIsNotRunAgainAtClose) {
    EXPECT_EQ(write("bad", true), 3U);
    EXPECT_EQ(errno_of(write("\n")), ENOMEM);
    run(input.finish(runner()));
    EXPECT_THAT(lines, ElementsAre("bad"));
}

TEST_F(LineInputTest, ALineWithoutEndIsCutOffBeforeItFillsTheMemory) {
    const std::string megabyte(1U << 20U, 'x');
    core::Result<std::size_t> taken;
    for (int i = 0; i < 20 && taken; ++i) taken = write(megabyte, true);
    EXPECT_EQ(errno_of(taken), E2BIG);
}

TEST_F(LineInputTest, APieceThatEndsWithItsLineHoldsNothingBack) {
    EXPECT_EQ(write("a\n", true), 2U);
    run(input.finish(runner()));
    EXPECT_THAT(lines, ElementsAre("a"));
}

}  // namespace
}  // namespace proc9::ctl
