// What a recipe asks for, as the calls that the host sees.
#include "fs/recipe/recipe.hpp"

#include "fs/ctl/command.hpp"
#include "fs/recipe/fields.hpp"
#include "fs/recipe/schema.hpp"
#include "tests/unit/fake_host.hpp"
#include "tests/unit/run.hpp"

namespace proc9::recipe {
namespace {

using fake::errno_of;
using fake::good;
using fake::run;
using fake::why;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

class RecipeTest : public testing::Test {
protected:
    fake::FakeHost host;
    core::Registry registry{host};
    core::Request request{{1000, 1000}, 7, {}};
    core::ProcessRef process = good(run(registry.efork(request, "")));

    core::Result<> write(std::string text) {
        return run(apply(registry, request, process, std::move(text)));
    }
    nlohmann::json read() {
        return nlohmann::json::parse(good(run(describe(registry, request, process))));
    }
};

TEST_F(RecipeTest, EveryFieldIsOfAKnownCommandOrASetting) {
    for (const auto& field : fields()) {
        const auto all = ctl::commands();
        EXPECT_TRUE(std::any_of(all.begin(), all.end(), [&](const auto& command) {
            return command.name == field.command;
        })) << field.pointer;
    }
}

TEST_F(RecipeTest, EveryFieldIsInTheSchema) {
    for (const auto& field : fields()) {
        nlohmann::json recipe;
        recipe[nlohmann::json::json_pointer(std::string(field.pointer))] =
            nlohmann::json{{"no", {{"such", nlohmann::json::array()}}}};
        const auto outcome = check_shape(recipe);
        EXPECT_EQ(errno_of(outcome), EINVAL) << field.pointer;
        EXPECT_THAT(why(outcome), StartsWith(std::string(field.pointer)));
    }
}

TEST_F(RecipeTest, StepsAreTakenInTheOrderOfTheTableAndTriedOnACopyFirst) {
    host.calls.clear();
    good(write(R"({"noNewPrivileges": true, "cwd": "/tmp", "user": {"uid": 5, "gid": 6},
                   "proc9": {"session": true}})"));
    EXPECT_THAT(host.calls, ElementsAre("fork", "ns new mnt", "ns new uts", "session", "gid 6",
                                        "uid 5", "chdir /tmp", "nonewprivs", "session", "gid 6",
                                        "uid 5", "chdir /tmp", "nonewprivs"));
}

TEST_F(RecipeTest, WhatTheCopyCannotDoIsNotDone) {
    host.fail_at(4, std::errc::no_such_file_or_directory);  // fork, two namespaces, chdir
    const auto outcome = write(R"({"args": ["x"], "cwd": "/tmp", "user": {"umask": 0}})");
    EXPECT_EQ(errno_of(outcome), ENOENT);
    EXPECT_THAT(why(outcome), StartsWith("/cwd: chdir: "));
    EXPECT_TRUE(process->arguments.empty());
    EXPECT_THAT(host.calls, Not(Contains("umask 0")));
}

TEST_F(RecipeTest, TheTerminalIsNotTriedBecauseTheCopyWouldHangItUp) {
    host.calls.clear();
    good(write(
        R"({"proc9": {"session": true, "tty": {"path": "/dev/pts/1", "foreground": true}}})"));
    EXPECT_THAT(host.calls, ElementsAre("fork", "ns new mnt", "ns new uts", "session", "session",
                                        "tty /dev/pts/1 foreground"));
}

TEST_F(RecipeTest, AWholeConfigIsFlattened) {
    host.calls.clear();
    good(write(R"({"ociVersion": "1.2.0", "hostname": "box", "root": {"path": "/srv"},
                   "process": {"cwd": "/usr", "args": ["sh"]},
                   "linux": {"namespaces": [{"type": "uts"}, {"type": "network", "path": "/n"}]}})"));
    EXPECT_THAT(host.calls, Contains("ns join net /n"));
    EXPECT_THAT(host.calls, Contains("ns new uts"));
    EXPECT_THAT(host.calls, Contains("hostname box"));
    EXPECT_THAT(host.calls, Contains("chroot /srv"));
    EXPECT_THAT(host.calls, Contains("chdir /usr"));
    EXPECT_THAT(process->arguments, ElementsAre("sh"));
}

TEST_F(RecipeTest, CapabilitiesAreKeptAcrossTheChangeOfTheUser) {
    host.calls.clear();
    good(write(R"({"user": {"uid": 5}, "capabilities": {"permitted": ["CAP_KILL"],
                   "bounding": ["CAP_KILL"]}})"));
    const auto at = [&](const std::string& call) {
        return std::find(host.calls.begin(), host.calls.end(), call) - host.calls.begin();
    };
    EXPECT_LT(at("caps bounding -all +CAP_KILL"), at("securebits keep-caps"));
    EXPECT_LT(at("securebits keep-caps"), at("uid 5"));
    EXPECT_LT(at("uid 5"), at("caps permitted -all +CAP_KILL"));
}

TEST_F(RecipeTest, WhatIsReadSaysWhatWasSet) {
    good(write(R"({"args": ["a b"], "env": ["A=1"], "proc9": {"registers": {"rax": "0x5"},
                   "regions": [{"addr": "0x600000", "len": "4K", "prot": "rw-"}]}})"));
    const auto recipe = read();
    EXPECT_EQ(recipe["args"], nlohmann::json({"a b"}));
    EXPECT_EQ(recipe["env"], nlohmann::json({"A=1"}));
    EXPECT_EQ(recipe["proc9"]["registers"], nlohmann::json({{"rax", "0x5"}}));
    EXPECT_EQ(recipe["proc9"]["regions"][0]["addr"], "0x600000");
    EXPECT_EQ(errno_of(check_shape(recipe)), 0) << why(check_shape(recipe));
}

TEST_F(RecipeTest, AnothersRegionIsNotGivenAway) {
    core::Request other{{2000, 2000}, 7, {}};
    const auto theirs = good(run(registry.efork(other, "")));
    good(run(theirs->memory.map(
        {core::Address{0x600000}, 4096, core::Protection{true, true}, false, false, {}})));
    const auto outcome = write(fmt::format(
        R"({{"proc9": {{"regions": [{{"addr": "0x600000", "len": 4096, "prot": "rw-", "from": "{}:0x600000"}}]}}}})",
        theirs->id()));
    EXPECT_EQ(errno_of(outcome), EACCES);
    EXPECT_TRUE(process->memory.regions().empty());
}

TEST(BracketsTest, AnObjectEndsWithItsOwnBracket) {
    const auto closed = [](std::vector<std::string> pieces) {
        Brackets brackets;
        for (std::size_t i = 0; i + 1 < pieces.size(); ++i)
            EXPECT_FALSE(brackets.closed(pieces[i])) << pieces[i];
        return brackets.closed(pieces.back());
    };
    EXPECT_TRUE(closed({"{}"}));
    EXPECT_TRUE(closed({"{", "\"a\"", ":[1,2]", "}"}));
    EXPECT_TRUE(closed({R"({"}":"\"}\\)", R"("})"}));
    EXPECT_FALSE(closed({R"({"a":"}")"}));
    EXPECT_FALSE(closed({R"({"a":"\)", R"("}")"}));
}

}  // namespace
}  // namespace proc9::recipe
