#include "fs/ctl/descriptors.hpp"

#include "tests/unit/ctl/ctl_fixture.hpp"

namespace proc9::ctl {
namespace {

using fake::errno_of;
using fake::run;
using testing::ElementsAre;

TEST(OpenMode, FollowsFopenAndItsThreeSuffixes) {
    const auto mode = parse_open_mode("w+xn");
    ASSERT_TRUE(mode);
    EXPECT_TRUE(mode->read && mode->write && mode->create && mode->truncate);
    EXPECT_TRUE(mode->exclusive && mode->non_blocking);
    EXPECT_FALSE(mode->append);
    EXPECT_TRUE(parse_open_mode("a")->append && !parse_open_mode("a")->read);
    EXPECT_FALSE(parse_open_mode("r")->create || parse_open_mode("r+")->truncate);
    EXPECT_FALSE(parse_open_mode("w+k")->create || parse_open_mode("wk")->truncate);
    for (const auto* const word : {"", "x", "+r", "rb", "r +", "R"})
        EXPECT_EQ(errno_of(parse_open_mode(word)), EINVAL) << word;
}

TEST(CallersDescriptor, IsMeantByTheNamesThatAShellUses) {
    EXPECT_EQ(callers_descriptor("/dev/stdin"), 0);
    EXPECT_EQ(callers_descriptor("/dev/stdout"), 1);
    EXPECT_EQ(callers_descriptor("/dev/stderr"), 2);
    EXPECT_EQ(callers_descriptor("/dev/fd/63"), 63);
    EXPECT_EQ(callers_descriptor("/proc/self/fd/0"), 0);
    EXPECT_EQ(callers_descriptor("/proc/thread-self/fd/7"), 7);
    for (const auto* const path : {"/dev/null", "/dev/fd/", "/dev/fd/x", "/dev/fd/-1", "/dev/fd/1/",
                                   "/dev/stdout/", "/proc/1/fd/1", "stdin"})
        EXPECT_EQ(callers_descriptor(path), std::nullopt) << path;
}

struct OpenTarget : testing::Test, Scene {
    OpenTarget() {
        host.files["/f"] = "";
        host.calls.clear();
    }
    int open(int number, std::string target) {
        return errno_of(run(open_target(registry, request, process(), number, std::move(target))));
    }
};

TEST_F(OpenTarget, ReadsAs0AppendsAs1And2AndOtherwiseDoesWhatIsPermitted) {
    EXPECT_EQ(open(0, "/f"), 0);
    EXPECT_EQ(open(2, "/f"), 0);
    EXPECT_EQ(open(3, "/f"), 0);
    EXPECT_THAT(host.calls, ElementsAre("open 0 /f r 666", "open 2 /f a 666", "open 3 /f r+ 0"));
}

TEST_F(OpenTarget, TriesAnotherModeOnlyIfTheFirstIsNotPermitted) {
    host.fail_at(1, std::errc::permission_denied);
    EXPECT_EQ(open(1, "/f"), 0);
    EXPECT_THAT(host.calls, ElementsAre("open 1 /f a 666", "open 1 /f r+ 0"));
    host.calls.clear();
    host.fail_at(1, std::errc::interrupted);
    EXPECT_EQ(open(3, "/f"), EINTR);
    EXPECT_EQ(open(3, "/nothing"), ENOENT);
    EXPECT_EQ(host.calls.size(), 2U);
}

TEST_F(OpenTarget, HandsOverTheCallersOwnDescriptor) {
    EXPECT_EQ(open(1, "/dev/stdout"), 0);
    EXPECT_THAT(host.calls, ElementsAre("take 1000 7 1", "install 1"));
    EXPECT_EQ(open(1, "/dev/fd/9"), EBADF);
}

}  // namespace
}  // namespace proc9::ctl
