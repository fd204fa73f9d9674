// What cp, ln, mv, rm, chmod and truncate do in mem/, fd/ and env/.
#include "tests/unit/node/tree_fixture.hpp"

namespace proc9::node {
namespace {

using fake::errno_of;
using fake::good;
using fake::run;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using Listing = std::map<std::string, std::string>;

struct Directories : testing::Test, Grove {
    core::ProcessRef process = make("hello");
    core::ProcessRef other = make("other");

    [[nodiscard]] std::string at(std::string_view name) const { return path_of(process, name); }
    [[nodiscard]] std::string there(std::string_view name) const { return path_of(other, name); }
    core::Region& region(std::uint64_t start) { return *process->memory.at(core::Address{start}); }
};

// ---------------------------------------------------------------------------------------------
// mem/

using Mem = Directories;

TEST_F(Mem, ACopiedFileIsARegionOfItsLength) {
    good(write(at("mem/600000"), "hello"));
    EXPECT_EQ(list(at("mem")), (Listing{{"600000", "-600"}}));
    EXPECT_EQ(good(find(at("mem/600000"))).size, 5U);
    EXPECT_EQ(good(read(at("mem/600000"))), "hello");
    EXPECT_EQ(good(run(body(process).peek(core::Address{0x600000}, 6))), std::string("hello\0", 6));
}

TEST_F(Mem, NamesAreLowerCaseHexOfAPage) {
    for (const auto* const name : {"0x600000", "0600000", "600001", "ABC000", "x", "", "any",
                                   "7ffffffff000", "fffffffffffffffff000"})
        EXPECT_EQ(errno_of(run(tree.create(request, id(at("mem")), name, 0600, for_writing))),
                  EINVAL)
            << name;
    EXPECT_EQ(errno_of(find(at("mem/0x600000"))), ENOENT);
}

TEST_F(Mem, WritingBehindTheEndGrowsAndAppendsZeros) {
    good(write(at("mem/600000"), "a"));
    auto file = open(at("mem/600000"), for_writing);
    EXPECT_EQ(file.write("b", 0x1fff), 1U);
    EXPECT_EQ(region(0x600000).range.length, 0x2000U);
    EXPECT_EQ(good(read(at("mem/600000"))).size(), 0x2000U);
}

TEST_F(Mem, ChmodProtectsTruncateResizesAndStickyShares) {
    good(write(at("mem/600000"), "hello"));
    good(change(at("mem/600000"), to_mode(0500)));
    EXPECT_THAT(host.calls, Contains("protect 600000 1000 r-x"));
    good(change(at("mem/600000"), to_size(0x1001)));
    EXPECT_EQ(region(0x600000).range.length, 0x2000U);
    EXPECT_EQ(good(change(at("mem/600000"), to_mode(01700))).mode, 01700U);
    EXPECT_TRUE(region(0x600000).shared);
}

TEST_F(Mem, OpeningObeysTheProtectionExceptForRoot) {
    good(write(at("mem/600000"), "hello"));
    good(change(at("mem/600000"), to_mode(0400)));
    EXPECT_EQ(errno_of(try_open(at("mem/600000"), for_writing)), EACCES);
    EXPECT_EQ(errno_of(try_open(at("mem/600000"), for_reading)), 0);
    request.who = {0, 0};
    EXPECT_EQ(errno_of(try_open(at("mem/600000"), for_writing)), 0);
}

TEST_F(Mem, ALinkToAFileMapsItAndItIsCopiedWhenOpened) {
    good(symlink("/bin/sh", at("mem/600000")));
    EXPECT_THAT(host.calls, Contains("map 600000 0 ???p /bin/sh 0"));
    EXPECT_EQ(good(read(at("mem/600000"))).substr(0, 7), "program");
    EXPECT_EQ(errno_of(symlink("/nothing", at("mem/700000"))), ENOENT);
    EXPECT_THAT(process->error, HasSubstr("ln: open: No such file"));
}

TEST_F(Mem, AHardLinkIsTheSameMemoryInAnotherProcess) {
    good(write(at("mem/600000"), "hello"));
    good(hard_link(at("mem/600000"), there("mem/900000")));
    good(write(there("mem/900000"), "world"));
    EXPECT_EQ(good(read(at("mem/600000"))), "world");
    EXPECT_TRUE(region(0x600000).shared);
    EXPECT_EQ(errno_of(hard_link(at("mem/600000"), there("mem/900000"))), EEXIST);
    EXPECT_EQ(errno_of(hard_link(at("status"), at("mem/a00000"))), EXDEV);
}

TEST_F(Mem, MvMovesAlsoIntoAnotherProcessAndReplaces) {
    good(write(at("mem/600000"), "hello"));
    good(write(at("mem/800000"), "old"));
    EXPECT_EQ(errno_of(rename(at("mem/600000"), at("mem/800000"), false)), EEXIST);
    good(rename(at("mem/600000"), at("mem/800000")));
    EXPECT_EQ(good(read(at("mem/800000"))), "hello");
    good(rename(at("mem/800000"), there("mem/700000")));
    EXPECT_THAT(list(at("mem")), IsEmpty());
    EXPECT_EQ(good(read(there("mem/700000"))), "hello");
    EXPECT_EQ(errno_of(rename(at("mem/800000"), at("mem/900000"))), ENOENT);
}

TEST_F(Mem, RmUnmapsAndWhoHasItOpenKeepsTheBytes) {
    good(write(at("mem/600000"), "hello"));
    auto file = open(at("mem/600000"), {.read = true, .write = true});
    good(remove(at("mem/600000")));
    EXPECT_THAT(body(process).pages, IsEmpty());
    EXPECT_EQ(good(file.read()), "hello");
    EXPECT_EQ(file.write("world and more"), 14U);
    EXPECT_EQ(errno_of(remove(at("mem/600000"))), ENOENT);
    EXPECT_THAT(process->error, HasSubstr("rm: "));
}

TEST_F(Mem, ATruncatingOpenEmptiesTheRegionButKeepsItsPlace) {
    good(write(at("mem/600000"), "hello"));
    const auto file = open(at("mem/600000"), {.write = true, .truncate = true});
    EXPECT_EQ(good(find(at("mem/600000"))).size, 0U);
    EXPECT_EQ(errno_of(run(tree.create(request, id(at("mem")), "600000", 0600, for_writing))),
              EEXIST);
}

TEST_F(Mem, TheVdsoIsReadAndNeverWritten) {
    good(run(process->memory.map_vdso(core::Address{0x700000})));
    EXPECT_EQ(good(read(at("mem/701000"))).size(), core::page_size);
    request.who = {0, 0};
    EXPECT_EQ(errno_of(try_open(at("mem/701000"), for_writing)), EACCES);
}

TEST_F(Mem, ASharedFileIsWrittenThroughTheChild) {
    core::Mapping mapping;
    mapping.at = core::Address{0x600000};
    mapping.length = core::page_size;
    mapping.protection = core::Protection{true, true, false};
    mapping.shared = true;
    mapping.source = core::Mapping::File{"/bin/sh", 0};
    good(run(process->memory.map(mapping)));
    auto file = open(at("mem/600000"), {.read = true, .write = true});
    EXPECT_EQ(file.write("xy", 0xffe), 2U);
    EXPECT_EQ(file.write("xy", 0xfff), 1U) << "as far as it goes";
    EXPECT_EQ(errno_of(file.write("x", 0x1000)), ENOSPC);
    EXPECT_THAT(host.calls, Contains("poke 600ffe xy"));
    EXPECT_EQ(good(file.read(7, 0)), "program");
    EXPECT_EQ(good(file.read(7, 0x1000)), "");
}

TEST_F(Mem, WhereTheKernelCannotServeMemoryRegionsAreLinksToTheDaemon) {
    Options options;
    options.memory_links = "/proc/42/fd/";
    Tree linked(registry, std::move(options));
    good(write(at("mem/600000"), "hello"));
    const auto found = good(run(linked.find(request, id(at("mem")), "600000")));
    EXPECT_EQ(found.type, Type::link);
    EXPECT_EQ(good(run(linked.link_target(request, found.id))),
              fmt::format("/proc/42/fd/{}", region(0x600000).object->number()));
    linked.serve_memory_itself();
    EXPECT_EQ(good(run(linked.find(request, id(at("mem")), "600000"))).type, Type::file);
}

TEST_F(Mem, ManyHandlesAreCountedUntilTheyAreClosed) {
    good(write(at("mem/600000"), "hello"));
    {
        const auto first = open(at("mem/600000"));
        const auto second = open(at("mem/600000"));
        EXPECT_EQ(region(0x600000).object->handles, 2);
    }
    EXPECT_EQ(region(0x600000).object->handles, 0);
}

// ---------------------------------------------------------------------------------------------
// fd/

struct Fd : Directories {
    std::string target(const std::string& name) { return good(link_target(at("fd/" + name))); }
};

TEST_F(Fd, ALinkToAStandardStreamHandsItOver) {
    good(symlink("/dev/stdout", at("fd/1")));
    EXPECT_EQ(list(at("fd")), (Listing{{"1", "l777"}}));
    EXPECT_EQ(target("1"), "pipe:[1]");
    EXPECT_THAT(host.calls, Contains("take 1000 7 1"));
}

TEST_F(Fd, ALinkThatReplacesIsPendingAndThenOpened) {
    good(symlink("/bin/sh", at("fd/0")));
    good(replace_link("/bin/echo", at("fd/0")));
    EXPECT_EQ(target("0"), "/bin/echo");
    EXPECT_THAT(process->pending_links, IsEmpty());
}

TEST_F(Fd, NamesAreNumbersWithoutZerosInFront) {
    for (const auto* const name : {"01", "-1", "x", "1 ", "00000001", "temporary"})
        EXPECT_EQ(errno_of(symlink("/bin/sh", at("fd/") + name)), EINVAL) << name;
    EXPECT_EQ(errno_of(find(at("fd/01"))), ENOENT);
    EXPECT_EQ(errno_of(symlink("/bin/sh", at("fd/16777216"))), EMFILE);
}

TEST_F(Fd, LnDuplicatesAlsoIntoAnotherProcess) {
    good(symlink("/bin/sh", at("fd/3")));
    good(hard_link(at("fd/3"), at("fd/4")));
    good(hard_link(at("fd/3"), there("fd/0")));
    EXPECT_EQ(body(process).open_descriptors.at(3), body(other).open_descriptors.at(0));
    EXPECT_EQ(body(process).open_descriptors.at(3), body(process).open_descriptors.at(4));
    EXPECT_EQ(errno_of(hard_link(at("status"), at("fd/5"))), EXDEV);
}

TEST_F(Fd, ARegionLinkedHereIsADescriptorOfSharedMemory) {
    good(write(at("mem/600000"), "hello"));
    good(hard_link(at("mem/600000"), there("fd/3")));
    EXPECT_EQ(body(other).open_descriptors.at(3), region(0x600000).object);
    EXPECT_TRUE(region(0x600000).shared);
}

TEST_F(Fd, MvMovesAndReplacesUnlessToldNotTo) {
    good(symlink("/bin/sh", at("fd/3")));
    good(symlink("/bin/echo", at("fd/4")));
    EXPECT_EQ(errno_of(rename(at("fd/3"), at("fd/4"), false)), EEXIST);
    good(rename(at("fd/3"), at("fd/4")));
    good(rename(at("fd/4"), at("fd/4")));
    EXPECT_EQ(target("4"), "/bin/sh");
    EXPECT_EQ(errno_of(find(at("fd/3"))), ENOENT);
}

TEST_F(Fd, RmClosesAndWhatIsNotOpenIsRefused) {
    good(symlink("/bin/sh", at("fd/3")));
    good(remove(at("fd/3")));
    EXPECT_THAT(list(at("fd")), IsEmpty());
    EXPECT_NE(errno_of(remove(at("fd/3"))), 0);
    EXPECT_THAT(process->error, HasSubstr("rm: "));
}

TEST_F(Fd, ANumberAboveTheLimitIsExplained) {
    host.fail_at(1, std::errc::bad_file_descriptor);
    EXPECT_EQ(errno_of(symlink("/bin/sh", at("fd/5000"))), EBADF);
    EXPECT_THAT(process->error, HasSubstr("is 5000 above the limit"));
}

// ---------------------------------------------------------------------------------------------
// env/

using Env = Directories;

TEST_F(Env, AFileIsAVariableWithExactlyItsBytes) {
    good(write(at("env/A"), "x y\n"));
    EXPECT_EQ(list(at("env")), (Listing{{"A", "-600"}}));
    EXPECT_EQ(good(read(at("env/A"))), "x y\n");
    EXPECT_EQ(process->environment.value_of("A"), "x y");
    good(write(at("env/A"), ""));
    EXPECT_EQ(good(find(at("env/A"))).size, 0U);
}

TEST_F(Env, WritesGoWhereTheyAreMeantAndLeaveNoHoles) {
    good(write(at("env/A"), "hello"));
    auto file = open(at("env/A"), for_writing);
    EXPECT_EQ(file.write("XYZ", 3), 3U);
    EXPECT_EQ(good(read(at("env/A"))), "helXYZ");
    EXPECT_EQ(errno_of(file.write("x", 7)), EINVAL);
    EXPECT_EQ(errno_of(file.write(std::string(1U << 20U, 'x'), 1)), E2BIG);
    EXPECT_EQ(errno_of(file.write(std::string("\0", 1), 0)), EINVAL);
    good(change(at("env/A"), to_size(2)));
    EXPECT_EQ(good(read(at("env/A"))), "he");
    EXPECT_EQ(errno_of(change(at("env/A"), to_size(3))), EINVAL);
}

TEST_F(Env, RmMvAndNamesThatCannotBe) {
    good(write(at("env/A"), "1"));
    good(write(at("env/B"), "2"));
    EXPECT_EQ(errno_of(rename(at("env/A"), at("env/B"), false)), EEXIST);
    good(rename(at("env/A"), at("env/B")));
    good(rename(at("env/B"), there("env/C")));
    EXPECT_EQ(good(read(there("env/C"))), "1");
    EXPECT_THAT(list(at("env")), IsEmpty());
    EXPECT_EQ(errno_of(remove(at("env/B"))), ENOENT);
    EXPECT_EQ(errno_of(write(at("env/A=B"), "x")), EINVAL);
}

TEST_F(Env, AFileThatWasRemovedIsNotWrittenBack) {
    good(write(at("env/A"), "1"));
    auto file = open(at("env/A"), {.read = true, .write = true});
    good(remove(at("env/A")));
    EXPECT_EQ(errno_of(file.write("x")), ENOENT);
    EXPECT_EQ(errno_of(file.read()), ENOENT);
}

// ---------------------------------------------------------------------------------------------
// After start

TEST_F(Directories, NothingIsBuiltAnyMoreAfterStart) {
    good(write(at("mem/600000"), "x"));
    good(write(at("env/A"), "x"));
    good(symlink("/bin/sh", at("fd/3")));
    auto variable = open(at("env/A"), for_writing);
    good(run(process->exec("/bin/sh", {})));
    EXPECT_THAT(list(at("mem")), IsEmpty()) << "memory is the program's own now";
    EXPECT_EQ(errno_of(run(tree.create(request, id(at("mem")), "800000", 0600, for_writing))),
              EPERM);
    EXPECT_EQ(errno_of(symlink("/bin/sh", at("fd/4"))), EPERM);
    EXPECT_EQ(errno_of(remove(at("fd/3"))), EPERM);
    EXPECT_EQ(errno_of(rename(at("fd/3"), at("fd/4"))), EPERM);
    EXPECT_EQ(errno_of(hard_link(at("fd/3"), there("fd/3"))), EPERM);
    EXPECT_EQ(errno_of(write(at("env/A"), "y")), EPERM);
    EXPECT_EQ(errno_of(variable.write("y")), EPERM);
    EXPECT_EQ(errno_of(remove(at("env/A"))), EPERM);
    EXPECT_EQ(errno_of(replace_link("/tmp", at("cwd"))), EPERM);
    EXPECT_EQ(errno_of(write(at("args"), "x")), EPERM);
    EXPECT_EQ(errno_of(write(at("regs"), "rdi 1")), EPERM);
    EXPECT_EQ(errno_of(write(at("maps"), "600000-601000 rw-p 0 00:00 0")), EPERM);
    EXPECT_EQ(list(at("fd")).size(), 1U);
}

TEST_F(Directories, ASharedRegionStaysInViewAfterEntryButKeepsItsLength) {
    good(write(at("mem/600000"), "x"));
    good(change(at("mem/600000"), to_mode(01700)));
    good(write(at("mem/700000"), "private"));
    good(run(process->enter({{"pc", 0x600000}})));
    EXPECT_EQ(list(at("mem")), (Listing{{"600000", "-1700"}}));
    EXPECT_EQ(errno_of(try_open(at("mem/600000"), {.write = true, .truncate = true})), EPERM);
    auto file = open(at("mem/600000"), {.read = true, .write = true});
    EXPECT_EQ(file.write("y"), 1U);
    EXPECT_EQ(errno_of(remove(at("mem/600000"))), EPERM);
}

}  // namespace
}  // namespace proc9::node
