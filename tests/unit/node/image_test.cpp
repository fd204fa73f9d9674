// Removing files of an embryo and making them again, as tar does when it extracts an image.
#include "tests/unit/node/tree_fixture.hpp"

namespace proc9::node {
namespace {

using fake::errno_of;
using fake::good;
using fake::run;
using fake::why;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Key;
using testing::Not;

constexpr OpenFlags as_tar_does{.write = true, .exclusive = true};

struct Image : testing::Test, Grove {
    core::ProcessRef process = make("p");
    [[nodiscard]] std::string at(std::string_view name) const { return path_of(process, name); }

    core::Result<Created> create(const std::string& path, OpenFlags flags = as_tar_does,
                                 std::uint32_t mode = 0600) {
        const auto [directory, name] = split(path);
        return run(tree.create(request, id(directory), name, mode, flags));
    }
    // As tar replaces a file.
    core::Result<> extract(const std::string& path, const std::string& text) {
        if (find(path)) TRY(remove(path));
        const auto made = TRY(create(path));
        TRY(run(made.file->write(request, text, 0, false)));
        return run(made.file->flush(request));
    }
    // As tar replaces a link that leads out of its directory.
    core::Result<> extract_link(const std::string& target, const std::string& path) {
        if (find(path)) TRY(remove(path));
        const auto placeholder = TRY(create(path, as_tar_does, 0));
        EXPECT_EQ(good(find(path)).id.pack(), placeholder.attributes.id.pack());
        EXPECT_EQ(good(find(path)).type, Type::file);
        EXPECT_EQ(good(run(tree.attributes(request, placeholder.attributes.id))).mode, 0U);
        TRY(remove(path));
        EXPECT_EQ(errno_of(find(path)), ENOENT);
        TRY(symlink(target, path));
        return {};
    }
    std::vector<std::string> calls() { return std::exchange(host.calls, {}); }
};

TEST_F(Image, AFileThatWasRemovedIsNotThereUntilItIsMadeAgain) {
    for (const std::string name : {"args", "status", "ctl", "wait", "note", "process.json"}) {
        good(remove(at(name)));
        EXPECT_EQ(errno_of(find(at(name))), ENOENT) << name;
        EXPECT_THAT(list(std::to_string(process->id())), Not(Contains(Key(name))));
        good(create(at(name)));
        EXPECT_TRUE(find(at(name))) << name;
        EXPECT_THAT(list(std::to_string(process->id())), Contains(Key(name)));
    }
    for (const std::string name : {"mem", "nonsense"})
        EXPECT_EQ(errno_of(remove(at(name))), EPERM) << name;
    EXPECT_EQ(errno_of(create(at("nonsense"))), EPERM);
    EXPECT_EQ(errno_of(create(at("args"))), EPERM) << "it is there";
}

TEST_F(Image, WhatOnlyTellsDropsWhatIsWritten) {
    host.calls.clear();
    for (const std::string name : {"ctl", "note", "status", "error", "wait"})
        good(extract(at(name), "kill\n"));
    EXPECT_THAT(host.calls, IsEmpty());
    EXPECT_THAT(good(read(at("status"))), HasSubstr("embryo"));
}

TEST_F(Image, MadeAgainByAShellAFileIsWhatItWas) {
    good(remove(at("ctl")));
    good(write(at("ctl"), "env A=1\n"));
    EXPECT_EQ(process->environment.value_of("A"), "1");
    good(remove(at("status")));
    EXPECT_EQ(errno_of(write(at("status"), "x")), EACCES);
    EXPECT_TRUE(read(at("status")));
}

TEST_F(Image, AStateIsTakenWhenItsFileIsClosedAndAllOfItIsTried) {
    good(remove(at("regs")));
    const auto made = good(create(at("regs")));
    EXPECT_TRUE(made.file->has_flush());
    good(run(made.file->write(request, "rax 0x5\nnonsense 1\nrd", 0, false)));
    good(run(made.file->write(request, "i 0x6\n", 20, false)));
    EXPECT_THAT(process->threads.front(), IsEmpty());
    const auto outcome = run(made.file->flush(request));
    EXPECT_EQ(errno_of(outcome), EINVAL);
    EXPECT_THAT(process->error, HasSubstr("nonsense 1"));
    EXPECT_EQ(process->threads.front().at("rax"), 5U);
    EXPECT_EQ(process->threads.front().at("rdi"), 6U);
    good(run(made.file->flush(request)));
}

TEST_F(Image, AnImagesMapsAreTheKernelsOnly) {
    good(extract(at("maps"), "00600000-00601000 rw-p 00000000 00:00 0\n"
                             "7fff0000-7fff4000 r--p 00000000 00:00 0    [vvar]\n"));
    EXPECT_FALSE(process->memory.at(core::Address{0x600000}));
    EXPECT_TRUE(process->memory.at(core::Address{0x7fff0000}));
    EXPECT_THAT(list(at("mem")), IsEmpty()) << "which are no files that could be made";
}

TEST_F(Image, ALineThatIsTrueAlreadyIsNoError) {
    const std::string line = "00600000-00601000 rw-p 00000000 00:00 0\n";
    good(write(at("maps"), line));
    host.calls.clear();
    good(write(at("maps"), line));
    EXPECT_THAT(host.calls, Not(Contains(testing::StartsWith("map"))));
    EXPECT_EQ(errno_of(write(at("maps"), "00600000-00601000 r--p 00000000 00:00 0\n")), EEXIST);
}

TEST_F(Image, LimitsAreTakenAsTheKernelTellsThem) {
    host.calls.clear();
    good(write(at("limits"),
               "Limit                     Soft Limit           Hard Limit           Units     \n"
               "Max open files            64                   unlimited            files     \n"
               "Max nice priority         0                    1                    \n"
               "NOFILE 1:2\n"));
    EXPECT_THAT(host.calls, ElementsAre("limit Max open files 64:unlimited",
                                        "limit Max nice priority 0:1", "limit NOFILE 1:2"));
}

TEST_F(Image, APlaceholderMakesRoomForALink) {
    host.files["/data"] = "";
    good(extract_link("/data", at("fd/3")));
    EXPECT_EQ(good(link_target(at("fd/3"))), "/data");
    host.calls.clear();
    good(extract_link("/", at("cwd")));
    good(extract_link("/", at("root")));
    EXPECT_THAT(host.calls, IsEmpty()) << "it is so already";
    good(extract_link("/usr", at("cwd")));
    EXPECT_THAT(host.calls, ElementsAre("chdir /usr"));
    EXPECT_EQ(errno_of(create(at("fd/4"), as_tar_does, 0600)), EPERM);
    EXPECT_EQ(errno_of(create(at("fd/4"), for_writing, 0)), EPERM);
    EXPECT_EQ(errno_of(create(at("fd/x"), as_tar_does, 0)), EINVAL);
}

TEST_F(Image, ARootThatIsRestoredKeepsTheWorkingDirectory) {
    good(symlink("/srv/place", at("cwd")));
    host.calls.clear();
    good(extract_link("/srv", at("root")));
    EXPECT_THAT(host.calls, ElementsAre("chroot /srv", "chdir /place"));
}

TEST_F(Image, TheProgramIsOnlyToldUnlessItHasAPath) {
    host.calls.clear();
    good(extract_link("/memfd:proc9-stub (deleted)", at("exe")));
    EXPECT_THAT(host.calls, IsEmpty());
    good(extract_link("/bin/sh", at("exe")));
    EXPECT_THAT(host.calls, ElementsAre("exe /bin/sh"));
    EXPECT_EQ(errno_of(extract_link("/bin/old (deleted)", at("exe"))), ENXIO);
    EXPECT_EQ(errno_of(symlink("/bin/sh", at("exe"))), EPERM) << "by hand there is a command";
}

TEST_F(Image, WhatHasNoPathIsRefused) {
    host.calls.clear();
    for (const std::string target :
         {"pipe:[1]", "socket:[2]", "anon_inode:[eventfd]", "anon_inode:inotify",
          "/tmp/x (deleted)", "/memfd:y (deleted)"}) {
        EXPECT_EQ(errno_of(symlink(target, at("fd/5"))), ENXIO) << target;
        EXPECT_THAT(process->error, HasSubstr("no path"));
    }
    EXPECT_THAT(host.calls, IsEmpty());
}

TEST_F(Image, ANamespaceIsTheOneThatItIsInOrRefused) {
    good(remove(at("ns/net")));
    good(symlink("net:[1]", at("ns/net")));
    good(remove(at("ns/net")));
    EXPECT_EQ(errno_of(symlink("net:[2]", at("ns/net"))), ENXIO);
    EXPECT_EQ(good(link_target(at("ns/net"))), "net:[1]") << "it is in view again";
}

TEST_F(Image, ALinkToMemoryIsNotTheMemory) {
    host.files["/proc/1/fd/3"] = "";
    good(create(at("mem/600000"), as_tar_does, 0));
    good(remove(at("mem/600000")));
    EXPECT_EQ(errno_of(symlink("/proc/1/fd/3", at("mem/600000"))), ENXIO);
    EXPECT_EQ(errno_of(symlink("/proc/1/fd/3", at("mem/600000"))), EINVAL) << "it is empty";
}

TEST_F(Image, ThreadsAreOnlyTold) {
    good(run(tree.make_directory(request, id(at("task")), "4242")));
    good(extract(at("task/4242/regs"), "rax 0x5\n"));
    good(extract(at("task/4242/status"), "Name: x\n"));
    good(change(at("task/4242"), to_mode(0755)));
    EXPECT_THAT(list(at("task")), Not(Contains(Key("4242"))));
    EXPECT_EQ(errno_of(create(at("task/4242/x"))), EPERM);
    EXPECT_EQ(errno_of(create(at("task/4242/regs"), for_writing)), EPERM);
    const std::string own = fmt::format("task/{}/regs", process->id());
    good(extract(at(own), "rax 0x5\n"));
    EXPECT_THAT(process->threads.front(), IsEmpty());
    good(write(at(own), "rax 0x6\n"));
    EXPECT_EQ(process->threads.front().at("rax"), 6U);
}

TEST_F(Image, SizesAreThoseOfTheTexts) {
    for (const std::string name : {"ctl", "process.json", "limits", "note"})
        EXPECT_EQ(good(find(at(name))).size, good(read(at(name))).size()) << name;
    EXPECT_EQ(good(find(at("wait"))).size, 0U) << "tar would wait";
}

TEST_F(Image, AFileMayBeGivenTheModeThatItHas) {
    good(change(at("args"), to_mode(0600)));
    good(change(at("mem"), to_mode(0700)));
    EXPECT_EQ(errno_of(change(at("args"), to_mode(0640))), EPERM);
    EXPECT_EQ(errno_of(change(at("mem"), to_mode(0750))), EPERM);
}

TEST_F(Image, NothingIsReplacedAfterTheStart) {
    good(create(at("fd/3"), as_tar_does, 0));
    good(run(process->exec("/bin/echo", {})));
    EXPECT_EQ(errno_of(remove(at("args"))), EPERM);
    EXPECT_EQ(errno_of(create(at("fd/4"), as_tar_does, 0)), EPERM);
    EXPECT_EQ(errno_of(find(at("fd/3"))), ENOENT);
    EXPECT_EQ(errno_of(run(tree.make_directory(request, id(at("task")), "1"))), EPERM);
}

}  // namespace
}  // namespace proc9::node
