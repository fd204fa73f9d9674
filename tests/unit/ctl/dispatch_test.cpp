#include "fs/ctl/dispatch.hpp"

#include "tests/unit/ctl/ctl_fixture.hpp"

namespace proc9::ctl {
namespace {

using fake::errno_of;
using fake::good;
using fake::Started;
using fake::why;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

struct CtlTest : testing::Test, Scene {
    CtlTest() { host.calls.clear(); }
};

TEST_F(CtlTest, BlankLinesAndCommentsDoNothing) {
    for (const auto* const line : {"", "  \t", "# exec /bin/sh", "#"})
        EXPECT_EQ(errno_of(say(line)), 0) << line;
    EXPECT_THAT(host.calls, IsEmpty());
    const auto& counted = registry.statistics;
    EXPECT_EQ(counted.commands, 0U);
}

TEST_F(CtlTest, ARefusalQuotesTheLineAndSaysWhy) {
    EXPECT_EQ(errno_of(say("map 0x600001 4096 rw-")), EINVAL);
    EXPECT_EQ(process().error, "map: address 0x600001 is not a multiple of the page size 4096: "
                               "\"map 0x600001 4096 rw-\"\n");
    EXPECT_EQ(registry.error_of(request.who), "") << "it was not said to the root";
    EXPECT_EQ(registry.statistics.refusals, 1U);
}

TEST_F(CtlTest, AnUnknownCommandSuggestsTheNearest) {
    EXPECT_THAT(why(say("mpa 0x600000 4K rw-")), HasSubstr("did you mean \"map\"?"));
    EXPECT_THAT(why(say("frobnicate")), HasSubstr("`help` lists them"));
    EXPECT_THAT(why(say(R"({"cmd":"exce"})")), HasSubstr("did you mean \"exec\"?"));
    EXPECT_EQ(errno_of(say("echo 'open")), EINVAL);
}

TEST_F(CtlTest, JsonThatIsNoCommandIsEinvalAndNeverAnException) {
    for (const auto* const line :
         {"{", "{}", R"({"cmd":7})", R"({"cmd":"kill","sig":null})", R"({"cmd":"kill","sig":-9})",
          R"({"cmd":"kill","sig":[9]})", R"({"cmd":"args","word":"x"})", R"({"cmd":"stop","x":1})",
          R"({"cmd":"map","addr":"0x600000","len":4096})", R"({"cmd":"fd","n":1,"op":7})",
          "{\"cmd\":\"chdir\",\"path\":\"\xff\"}", R"({"cmd":"env","name":"A"})"})
        EXPECT_EQ(errno_of(say(line)), EINVAL) << line;
    EXPECT_THAT(host.calls, IsEmpty());
}

TEST_F(CtlTest, JsonOfAnyDepthIsRefusedBeforeItIsParsed) {
    const std::string deep = R"({"cmd":"args","word":)" + std::string(1000000, '[');
    EXPECT_THAT(why(say(deep)), HasSubstr("nested too deep"));
    EXPECT_EQ(errno_of(say(R"({"cmd":"args","word":["[[[[[[", "\"{{{{{{"]})")), 0);
}

TEST_F(CtlTest, AZeroByteInAWordIsRefusedBecauseNoSystemCallCouldCarryIt) {
    EXPECT_EQ(errno_of(say(R"(chdir "/tmp\0x")")), EINVAL);
    EXPECT_THAT(host.calls, IsEmpty());
}

TEST_F(CtlTest, OfAProcessThatWasRemovedIsEsrch) {
    registry.remove(own.process);
    for (const auto* const line : {"name later", "persist", "kill 0", "umask 022"})
        EXPECT_EQ(errno_of(say(line)), ESRCH) << line;
}

TEST_F(CtlTest, JsonTakesNumbersFlagsAndBooleansAsWhatTheyAre) {
    good(say(R"({"cmd":"map","addr":6291456,"len":4096,"prot":"rw-","shared":false})"));
    EXPECT_THAT(host.calls, ElementsAre("map 600000 1000 rw-p anonymous"));
    good(say(R"({"cmd":"map","vdso":true})"));
    good(say(R"({"cmd":"fd","n":3,"op":"open","path":"/bin/sh","mode":"r"})"));
    good(say(R"({"cmd":"fd","n":3,"op":"cloexec","switch":true})"));
    EXPECT_THAT(host.calls, Contains("cloexec 3 on"));
    good(say(R"({"cmd":"exec","path":"/bin/echo","args":["a b",1]})"));
    EXPECT_THAT(host.calls, Contains("exec /bin/echo [/bin/echo 'a b' 1] [HOME=/root]").Times(0));
    EXPECT_THAT(host.calls, Contains("exec /bin/echo [/bin/echo 'a b' 1] []"));
}

TEST_F(CtlTest, AfterEforkTheRootsCtlIsTheNewProcessesToo) {
    good(say(root, "efork hello"));
    EXPECT_EQ(root.process->name, "hello");
    good(say(root, "exec /bin/echo hi"));
    EXPECT_EQ(root.process->state(), core::Process::State::running);
    EXPECT_EQ(errno_of(say(root, "unmap 0")), EPERM);
    EXPECT_THAT(registry.error_of(request.who), StartsWith("unmap: "));
    EXPECT_THAT(root.process->error, StartsWith("unmap: "));
}

TEST_F(CtlTest, EntryTakesItsAssignmentsInAnyOrderAndNoneTwice) {
    EXPECT_EQ(errno_of(say("entry 0x600000 sp=1 sp=2")), EINVAL);
    EXPECT_EQ(errno_of(say("entry 0x600000 nonsense=2")), EINVAL);
    EXPECT_EQ(errno_of(say("entry 0x7ffffffff000")), EINVAL);
    good(say("entry 0x600000 arg1=7 sp=0x700000 arg0=0"));
    EXPECT_THAT(host.calls, Contains("enter rdi=0 rip=600000 rsi=7 rsp=700000"));
}

TEST_F(CtlTest, MapAnyIsReadFromTheCtl) {
    good(say("map any 4K r--"));
    EXPECT_EQ(process().last_made, "0x7f0000000000");
    EXPECT_EQ(errno_of(say("map any 4K r-- 5")), EINVAL);
    EXPECT_EQ(errno_of(say("map any 4K r-- file /bin/sh 5")), EINVAL);
    EXPECT_EQ(errno_of(say("map 0x600000 0 r--")), EINVAL);
    EXPECT_EQ(errno_of(say("map 0x600000 1 r-- file")), EINVAL);
}

TEST_F(CtlTest, UnmapWithoutLengthTakesTheRegionThatBeginsThere) {
    good(say("map 0x600000 64K rw-"));
    EXPECT_EQ(errno_of(say("unmap 0x601000")), ENOENT);
    good(say("unmap 0x600000"));
    EXPECT_THAT(process().memory.regions(), IsEmpty());
}

TEST_F(CtlTest, ADescriptorIsTakenFromTheWriterAnyProcessOrAnEmbryo) {
    const auto other = make("other");
    host.embryo(other->id()).open_descriptors[4] =
        std::make_shared<fake::FakeDescriptor>(4, "theirs");
    host.leader_of_thread[7] = 7;
    good(say("fd 3 self:1"));
    good(say("fd 4 7:0"));
    good(say("fd 5 other:4"));
    EXPECT_EQ(good(body().descriptor_target(3)), "pipe:[1]");
    EXPECT_EQ(good(body().descriptor_target(4)), "tty");
    EXPECT_EQ(good(body().descriptor_target(5)), "theirs");
    EXPECT_THAT(host.calls, Contains("take embryo 4"));
    EXPECT_EQ(errno_of(say("fd 3 self:9")), EBADF);
    EXPECT_EQ(errno_of(say("fd 3 99:0")), ESRCH);
    EXPECT_EQ(errno_of(say("fd 3 nosuch:0")), ENOENT);
    for (const auto* const line :
         {"fd 3 sideways", "fd 3 self:", "fd x close", "fd 1 cloexec maybe", "fd 3 open /bin/sh q"})
        EXPECT_EQ(errno_of(say(line)), EINVAL) << line;
    EXPECT_EQ(errno_of(say("fd 16777216 close")), EMFILE);
}

TEST_F(CtlTest, AnotherUsersEmbryoKeepsItsDescriptors) {
    request.who = {2000, 2000};
    const auto theirs = make("theirs");
    host.embryo(theirs->id()).open_descriptors[0] = std::make_shared<fake::FakeDescriptor>(4, "x");
    request.who = {1000, 1000};
    EXPECT_EQ(errno_of(say("fd 3 theirs:0")), EACCES);
}

TEST_F(CtlTest, ARegionAsDescriptorIsSharedFromThenOn) {
    good(say("map 0x600000 4K rw-"));
    good(say("fd 3 mem 0x600000"));
    EXPECT_TRUE(process().memory.at(core::Address{0x600000})->shared);
    EXPECT_EQ(errno_of(say("fd 3 mem 0x700000")), ENOENT);
}

TEST_F(CtlTest, APipeIsMadeOfNothingIfOneEndCannotBe) {
    make("ls");
    make("sort");
    host.calls.clear();
    EXPECT_EQ(errno_of(say(root, "pipe ls 1 sort 0 sort 1 nobody 0")), ENOENT);
    EXPECT_EQ(errno_of(say(root, "pipe ls 1 sort")), EINVAL);
    EXPECT_EQ(errno_of(say(root, "pipe")), EINVAL);
    EXPECT_THAT(host.calls, IsEmpty());
    host.fail_at(3, std::errc::bad_file_descriptor);
    EXPECT_EQ(errno_of(say(root, "pipe ls 1 sort 0")), EBADF);
    EXPECT_THAT(host.calls, ElementsAre("make_pipe", "install 1", "install 0", "close 1"));
}

TEST_F(CtlTest, InheritTakesWhatIsAskedForFromTheWriter) {
    host.environments[7] = {"A=1", "junk", "=x", "B=2"};
    good(say("inherit all"));
    EXPECT_THAT(process().environment.words(), ElementsAre("A=1", "B=2"));
    EXPECT_THAT(good(body().descriptors()), ElementsAre(0, 1));
    EXPECT_THAT(host.calls, Contains("fchdir"));
    EXPECT_EQ(errno_of(say("inherit everything")), EINVAL);
    host.calls.clear();
    host.settings[7] = {{"nice", {"5"}}, {"umask", {"077"}}};
    host.settings[body().pid()] = {{"nice", {"0"}}, {"umask", {"077"}}};
    good(say("inherit settings"));
    EXPECT_THAT(host.calls, Contains("nice 5"));
    EXPECT_THAT(host.calls, testing::Not(Contains("umask 077"))) << "it is so already";
    request.thread = 0;
    EXPECT_EQ(errno_of(say("inherit env")), ESRCH) << "a caller of another pid namespace";
}

TEST_F(CtlTest, VariablesAndRegistersAreCheckedWhenTheyAreSet) {
    EXPECT_EQ(errno_of(say("env NOVALUE")), EINVAL);
    EXPECT_EQ(errno_of(say("env =x")), EINVAL);
    EXPECT_EQ(errno_of(say("unset HOME")), ENOENT);
    EXPECT_EQ(errno_of(say("reg rdj 1")), EINVAL);
    EXPECT_EQ(errno_of(say("reg rdi x")), EINVAL);
}

struct Lines : CtlTest {
    Done tell(std::vector<std::string> lines) {
        return fake::run(execute(registry, request, own, std::move(lines)));
    }
};

TEST_F(Lines, AreDoneUpToTheOneThatIsRefused) {
    const Done done = tell({"env A=1", "", "# nothing", "umask 22", "nice 5", "bogus", "env A=2"});
    EXPECT_EQ(done.lines, 5U);
    EXPECT_EQ(errno_of(done.outcome), EINVAL);
    EXPECT_EQ(process().environment.value_of("A"), "1");
    EXPECT_EQ(body().applied.size(), 2U);
    EXPECT_THAT(process().error, testing::StartsWith("bogus: "));
    const auto& counted = registry.statistics;
    EXPECT_EQ(counted.commands, 3U) << "what is no command does not count";
}

TEST_F(Lines, OfSettingsThatStandTogetherTheRefusedOneIsTold) {
    host.fail_at(2, std::errc::permission_denied);
    const Done done = tell({"umask 22", "nice 5", "oom 3", "exec /bin/sh"});
    EXPECT_EQ(done.lines, 1U);
    EXPECT_EQ(process().state(), core::Process::State::embryo);
    EXPECT_THAT(process().error, testing::HasSubstr("\"nice 5\""));
    EXPECT_EQ(body().applied.size(), 1U);
    const auto& counted = registry.statistics;
    EXPECT_EQ(counted.commands, 2U) << "nor what was not tried";
}

TEST_F(Lines, SettingsBeforeAnExecThatIsRefusedAreApplied) {
    for (const std::string exec : {"exec /missing", "exec missing", "exec"}) {
        const Done done = tell({"umask 22", "nice 5", exec});
        EXPECT_EQ(done.lines, 2U) << exec;
        EXPECT_FALSE(done.outcome) << exec;
        EXPECT_THAT(process().error, testing::StartsWith("exec: ")) << exec;
        EXPECT_EQ(std::exchange(body().applied, {}).size(), 2U) << exec;
    }
}

TEST_F(CtlTest, KillOfAnEmbryoEndsWhenItHasGone) {
    const Started killing(execute(registry, request, own, "kill"));
    EXPECT_FALSE(killing.is_done());
    host.deliver_exits();
    EXPECT_EQ(errno_of(killing.answer()), 0);
    EXPECT_TRUE(registry.all().empty());
}

TEST_F(CtlTest, KillThatIsInterruptedLetsItGoByItself) {
    const Started killing(execute(registry, request, own, "kill"));
    request.cancellation.request();
    ASSERT_TRUE(killing.is_done());
    host.deliver_exits();
    EXPECT_TRUE(registry.all().empty());
}

TEST_F(CtlTest, AHarmlessSignalIsNotWaitedFor) {
    for (const auto* const line : {"kill 0", "kill CHLD", "kill CONT", "kill WINCH", "note 0"})
        EXPECT_EQ(errno_of(say(line)), 0) << line;
    EXPECT_EQ(errno_of(say("kill NONE")), EINVAL);
}

TEST_F(CtlTest, KillGoesThroughWhileABuildingCommandWaits) {
    host.hold("open");
    core::Request other = request;
    const Started opening(execute(registry, other, own, "fd 0 open /bin/sh r"));
    const Started killing(execute(registry, request, own, "kill"));
    host.deliver_exits();
    EXPECT_EQ(errno_of(opening.answer()), ESRCH);
    EXPECT_EQ(errno_of(killing.answer()), 0);
}

}  // namespace
}  // namespace proc9::ctl
