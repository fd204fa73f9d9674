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
    core::Request request{.who = {1000, 1000}, .thread = 7, .cancellation = {}};
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

TEST_F(RecipeTest, TooManyLevelsAreRefused) {
    for (const std::string level : {"[", R"({"a":)"}) {
        std::string text = R"({"annotations":{"a":)";
        for (int i = 0; i < 1000000; ++i) text += level;
        EXPECT_EQ(errno_of(write(text)), EINVAL);
        EXPECT_THAT(why(write(text)), HasSubstr("levels"));
    }
}

TEST_F(RecipeTest, ALongVariableIsTaken) {
    good(write(R"({"env": ["LONG=)" + std::string(1U << 20U, 'x') + R"("]})"));
    EXPECT_EQ(process->environment.value_of("LONG").size(), 1U << 20U);
    EXPECT_EQ(errno_of(write(R"({"env": [")" + std::string(1U << 20U, 'x') + R"("]})")), EINVAL);
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

TEST_F(RecipeTest, ThreadsAreMadeWithTheirRegisters) {
    good(write(R"({"proc9": {"threads": [{"rax": "0x5"}, {"rdi": 6}]}})"));
    ASSERT_EQ(process->threads.size(), 3U);
    EXPECT_EQ(process->threads[1], (core::Registers{{"rax", 5}}));
    EXPECT_EQ(process->threads[2], (core::Registers{{"rdi", 6}}));
    EXPECT_EQ(read()["proc9"]["threads"],
              nlohmann::json::parse(R"([{"rax": "0x5"}, {"rdi": "0x6"}])"));
    EXPECT_EQ(errno_of(write(R"({"proc9": {"threads": [{"nonsense": 5}]}})")), EINVAL);
}

TEST_F(RecipeTest, WhoseRecipeItIsMustStillBeThere) {
    host.files["/data"] = "";
    good(run(process->body->open(3, "/data", {.read = true}, 0)));
    auto recipe = read();
    const auto other = good(run(registry.efork(request, "")));
    host.calls.clear();
    good(run(apply(registry, request, other, recipe.dump())));
    EXPECT_THAT(host.calls, Contains("take embryo 3"));
    registry.remove(process);
    host.calls.clear();
    good(run(apply(registry, request, other, recipe.dump())));
    EXPECT_THAT(host.calls, Not(Contains("take embryo 3")));
    EXPECT_THAT(host.calls, Contains(StartsWith("open 3 /data r")));
    for (
        const std::string lost :
        {R"({"fds": [{"fd": 4, "path": "pipe:[1]", "from": "N:4"}]})",
         R"({"regions": [{"addr": "0x600000", "len": 4096, "prot": "rw-", "from": "N:0x600000"}]})",
         R"({"namespaces": [{"type": "network", "path": "/proc/N/ns/net"}]})"}) {
        std::string text = lost;
        text.replace(text.find("N:") == std::string::npos ? text.find("N/") : text.find("N:"), 1,
                     std::to_string(process->id()));
        nlohmann::json changed{{"proc9", nlohmann::json::parse(text)}};
        changed["proc9"]["source"] = recipe["proc9"]["source"];
        const auto outcome = run(apply(registry, request, other, changed.dump()));
        EXPECT_EQ(errno_of(outcome), ENOENT) << lost;
        EXPECT_THAT(why(outcome), HasSubstr("which has gone"));
    }
}

TEST_F(RecipeTest, OfAnImageIsTakenWhatHasNoFileOfItsOwnThere) {
    host.files["/data"] = "";
    good(process->environment.set("A", "as its file says\n", true));
    host.calls.clear();
    good(run(restore(registry, request, process, R"({
        "args": ["x"], "env": ["A=1", "B/C=2"], "cwd": "/usr", "user": {"uid": 5},
        "proc9": {"root": "/", "namespaces": [{"type": "network", "path": "/proc/1/ns/net"}],
                  "fds": [{"fd": 3, "path": "/data", "mode": "r+", "pos": 7, "from": "99:3", "cloexec": true},
                          {"fd": 4, "path": "pipe:[1]", "mode": "wk", "from": "99:4"}],
                  "regions": [{"addr": "0x600000", "len": 4096, "prot": "rw-", "from": "99:0x600000"}]}})")));
    EXPECT_THAT(host.calls, ElementsAre("open 3 /data r+ 666", "seek 3 7", "cloexec 3 on", "uid 5",
                                        "chdir /usr"));
    EXPECT_THAT(process->environment.words(), ElementsAre("A=as its file says", "B/C=2"));
    EXPECT_TRUE(process->arguments.empty());
    EXPECT_EQ(process->extraction.files.at(3).path, "/data");
}

TEST_F(RecipeTest, OfAnImageAllThatCanBeDoneIsDone) {
    host.calls.clear();
    const auto outcome = run(restore(registry, request, process, R"({"cwd": "/usr",
        "user": {"umask": 0}, "proc9": {"fds": [{"fd": 3, "path": "/nonexistent", "mode": "r"}]}})"));
    EXPECT_EQ(errno_of(outcome), ENOENT);
    EXPECT_THAT(why(outcome), StartsWith("/proc9/fds: fd: "));
    EXPECT_THAT(host.calls, Contains("chdir /usr"));
    EXPECT_THAT(host.calls, Contains("umask 0"));
    EXPECT_EQ(errno_of(run(restore(registry, request, process, "[]"))), EINVAL);
}

TEST_F(RecipeTest, TheKernelsPagesAreMappedOnce) {
    const std::string text = R"({"proc9": {"regions": [{"addr": "0x7fff0000", "vdso": true}]}})";
    good(run(restore(registry, request, process, text)));
    const auto count = process->memory.regions().size();
    EXPECT_NE(count, 0U);
    good(run(restore(registry, request, process, text)));
    EXPECT_EQ(process->memory.regions().size(), count);
}

TEST_F(RecipeTest, BytesThatAreNoTextDoNotKeepTheRestFromBeingRead) {
    good(process->environment.set("A", "\xff"));
    EXPECT_TRUE(read()["env"].is_array());
}

TEST_F(RecipeTest, AnothersRegionIsNotGivenAway) {
    core::Request other{.who = {2000, 2000}, .thread = 7, .cancellation = {}};
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
