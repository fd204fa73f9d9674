#include "tests/unit/run.hpp"

#include "fs/core/process.hpp"

namespace proc9::core {
namespace {

using fake::errno_of;
using testing::ElementsAre;
using testing::IsEmpty;

TEST(Environment, KeepsTheBytesOfAFileButPassesNoLastNewlineOn) {
    Environment environment;
    EXPECT_EQ(errno_of(environment.set("A", "x\n", true)), 0);
    EXPECT_EQ(errno_of(environment.set("B", "x\n", false)), 0);
    EXPECT_EQ(environment.find("A")->value, "x\n");
    EXPECT_THAT(environment.words(), ElementsAre("A=x", "B=x\n"));
}

TEST(Environment, RefusesNamesAndValuesThatNoProcessCouldSee) {
    Environment environment;
    for (const auto& name : {std::string(), std::string("A=B"), std::string("A\0", 2)})
        EXPECT_EQ(errno_of(environment.set(name, "")), EINVAL);
    EXPECT_EQ(errno_of(environment.set("A", std::string("x\0", 2))), EINVAL);
    EXPECT_THAT(environment.words(), IsEmpty());
}

TEST(Environment, ANumberOutlivesANewValueButNotARemoval) {
    Environment environment;
    (void)environment.set("A", "1");
    const auto id = environment.find("A")->id;
    (void)environment.set("A", "2");
    EXPECT_EQ(environment.name_of(id), "A");
    EXPECT_TRUE(environment.remove("A"));
    EXPECT_FALSE(environment.remove("A"));
    (void)environment.set("A", "3");
    EXPECT_EQ(environment.name_of(id), std::nullopt);
}

TEST(Environment, ARenamedVariableKeepsItsNumberAndReplacesAnother) {
    Environment environment;
    (void)environment.set("A", "1", true);
    (void)environment.set("B", "2");
    const auto id = environment.find("A")->id;
    const auto replaced = environment.find("B")->id;
    EXPECT_TRUE(environment.rename("A", "B"));
    EXPECT_THAT(environment.words(), ElementsAre("B=1"));
    EXPECT_EQ(environment.name_of(id), "B");
    EXPECT_EQ(environment.name_of(replaced), std::nullopt);
    EXPECT_EQ(errno_of(environment.rename("B", "A=B")), EINVAL);
    EXPECT_THAT(environment.words(), ElementsAre("B=1"));
}

TEST(SearchPath, TriesEveryDirectoryAsExecvpDoes) {
    EXPECT_THAT(search_path("/bin/x", "/a:/b"), ElementsAre("/bin/x"));
    EXPECT_THAT(search_path("./x", ""), ElementsAre("./x"));
    EXPECT_THAT(search_path("x", "/a::/b"), ElementsAre("/a/x", "x", "/b/x"));
    EXPECT_THAT(search_path("x", ""), IsEmpty());
}

}  // namespace
}  // namespace proc9::core
