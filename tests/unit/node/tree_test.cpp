#include "fs/node/tree.hpp"

#include <nlohmann/json.hpp>

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
using testing::Key;
using testing::MatchesRegex;
using testing::Not;
using Listing = std::map<std::string, std::string>;

TEST(NodeId, IsReadBackFromItsNumber) {
    for (const std::uint32_t process : {0U, 1U, 0xffffffffU}) {
        for (const Kind kind : {Kind::root, Kind::wait, Kind::pending_link}) {
            for (const std::uint32_t item : {0U, 1U, 0xffffffU}) {
                const auto back = NodeId::unpack(NodeId{process, kind, item}.pack());
                EXPECT_EQ(back.process, process);
                EXPECT_EQ(back.kind, kind);
                EXPECT_EQ(back.item, item);
            }
        }
    }
    EXPECT_EQ(root_id.pack(), 1U) << "what FUSE calls the root";
}

struct TreeTest : testing::Test, Grove {
    core::ProcessRef process = make("hello");
    [[nodiscard]] std::string at(std::string_view name) const { return path_of(process, name); }
};

TEST_F(TreeTest, TheRootHoldsItsFilesAndAProcessWithItsName) {
    EXPECT_EQ(list(""), (Listing{{"ctl", "-666"},
                                 {"clone", "-666"},
                                 {"help", "-444"},
                                 {"stats.json", "-444"},
                                 {"error", "-444"},
                                 {"hello", "l777"},
                                 {std::to_string(process->id()), "d555"}}));
    EXPECT_EQ(good(link_target("hello")), std::to_string(process->id()));
}

TEST_F(TreeTest, AProcessHoldsTheseFiles) {
    EXPECT_EQ(list(std::to_string(process->id())), (Listing{{"ctl", "-600"},
                                                            {"status", "-400"},
                                                            {"status.json", "-400"},
                                                            {"process.json", "-600"},
                                                            {"maps", "-600"},
                                                            {"mem", "d700"},
                                                            {"fd", "d700"},
                                                            {"env", "d700"},
                                                            {"args", "-600"},
                                                            {"cwd", "l777"},
                                                            {"root", "l777"},
                                                            {"exe", "l777"},
                                                            {"ns", "d700"},
                                                            {"limits", "-600"},
                                                            {"task", "d700"},
                                                            {"regs", "-600"},
                                                            {"note", "-600"},
                                                            {"wait", "-400"},
                                                            {"error", "-400"}}));
}

TEST_F(TreeTest, SelfIsThereForThoseThatWereMadeHere) {
    EXPECT_EQ(errno_of(find("self")), ENOENT);
    request.thread = process->id();
    EXPECT_THAT(list(""), Contains(Key("self")));
    EXPECT_EQ(good(link_target("self")), std::to_string(process->id()));
}

TEST_F(TreeTest, WhatIsNotThereIsEnoentAndAFileIsNoDirectory) {
    for (const auto& path : {std::string("nothing"), "0" + std::to_string(process->id()),
                             at("nothing"), at("mem/600000"), at("fd/0"), at("fd/x"), at("env/A")})
        EXPECT_EQ(errno_of(find(path)), ENOENT) << path;
    EXPECT_EQ(errno_of(find("help/x")), ENOTDIR);
    EXPECT_EQ(errno_of(run(tree.open(request, id(at("mem")), for_reading))), EISDIR);
}

TEST_F(TreeTest, AStaleNumberNeverHitsAnotherProcess) {
    const NodeId stale = id(at("status"));
    const NodeId place = id(at("mem"));
    registry.remove(process);
    make("hello");
    EXPECT_EQ(errno_of(run(tree.open(request, stale, for_reading))), ENOENT);
    EXPECT_EQ(errno_of(run(tree.attributes(request, stale))), ENOENT);
    EXPECT_EQ(errno_of(run(tree.create(request, place, "600000", 0600, for_writing))), ENOENT);
}

TEST_F(TreeTest, MkdirIsEforkAndRmdirEndsIt) {
    const auto made = good(run(tree.make_directory(request, root_id, "new")));
    EXPECT_EQ(made.type, Type::directory);
    EXPECT_EQ(registry.by_name("new")->serial, made.id.process);
    EXPECT_EQ(errno_of(run(tree.make_directory(request, root_id, "new"))), EEXIST);
    EXPECT_THAT(good(read("error")), HasSubstr("mkdir: the name \"new\" is in use by process "));
    good(run(tree.remove_directory(request, root_id, "new")));
    EXPECT_EQ(errno_of(find("new")), ENOENT);
}

TEST_F(TreeTest, RmdirOfARunningProcessIsBusyAndOfAnExitedOneReapsIt) {
    good(run(process->exec("/bin/sh", {})));
    const auto number = std::to_string(process->id());
    EXPECT_EQ(errno_of(run(tree.remove_directory(request, root_id, number))), EBUSY);
    EXPECT_THAT(good(read(at("error"))), HasSubstr("rmdir: "));
    body(process).exit({});
    EXPECT_EQ(errno_of(run(tree.remove_directory(request, root_id, number))), 0);
    EXPECT_EQ(errno_of(find(number)), ENOENT);
}

TEST_F(TreeTest, ANameIsMovedAndRemovedWithoutItsProcess) {
    good(run(tree.rename(request, root_id, "hello", root_id, "world", true)));
    EXPECT_EQ(process->name, "world");
    good(run(tree.remove(request, root_id, "world")));
    EXPECT_EQ(process->name, "");
    EXPECT_EQ(errno_of(run(tree.remove(request, root_id, "ctl"))), EPERM);
    EXPECT_EQ(errno_of(run(tree.rename(request, root_id, "ctl", root_id, "x", true))), EPERM);
}

TEST_F(TreeTest, FilesThatBelongToTheTreeCannotBeMadeOrTaken) {
    EXPECT_EQ(errno_of(run(tree.create(request, root_id, "x", 0600, for_writing))), EPERM);
    EXPECT_EQ(errno_of(symlink("x", "y")), EPERM);
    EXPECT_EQ(errno_of(remove(at("mem"))), EPERM);
    EXPECT_EQ(errno_of(run(tree.make_directory(request, id(at("mem")), "x"))), EPERM);
    EXPECT_EQ(errno_of(rename(at("mem"), at("fd/3"))), EXDEV);
    EXPECT_EQ(errno_of(change(at("status"), to_mode(0777))), EPERM);
    EXPECT_EQ(errno_of(change(at("status"), to_owner({0, 0}))), EPERM);
    EXPECT_EQ(errno_of(change(at("status"), to_owner(request.who))), 0);
    EXPECT_EQ(errno_of(change(at("ctl"), to_size(0))), 0) << "> opens with O_TRUNC";
}

// ---------------------------------------------------------------------------------------------
// cwd, root, and links that replace links

TEST_F(TreeTest, LnReplacesCwdAndRoot) {
    good(replace_link("/tmp", at("cwd")));
    good(replace_link("/srv", at("root")));
    EXPECT_EQ(good(link_target(at("cwd"))), "/tmp");
    EXPECT_EQ(good(link_target(at("root"))), "/srv");
    EXPECT_THAT(process->pending_links, IsEmpty());
    EXPECT_EQ(errno_of(link_target(at("exe"))), ENOENT);
}

TEST_F(TreeTest, LnThatRemovesFirstWorksToo) {
    good(remove(at("cwd")));
    EXPECT_EQ(errno_of(find(at("cwd"))), ENOENT);
    EXPECT_THAT(list(std::to_string(process->id())), Not(Contains(Key("cwd"))));
    good(symlink("/tmp", at("cwd")));
    EXPECT_EQ(good(link_target(at("cwd"))), "/tmp");
}

TEST_F(TreeTest, APendingLinkCanBeSeenAndRemovedAndReplacesNothingElse) {
    good(symlink("/tmp", at("Cuab12XY")));
    EXPECT_EQ(good(find(at("Cuab12XY"))).type, Type::link);
    EXPECT_EQ(errno_of(rename(at("Cuab12XY"), at("exe"))), EPERM);
    good(remove(at("Cuab12XY")));
    EXPECT_EQ(errno_of(find(at("Cuab12XY"))), ENOENT);
    for (const auto* const name : {"temporary", "Cuab-2XY", "Cuab12X", "cwdd"})
        EXPECT_EQ(errno_of(symlink("/tmp", at(name))), EPERM) << name;
}

TEST_F(TreeTest, OnlySoManyLinksArePendingAtATime) {
    for (int i = 0; i < 64; ++i) good(symlink("/tmp", at(fmt::format("Cu{:06}", i))));
    EXPECT_EQ(errno_of(symlink("/tmp", at("Cuabcdef"))), ENOSPC);
    good(remove(at("Cu000000")));
    good(symlink("/tmp", at("Cuabcdef")));
}

TEST_F(TreeTest, ALinkThatIsRefusedLeavesTheOldOne) {
    host.fail_at(1, std::errc::no_such_file_or_directory);
    EXPECT_EQ(errno_of(replace_link("/nowhere", at("cwd"))), ENOENT);
    EXPECT_EQ(good(link_target(at("cwd"))), "/");
    EXPECT_THAT(good(read(at("error"))), HasSubstr("told to fail"));
}

// ---------------------------------------------------------------------------------------------
// Texts

TEST_F(TreeTest, StatusSaysWhatIsThere) {
    good(write(at("mem/600000"), "x"));
    const auto text = good(read(at("status")));
    EXPECT_THAT(text, HasSubstr("Name:\thello\n"));
    EXPECT_THAT(text, HasSubstr("State:\tembryo\n"));
    EXPECT_THAT(text, HasSubstr("Creator:\t7\n"));
    EXPECT_THAT(text, HasSubstr("Regions:\t1\n"));
    body(process).exit({"exit 3", 0, 0});
    EXPECT_THAT(good(read(at("status"))), HasSubstr("Exit:\t'exit 3'\nThreads:\t0\n"));
}

TEST_F(TreeTest, StatusJsonIsJsonInEveryState) {
    process->arguments = {"\xff"};
    for (const auto* const state : {"embryo", "running", "exited"}) {
        if (process->state() == core::Process::State::running) body(process).exit({"exit 3", 5, 6});
        if (state == std::string("running")) good(run(process->exec("/bin/sh", {})));
        const auto object = nlohmann::json::parse(good(read(at("status.json"))));
        EXPECT_EQ(object["state"], state);
        EXPECT_EQ(object["owner"]["uid"], 1000);
        EXPECT_EQ(object["exit"].is_null(), state != std::string("exited"));
    }
}

TEST_F(TreeTest, StatsCountAndCarryTheFiguresOfTheSystem) {
    Options options;
    options.figures = [] { return std::string(R"({"pooled": 3})"); };
    Tree other(registry, std::move(options));
    File file(request, good(run(other.open(request, id("stats.json"), for_reading))));
    const auto object = nlohmann::json::parse(good(file.read()));
    EXPECT_EQ(object["eforks"], 1);
    EXPECT_EQ(object["processes"]["embryo"], 1);
    EXPECT_EQ(object["pooled"], 3);
}

TEST_F(TreeTest, HelpNamesEveryCommandAndEveryFile) {
    const auto text = good(read("help"));
    for (const auto& command : ctl::commands())
        EXPECT_THAT(text, HasSubstr("  " + ctl::usage(command) + " "));
    for (const auto& row : process_files())
        EXPECT_THAT(text, HasSubstr(fmt::format("  N/{} ", row.name)));
}

TEST_F(TreeTest, ALineOfMapsMapsIt) {
    good(write(at("maps"), "600000-602000 rw-p 00000000 00:00 0\n"
                           "700000-701000 r-xp 00001000 fe:00 12   /bin/sh\n"
                           "800000-801000 rw-s 00000000 00:01 9 /memfd:proc9 (deleted)\n"
                           "ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0 [vsyscall]\n"));
    EXPECT_EQ(list(at("mem")),
              (Listing{{"600000", "-600"}, {"700000", "-500"}, {"800000", "-1600"}}));
    EXPECT_THAT(host.calls, Contains("map 700000 1000 r-xp /bin/sh 1000"));
    EXPECT_THAT(good(read(at("maps"))), HasSubstr("600000-602000 rw-p"));
}

TEST_F(TreeTest, TheKernelsPagesOfAMapsFileAreMappedOnce) {
    good(write(at("maps"), "700000-701000 r--p 00000000 00:00 0 [vvar]\n"
                           "701000-702000 r-xp 00000000 00:00 0 [vdso]\n"));
    EXPECT_EQ(std::count(host.calls.begin(), host.calls.end(), "vdso 700000"), 1);
}

TEST_F(TreeTest, WhatIsNoLineOfMapsIsRefused) {
    for (const auto* const line :
         {"600000", "600000-600000 rw-p 0 00:00 0", "600000-601000 rw- 0 00:00 0",
          "-1000 rw-p 0 0:0 0", "600001-602000 rw-p 0 00:00 0", "600000-600800 rw-p 0 00:00 0",
          "602000-601000 rw-p 0 0:0 0", "600000-601000 rw-p 800 00:00 0 /bin/sh",
          "6000000000000000000-1 rw-p 0 0:0 0", "0-fffffffffffff000 rw-p 0 00:00 0",
          "x-y rw-p 0 0:0 0"})
        EXPECT_NE(errno_of(write(at("maps"), line)), 0) << line;
    EXPECT_THAT(list(at("mem")), IsEmpty());
    EXPECT_THAT(good(read(at("error"))), HasSubstr("maps: "));
}

TEST_F(TreeTest, ArgumentsAndRegistersReadBackAsTheyWereWritten) {
    good(write(at("args"), "echo 'a b' \"c\\n\"\n"));
    EXPECT_EQ(good(read(at("args"))), "echo 'a b' \"c\\x0a\"\n");
    good(write(at("regs"), "rdi 0x2a\n\nrax 7\n"));
    EXPECT_EQ(good(read(at("regs"))), "rax 0x7\nrdi 0x2a\nrsi 0x0\nrsp 0x0\nrip 0x0\n");
    EXPECT_EQ(errno_of(write(at("regs"), "rfl 1\n")), EINVAL);
}

TEST_F(TreeTest, ANoteIsASignal) {
    good(write(at("note"), "HUP\n"));
    good(write(at("note"), "\n"));
    EXPECT_THAT(host.calls, Contains("signal 1").Times(1));
    EXPECT_EQ(errno_of(write(at("note"), "LOUD")), EINVAL);
}

// ---------------------------------------------------------------------------------------------
// Every file of the table

}  // namespace

void PrintTo(const FileRow& row, std::ostream* stream) { *stream << row.name; }

namespace {

class EveryFile : public testing::TestWithParam<FileRow>, public Grove {
protected:
    core::ProcessRef process = make("hello");

    [[nodiscard]] bool is_of_root() const {
        return file_row(GetParam().kind)->kind < Kind::process;
    }
    [[nodiscard]] std::string path() const {
        return is_of_root() ? std::string(GetParam().name) : path_of(process, GetParam().name);
    }
    void expect_readable() {
        const auto found = good(find(path()));
        if (GetParam().type == Type::directory) {
            EXPECT_EQ(errno_of(tree.list(request, found.id)), 0);
        } else if (GetParam().type == Type::link) {
            (void)link_target(path());
        } else if (GetParam().text) {
            EXPECT_EQ(good(read(path())).size(), found.size) << "cat reads as much as stat says";
        } else if (GetParam().kind == Kind::note) {
            EXPECT_EQ(errno_of(try_open(path(), for_reading)), EACCES);
        }
    }
};

TEST_P(EveryFile, IsFoundWithItsModeAndIsReadAsAnEmbryo) {
    if (GetParam().kind == Kind::self) request.thread = process->id();
    const auto found = good(find(path()));
    EXPECT_EQ(found.mode, GetParam().mode);
    EXPECT_EQ(found.type, GetParam().type);
    EXPECT_EQ(found.owner, is_of_root() ? core::Identity{} : request.who);
    EXPECT_EQ(good(run(tree.attributes(request, found.id))).mode, GetParam().mode);
    expect_readable();
}

TEST_P(EveryFile, IsReadOfARunningAndCannotCrashOfAnExitedProcess) {
    if (GetParam().kind == Kind::self) request.thread = process->id();
    good(run(process->exec("/bin/sh", {})));
    expect_readable();
    body(process).exit({"exit 3", 0, 0});
    (void)read(path());
    (void)link_target(path());
    const bool is_directory = GetParam().type == Type::directory;
    EXPECT_TRUE(!is_directory || tree.list(request, id(path())));
}

TEST_P(EveryFile, IsWrittenOnlyIfItsModeSaysSo) {
    if (GetParam().type != Type::file) return;
    const bool may = (GetParam().mode & 0222U) != 0;
    EXPECT_EQ(errno_of(try_open(path(), for_writing)), may ? 0 : EACCES);
}

TEST_P(EveryFile, BelowAProcessIsClosedToOthersButNotToRoot) {
    if (is_of_root()) return;
    const auto found = good(find(path()));
    if (GetParam().type == Type::file) {
        const OpenFlags flags = GetParam().mode == 0200 ? for_writing : for_reading;
        EXPECT_EQ(errno_of(run(tree.open(stranger, found.id, flags))), EACCES);
        stranger.who = {0, 0};
        EXPECT_EQ(errno_of(run(tree.open(stranger, found.id, flags))), 0);
    } else if (GetParam().type == Type::link) {
        EXPECT_EQ(errno_of(run(tree.link_target(stranger, found.id))), EACCES);
    } else {
        EXPECT_EQ(errno_of(tree.list(stranger, found.id)), EACCES);
        EXPECT_EQ(errno_of(run(tree.find(stranger, found.id, "1"))), EACCES);
        EXPECT_EQ(errno_of(run(tree.create(stranger, found.id, "1", 0600, for_writing))), EACCES);
        EXPECT_EQ(errno_of(run(tree.make_link(stranger, found.id, "1", "/"))), EACCES);
        EXPECT_EQ(errno_of(run(tree.add(stranger, found.id, "1", found.id))), EACCES);
        EXPECT_EQ(errno_of(run(tree.remove(stranger, found.id, "1"))), EACCES);
        EXPECT_EQ(errno_of(run(tree.rename(stranger, found.id, "1", found.id, "2", true))), EACCES);
    }
    EXPECT_EQ(errno_of(run(tree.change(stranger, found.id, to_size(0)))),
              stranger.who.uid == 0 ? 0 : EACCES);
}

std::vector<FileRow> all_files() {
    std::vector<FileRow> rows(root_files().begin(), root_files().end());
    rows.insert(rows.end(), process_files().begin(), process_files().end());
    return rows;
}

INSTANTIATE_TEST_SUITE_P(Table, EveryFile, testing::ValuesIn(all_files()), [](const auto& row) {
    std::string name = fmt::format("{}_{}", row.index, row.param.name);
    std::replace(name.begin(), name.end(), '.', '_');
    return name;
});

TEST_F(TreeTest, WhatLiesInTheDirectoriesIsClosedToOthersToo) {
    good(write(at("mem/600000"), "x"));
    good(write(at("env/A"), "x"));
    good(symlink("/dev/stdin", at("fd/0")));
    for (const auto* const name : {"mem/600000", "env/A"}) {
        const NodeId file = id(at(name));
        EXPECT_EQ(errno_of(run(tree.open(stranger, file, for_reading))), EACCES) << name;
        EXPECT_EQ(errno_of(run(tree.change(stranger, file, to_size(0)))), EACCES) << name;
        EXPECT_EQ(errno_of(find(stranger, at(name))), EACCES) << name;
    }
    EXPECT_EQ(errno_of(run(tree.link_target(stranger, id(at("fd/0"))))), EACCES);
    const auto theirs = good(run(registry.efork(stranger, "theirs")));
    const NodeId their_mem = good(find(stranger, path_of(theirs, "mem"))).id;
    const NodeId their_fd = good(find(stranger, path_of(theirs, "fd"))).id;
    EXPECT_EQ(errno_of(run(tree.add(stranger, their_mem, "600000", id(at("mem/600000"))))), EACCES);
    EXPECT_EQ(errno_of(run(tree.add(stranger, their_fd, "3", id(at("mem/600000"))))), EACCES);
    EXPECT_EQ(errno_of(run(tree.add(stranger, their_fd, "3", id(at("fd/0"))))), EACCES);
    EXPECT_EQ(errno_of(run(tree.remove_directory(stranger, root_id, "hello"))), EACCES);
    EXPECT_EQ(errno_of(run(tree.remove(stranger, root_id, "hello"))), EACCES);
    EXPECT_EQ(errno_of(run(tree.rename(stranger, root_id, "hello", root_id, "x", true))), EACCES);
}

}  // namespace
}  // namespace proc9::node
