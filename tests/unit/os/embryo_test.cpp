// Real embryos, built and started. The kernel is asked what came of it.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <csignal>
#include <numeric>

#include "daemon/os/procfs.hpp"
#include "daemon/stub/wire.h"
#include "tests/unit/os/machine.hpp"

namespace proc9::os {
namespace {

using core::Address;
using core::done;
using core::Range;
using fake::errno_of;
using fake::good;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr core::OpenMode for_reading{.read = true};
constexpr core::OpenMode for_writing{.write = true, .create = true, .truncate = true};
constexpr core::Protection read_only{true, false, false};
constexpr core::Protection read_write{true, true, false};
constexpr core::Protection read_execute{true, false, true};

constexpr Range pages(std::uint64_t start, std::uint64_t count = 1) {
    return {Address{start}, count * core::page_size};
}

std::vector<std::string> lines_of(core::Embryo& embryo) {
    std::vector<std::string> lines;
    for (const auto& line : good(embryo.maps()))
        lines.push_back(line.text.substr(0, line.text.find(' ') + 5));
    return lines;
}

bool has_gone(core::Pid pid) { return !std::filesystem::exists(fmt::format("/proc/{}", pid)); }

core::Result<core::MemoryRef> memory_with(Machine& machine, std::string_view bytes) {
    auto memory = TRY(machine.host.make_memory());
    TRY(memory->write(bytes, 0));
    return memory;
}

// ---------------------------------------------------------------------------------------------
// Blank

TEST(Embryo, IsARealChildWithoutMemoryOrDescriptors) {
    in_machine([](Machine& machine) -> Task<Result<>> {
        const auto embryo = co_await machine.efork();
        EXPECT_THAT(good(embryo->maps()), IsEmpty());
        EXPECT_THAT(good(embryo->descriptors()), IsEmpty());
        EXPECT_EQ(good(embryo->status())["PPid"], std::to_string(::getpid()));
        EXPECT_EQ(good(embryo->status())["SigIgn"], "0000000000000000");
        EXPECT_EQ(good(embryo->status())["SigBlk"], "0000000000000000");
        co_return done();
    });
}

TEST(Embryo, DiesWithItsObject) {
    in_machine([](Machine& machine) -> Task<Result<>> {
        auto embryo = co_await machine.efork();
        const auto pid = embryo->pid();
        embryo.reset();
        co_await machine.until([pid] { return has_gone(pid); });
        co_return done();
    });
}

TEST(Embryo, OfAnotherUserCannotBeMade) {
    in_machine([](Machine& machine) -> Task<Result<>> {
        core::Request stranger;
        stranger.who = {::geteuid() + 1, 0};
        const auto refused = co_await machine.host.efork(stranger, {}).result();
        EXPECT_EQ(errno_of(refused), EPERM);
        co_return done();
    });
}

TEST(Embryo, ManyAreMadeAtOnceFromThePoolAndWithoutIt) {
    in_machine(
        [](Machine& machine) -> Task<Result<>> {
            std::vector<EmbryoRef> embryos;
            for (int i = 0; i < 4; ++i) embryos.push_back(co_await machine.efork());
            co_await machine.pool_at_rest(2);
            for (int i = 0; i < 4; ++i) embryos.push_back(co_await machine.efork());
            std::set<core::Pid> pids;
            for (const auto& embryo : embryos) pids.insert(embryo->pid());
            EXPECT_EQ(pids.size(), 8U);
            co_await machine.pool_at_rest(2);
            co_return done();
        },
        2);
}

// ---------------------------------------------------------------------------------------------
// Memory

TEST(Embryo, WhatIsMappedIsWhatTheKernelSays) {
    in_machine([](Machine& machine) -> Task<Result<>> {
        const auto embryo = co_await machine.efork();
        co_await embryo->map(anonymous(0x600000, 3 * core::page_size));
        co_await embryo->unmap(pages(0x601000));
        co_await embryo->protect(pages(0x602000), read_execute);
        EXPECT_THAT(lines_of(*embryo),
                    ElementsAre("00600000-00601000 rw-p", "00602000-00603000 r-xp"));
        co_await embryo->move(pages(0x600000), Address{0x800000});
        EXPECT_THAT(lines_of(*embryo),
                    ElementsAre("00602000-00603000 r-xp", "00800000-00801000 rw-p"));
        co_return done();
    });
}

TEST(Embryo, AMappingInTheWayIsEexistUnlessItIsToBeReplaced) {
    in_machine([](Machine& machine) -> Task<Result<>> {
        const auto embryo = co_await machine.efork();
        co_await embryo->map(anonymous(0x600000, core::page_size));
        EXPECT_EQ(errno_of(co_await embryo->map(anonymous(0x600000, core::page_size)).result()),
                  EEXIST);
        core::Mapping again = anonymous(0x600000, core::page_size);
        again.replace = true;
        EXPECT_EQ(errno_of(co_await embryo->map(again).result()), 0);
        core::Mapping anywhere = anonymous(0, core::page_size);
        anywhere.at.reset();
        const Range there = co_await embryo->map(anywhere);
        EXPECT_NE(there.start.value, 0U);
        EXPECT_EQ(good(embryo->maps()).size(), 2U);
        co_return done();
    });
}

TEST(Embryo, AnObjectIsTheSameMemoryOnBothSides) {
    in_machine([](Machine& machine) -> Task<Result<>> {
        const auto embryo = co_await machine.efork();
        const auto memory = co_await memory_with(machine, "hello");
        core::Mapping shared = of_object(0x600000, memory, read_write);
        shared.shared = true;
        co_await embryo->map(shared);
        EXPECT_EQ(co_await embryo->peek(Address{0x600001}, 4), "ello");
        EXPECT_EQ(co_await embryo->poke(Address{0x600000}, "J"), 1U);
        EXPECT_EQ(good(memory->read(5, 0)), "Jello");
        EXPECT_EQ(errno_of(co_await embryo->peek(Address{0x700000}, 4).result()), EFAULT);
        EXPECT_FALSE(memory->seal()) << "it is mapped writable";
        co_return done();
    });
}

TEST(Embryo, AFileIsMappedWholeWithTheProtectionOfAProgram) {
    in_machine([](Machine& machine) -> Task<Result<>> {
        const auto embryo = co_await machine.efork();
        machine.folder.write("data", std::string(5000, 'd'));
        core::Mapping mapping;
        mapping.at = Address{0x600000};
        mapping.source = core::Mapping::File{machine.folder.path("data"), 0};
        const Range mapped = co_await embryo->map(mapping);
        EXPECT_EQ(mapped.length, 2 * core::page_size);
        EXPECT_THAT(lines_of(*embryo), ElementsAre("00600000-00602000 rw-p"));
        EXPECT_EQ(co_await embryo->peek(Address{0x600000 + 4999}, 2), std::string("d\0", 2));
        mapping.at = Address{0x10000000};
        mapping.source = core::Mapping::File{"/bin/sh", 0};
        co_await embryo->map(mapping);
        EXPECT_THAT(lines_of(*embryo).back(), HasSubstr(" r-xp"));
        mapping.source = core::Mapping::File{"/nothing", 0};
        EXPECT_EQ(errno_of(co_await embryo->map(mapping).result()), ENOENT);
        EXPECT_THAT(good(embryo->descriptors()), IsEmpty());
        co_return done();
    });
}

TEST(Embryo, SavedMemoryKeepsItsBytes) {
    in_machine([](Machine& machine) -> Task<Result<>> {
        const auto embryo = co_await machine.efork();
        co_await embryo->map(anonymous(0x600000, 2 * core::page_size));
        (void)co_await embryo->poke(Address{0x601000}, "hello");
        const auto copy = co_await machine.host.make_memory();
        co_await copy->resize(2 * core::page_size);
        co_await embryo->save(pages(0x600000, 2), copy, 0);
        EXPECT_EQ(good(copy->read(5, core::page_size)), "hello");
        co_return done();
    });
}

TEST(Memory, ItsExtentsAreWhereSomethingWasWritten) {
    in_machine([](Machine& machine) -> Task<Result<>> {
        const auto memory = co_await machine.host.make_memory();
        constexpr std::uint64_t page = core::page_size;
        co_await memory->resize(64 * page + 5);
        EXPECT_TRUE(memory->extents(0, 64 * page).empty());
        co_await memory->write("b", page);
        co_await memory->write("z", 64 * page);
        const auto all = memory->extents(0, 65 * page);
        EXPECT_EQ(all.size(), 2U);
        EXPECT_EQ(all.at(0).offset, page);
        EXPECT_EQ(all.at(0).length, page);
        EXPECT_EQ(all.at(1).offset, 64 * page);
        EXPECT_EQ(memory->extents(2 * page, 3 * page).size(), 0U);
        EXPECT_EQ(memory->extents(page + 10, 10).at(0).length, 10U);
        co_return done();
    });
}

TEST(Embryo, TheVdsoIsMappedWhereItIsAskedFor) {
    in_machine([](Machine& machine) -> Task<Result<>> {
        const auto embryo = co_await machine.efork();
        const auto lines = co_await embryo->map_vdso(Address{0x7000000});
        EXPECT_EQ(lines.front().range.start, Address{0x7000000});
        EXPECT_EQ(lines.back().name, "[vdso]");
        const auto again = co_await embryo->map_vdso(Address{0x7000000}).result();
        EXPECT_NE(errno_of(again), 0);
        EXPECT_EQ(good(embryo->maps()).size(), lines.size());
        co_return done();
    });
}

// ---------------------------------------------------------------------------------------------
// The hidden things make room

TEST(Embryo, TheStubMovesWhenItsPlaceIsWanted) {
    in_machine([](Machine& machine) -> Task<Result<>> {
        const auto embryo = co_await machine.efork();
        for (const std::uint64_t offset : {0ULL, 0x1000ULL, 1ULL << 30U})
            co_await embryo->map(anonymous(PROC9_STUB_BASE + offset, core::page_size));
        EXPECT_EQ(good(embryo->maps()).size(), 2U) << "the first two are neighbours";
        const auto memory = co_await memory_with(machine, "hello");
        co_await embryo->map(of_object(PROC9_STUB_BASE + 0x5000, memory, read_only));
        EXPECT_EQ(co_await embryo->peek(Address{PROC9_STUB_BASE + 0x5000}, 5), "hello");
        co_return done();
    });
}

TEST(Embryo, UnmappingEverythingLeavesTheStubAlone) {
    in_machine([](Machine& machine) -> Task<Result<>> {
        const auto embryo = co_await machine.efork();
        co_await embryo->map(anonymous(0x600000, core::page_size));
        co_await embryo->unmap(pages(0, core::address_space_end / core::page_size));
        EXPECT_THAT(good(embryo->maps()), IsEmpty());
        co_await embryo->map(anonymous(0x600000, core::page_size));
        co_return done();
    });
}

TEST(Embryo, TheLinkMovesWhenItsNumberIsUsedAndIsNeverSeen) {
    in_machine([](Machine& machine) -> Task<Result<>> {
        const auto embryo = co_await machine.efork();
        EXPECT_EQ(errno_of(embryo->take_descriptor(PROC9_LINK)), EBADF);
        EXPECT_EQ(errno_of(co_await embryo->close(PROC9_LINK).result()), EBADF);
        for (int number = PROC9_LINK; number < PROC9_LINK + 3; ++number)
            co_await embryo->open(number, "/dev/null", for_reading, 0);
        EXPECT_THAT(good(embryo->descriptors()), ElementsAre(63, 64, 65));
        EXPECT_EQ(good(embryo->descriptor_target(63)), "/dev/null");
        EXPECT_EQ(errno_of(co_await embryo->duplicate(66, 0).result()), EBADF);
        co_await embryo->duplicate(63, 66);
        EXPECT_THAT(good(embryo->descriptors()), ElementsAre(63, 64, 65, 66));
        co_return done();
    });
}

// ---------------------------------------------------------------------------------------------
// Descriptors and settings

TEST(Embryo, OpensDuplicatesClosesAndSaysTheKernelsErrors) {
    in_machine([](Machine& machine) -> Task<Result<>> {
        const auto embryo = co_await machine.efork();
        EXPECT_EQ(errno_of(co_await embryo->open(0, "/nothing", for_reading, 0).result()), ENOENT);
        EXPECT_EQ(errno_of(co_await embryo->open(0, "/", for_writing, 0).result()), EISDIR);
        EXPECT_EQ(errno_of(co_await embryo->close(0).result()), EBADF);
        co_await embryo->open(5, "/dev/null", for_reading, 0);
        co_await embryo->duplicate(5, 0);
        co_await embryo->close(5);
        EXPECT_THAT(good(embryo->descriptors()), ElementsAre(0));
        EXPECT_EQ(errno_of(co_await embryo->set_close_on_exec(7, true).result()), EBADF);
        co_await embryo->set_close_on_exec(0, true);
        const auto info = co_await procfs::descriptor_info(embryo->pid(), 0);
        EXPECT_NE(info.flags & O_CLOEXEC, 0);
        co_return done();
    });
}

TEST(Embryo, GetsTheVeryDescriptorThatIsInstalled) {
    in_machine([](Machine& machine) -> Task<Result<>> {
        const auto embryo = co_await machine.efork();
        auto ends = co_await machine.host.make_pipe();
        co_await embryo->install(1, ends.second, false);
        const auto taken = co_await embryo->take_descriptor(1);
        EXPECT_EQ(::write(taken->number(), "x", 1), 1);
        char c = 0;
        EXPECT_EQ(::read(ends.first->number(), &c, 1), 1);
        EXPECT_EQ(c, 'x');
        co_return done();
    });
}

using Numbers = std::vector<int>;

// A file of its own at each number.
Task<Result<std::map<int, std::string>>> install_all(Machine& machine, core::Embryo& embryo,
                                                     const Numbers& numbers) {
    std::map<int, std::string> installed;
    std::vector<core::Numbered> handed;
    for (const int n : numbers) {
        const auto end = (co_await machine.host.make_pipe()).first;
        installed[n] = good(procfs::link(::getpid(), fmt::format("fd/{}", end->number())));
        handed.push_back({n, end});
    }
    co_await embryo.install(std::move(handed), false);
    co_return std::move(installed);
}

std::map<int, std::string> descriptors_of(core::Embryo& embryo) {
    std::map<int, std::string> found;
    for (const int n : good(embryo.descriptors())) found[n] = good(embryo.descriptor_target(n));
    return found;
}

Numbers more_than_a_message_takes() {
    Numbers numbers(40);
    std::iota(numbers.begin(), numbers.end(), 40);
    return numbers;
}

const std::vector<Numbers> ways_to_be_there = {{}, {0}, {1}, {0, 1, 2}, {2, 4, 62, 63}};
const std::vector<Numbers> ways_to_come = {
    {0, 1, 2}, {2, 1, 0}, {1, 2, 3}, {5, 1, 63, 0}, more_than_a_message_takes()};

Numbers all_up_to_fifty() {
    Numbers numbers(49);
    std::iota(numbers.begin(), numbers.end(), 1);
    return numbers;
}

const core::Setting at_most_fifty = {"limit", {"NOFILE", "50"}};
const Numbers beyond_fifty = {3, 49, 50, 4, 5};

// They arrive at the lowest free numbers, which are where others belong, or what is to be replaced.
TEST(Embryo, ManyDescriptorsComeToTheirNumbersWhateverIsThere) {
    in_machine([](Machine& machine) -> Task<Result<>> {
        for (const auto& there : ways_to_be_there) {
            for (const auto& numbers : ways_to_come) {
                const auto embryo = co_await machine.efork();
                for (const int n : there) co_await embryo->open(n, "/dev/null", for_reading, 0);
                auto expected = co_await install_all(machine, *embryo, numbers);
                for (const int n : there) expected.emplace(n, "/dev/null");
                EXPECT_EQ(descriptors_of(*embryo), expected);
            }
        }
        co_return done();
    });
}

TEST(Embryo, ManyDescriptorsComeWhereThereIsRoomForOne) {
    in_machine([](Machine& machine) -> Task<Result<>> {
        const auto embryo = co_await machine.efork();
        co_await embryo->open(0, "/dev/null", for_reading, 0);
        co_await embryo->apply(at_most_fifty);
        auto expected = co_await install_all(machine, *embryo, all_up_to_fifty());
        expected.emplace(0, "/dev/null");
        EXPECT_EQ(descriptors_of(*embryo), expected);
        co_return done();
    });
}

TEST(Embryo, OfManyDescriptorsThoseBehindARefusedOneLeaveNothing) {
    in_machine([](Machine& machine) -> Task<Result<>> {
        const auto embryo = co_await machine.efork();
        co_await embryo->apply(at_most_fifty);
        const auto refused = co_await install_all(machine, *embryo, beyond_fifty).result();
        EXPECT_EQ(errno_of(refused), EBADF);
        EXPECT_THAT(good(embryo->descriptors()), ElementsAre(3, 49));
        co_return done();
    });
}

TEST(Embryo, PathsAreSeenFromItsOwnDirectoryAndMask) {
    in_machine([](Machine& machine) -> Task<Result<>> {
        const auto embryo = co_await machine.efork();
        core::Setting directory{"chdir", {machine.folder.path("")}};
        core::Setting mask{"umask", {"027"}};
        core::Setting nowhere{"chdir", {"/nothing"}};
        co_await embryo->apply(directory);
        co_await embryo->apply(mask);
        co_await embryo->open(1, "file", for_writing, 0666);
        const auto attributes = std::filesystem::status(machine.folder.path("file"));
        EXPECT_EQ(static_cast<unsigned>(attributes.permissions()), 0640U);
        EXPECT_EQ(good(embryo->link("cwd")) + "/", machine.folder.path(""));
        EXPECT_EQ(errno_of(co_await embryo->apply(nowhere).result()), ENOENT);
        co_return done();
    });
}

// ---------------------------------------------------------------------------------------------
// exec

TEST(Exec, RunsTheProgramAndTellsItsExit) {
    in_machine([](Machine& machine) -> Task<Result<>> {
        const auto embryo = co_await machine.efork();
        co_await embryo->open(1, machine.folder.path("out"), for_writing, 0600);
        co_await embryo->map(anonymous(0x600000, core::page_size));
        core::Program echo = shell("echo $A; exit 3");
        echo.environment.emplace_back("A=hello");
        co_await embryo->exec(echo);
        const auto status = co_await machine.exit_of(*embryo);
        EXPECT_EQ(status.text, "exit 3");
        EXPECT_EQ(machine.folder.read("out"), "hello\n");
        EXPECT_EQ(errno_of(embryo->send_signal(0)), ESRCH);
        co_return done();
    });
}

TEST(Exec, HasNothingOfTheDaemonsAndKeepsOnlyWhatIsNotCloseOnExec) {
    in_machine([](Machine& machine) -> Task<Result<>> {
        const auto embryo = co_await machine.efork();
        co_await embryo->open(1, machine.folder.path("out"), for_writing, 0600);
        co_await embryo->open(0, "/dev/null", for_reading, 0);
        co_await embryo->open(9, "/dev/null", for_reading, 0);
        co_await embryo->set_close_on_exec(9, true);
        co_await embryo->exec(shell("cd /proc/self/fd && echo *; kill -9 $$"));
        const auto status = co_await machine.exit_of(*embryo);
        EXPECT_EQ(status.text, "signal 9 KILL");
        EXPECT_EQ(machine.folder.read("out"), "0 1 2\n") << "2 is the directory that echo * reads";
        co_return done();
    });
}

TEST(Exec, ThatIsRefusedSaysExecvesErrnoAndChangesNothing) {
    in_machine([](Machine& machine) -> Task<Result<>> {
        const auto embryo = co_await machine.efork();
        machine.folder.write("text", "no program");
        std::filesystem::permissions(machine.folder.path("text"),
                                     std::filesystem::perms::owner_all);
        co_await embryo->map(anonymous(0x600000, core::page_size));
        const auto maps = lines_of(*embryo);
        core::Program huge = program("/bin/true");
        huge.environment.assign(300, std::string(100000, 'x'));
        EXPECT_EQ(errno_of(co_await embryo->exec(program("/nothing")).result()), ENOENT);
        EXPECT_EQ(errno_of(co_await embryo->exec(program("/etc/passwd")).result()), EACCES);
        EXPECT_EQ(errno_of(co_await embryo->exec(program(machine.folder.path("text"))).result()),
                  ENOEXEC);
        EXPECT_EQ(errno_of(co_await embryo->exec(huge).result()), E2BIG);
        EXPECT_EQ(lines_of(*embryo), maps);
        co_await embryo->exec(program("/bin/true"));
        const auto status = co_await machine.exit_of(*embryo);
        EXPECT_EQ(status.text, "");
        co_return done();
    });
}

TEST(Exec, TriesCandidatesAsExecvpDoes) {
    in_machine([](Machine& machine) -> Task<Result<>> {
        const auto embryo = co_await machine.efork();
        core::Program searched = shell("exit 4");
        searched.candidates = {"/nothing/sh", "/etc/passwd/sh", "/etc/passwd"};
        EXPECT_EQ(errno_of(co_await embryo->exec(searched).result()), EACCES);
        searched.candidates = {"/nothing/sh", "/nowhere/sh"};
        EXPECT_EQ(errno_of(co_await embryo->exec(searched).result()), ENOENT);
        searched.candidates = {"/nothing/sh", "/etc/passwd", "/bin/sh"};
        co_await embryo->exec(searched);
        const auto status = co_await machine.exit_of(*embryo);
        EXPECT_EQ(status.text, "exit 4");
        co_return done();
    });
}

TEST(Exec, PassesMoreThanTheStubsBufferHolds) {
    in_machine([](Machine& machine) -> Task<Result<>> {
        const auto embryo = co_await machine.efork();
        const std::string big(100000, 'x');
        core::Program compare = shell(R"(test "$1" = "$B" && test ${#B} = 100000)");
        compare.arguments.emplace_back("sh");
        compare.arguments.push_back(big);
        compare.environment.push_back("B=" + big);
        co_await embryo->exec(compare);
        const auto status = co_await machine.exit_of(*embryo);
        EXPECT_EQ(status.text, "");
        co_return done();
    });
}

// ---------------------------------------------------------------------------------------------
// entry

// mov $231, %eax; syscall: exit_group with what %edi holds
constexpr std::string_view exit_code("\xb8\xe7\x00\x00\x00\x0f\x05", 7);

TEST(Entry, RunsTheMemoryAsBuiltWithTheRegistersAsSet) {
    in_machine([](Machine& machine) -> Task<Result<>> {
        const auto embryo = co_await machine.efork();
        const auto code = co_await memory_with(machine, exit_code);
        co_await embryo->map(of_object(0x600000, code, read_execute));
        co_await embryo->enter(entry_at(0x600000, 42));
        const auto status = co_await machine.exit_of(*embryo);
        EXPECT_EQ(status.text, "exit 42");
        co_return done();
    });
}

TEST(Entry, LeavesNothingOfProc9Behind) {
    in_machine([](Machine& machine) -> Task<Result<>> {
        const auto embryo = co_await machine.efork();
        const auto code = co_await memory_with(machine, "\xeb\xfe");  // jumps to itself
        co_await embryo->map(of_object(0x600000, code, read_execute));
        co_await embryo->enter(entry_at(0x600000));
        const auto lines = co_await procfs::maps(embryo->pid());
        EXPECT_EQ(lines.front().range, pages(0x600000));
        EXPECT_EQ(lines.size() - (lines.back().name == "[vsyscall]" ? 1U : 0U), 1U);
        EXPECT_THAT(good(procfs::numbers(embryo->pid(), "fd")), IsEmpty());
        EXPECT_EQ(good(embryo->status())["TracerPid"], "0");
        co_await embryo->send_signal(SIGTERM);
        const auto status = co_await machine.exit_of(*embryo);
        EXPECT_EQ(status.text, "signal 15 TERM");
        co_return done();
    });
}

TEST(Entry, IntoNothingDiesOfSegv) {
    in_machine([](Machine& machine) -> Task<Result<>> {
        const auto embryo = co_await machine.efork();
        co_await embryo->enter(entry_at(0x600000));
        const auto status = co_await machine.exit_of(*embryo);
        EXPECT_EQ(status.text, "signal 11 SEGV");
        co_return done();
    });
}

// ---------------------------------------------------------------------------------------------
// What can happen meanwhile

// open(2) of a fifo without a writer waits.
struct BlockedOpen {
    BlockedOpen(Machine& machine, core::Embryo& embryo)
        : made(::mkfifo(machine.folder.path("fifo").c_str(), 0600)),
          opening(embryo.open(0, machine.folder.path("fifo"), for_reading, 0)) {}
    int made;
    Beside<Result<>> opening;

    static Task<Result<>> is_asleep(Machine& machine, core::Embryo& embryo) {
        return machine.until([&embryo] {
            const auto call = procfs::read(embryo.pid(), "syscall");
            return call && call->starts_with(std::to_string(SYS_openat) + " ");
        });
    }
    static Task<Result<>> has_ended(Machine& machine, const BlockedOpen& open) {
        return machine.until([&open] { return open.opening.is_done(); });
    }
};

TEST(BlockedOpen, EndsWithEsrchWhenTheEmbryoIsKilled) {
    in_machine([](Machine& machine) -> Task<Result<>> {
        const auto embryo = co_await machine.efork();
        const BlockedOpen open(machine, *embryo);
        co_await BlockedOpen::is_asleep(machine, *embryo);
        co_await embryo->send_signal(SIGKILL);
        co_await BlockedOpen::has_ended(machine, open);
        EXPECT_EQ(errno_of(open.opening.answer()), ESRCH);
        EXPECT_EQ(errno_of(co_await embryo->close(0).result()), ESRCH);
        co_return done();
    });
}

TEST(BlockedOpen, EndsWithEintrWhenItIsInterruptedAndTheEmbryoWorksOn) {
    in_machine([](Machine& machine) -> Task<Result<>> {
        const auto embryo = co_await machine.efork();
        const BlockedOpen open(machine, *embryo);
        co_await BlockedOpen::is_asleep(machine, *embryo);
        embryo->interrupt(true);
        co_await BlockedOpen::has_ended(machine, open);
        embryo->interrupt(false);
        EXPECT_EQ(errno_of(open.opening.answer()), EINTR);
        co_await embryo->open(0, "/dev/null", for_reading, 0);
        EXPECT_EQ(good(embryo->status())["TracerPid"], "0");
        co_return done();
    });
}

TEST(BlockedOpen, EndsWellWhenTheOtherEndComes) {
    in_machine([](Machine& machine) -> Task<Result<>> {
        const auto embryo = co_await machine.efork();
        const BlockedOpen open(machine, *embryo);
        co_await BlockedOpen::is_asleep(machine, *embryo);
        const UniqueFd writer(::open(machine.folder.path("fifo").c_str(), O_WRONLY | O_CLOEXEC));
        co_await BlockedOpen::has_ended(machine, open);
        EXPECT_EQ(errno_of(open.opening.answer()), 0);
        co_return done();
    });
}

TEST(Embryo, AnInterruptionBeforeACallEndsItUnbegunAndTakenBackItDoesNot) {
    in_machine([](Machine& machine) -> Task<Result<>> {
        const auto embryo = co_await machine.efork();
        embryo->interrupt(true);
        EXPECT_EQ(errno_of(co_await embryo->open(0, "/dev/null", for_reading, 0).result()), EINTR);
        EXPECT_THAT(good(embryo->descriptors()), IsEmpty());
        embryo->interrupt(true);
        embryo->interrupt(false);
        EXPECT_EQ(errno_of(co_await embryo->open(0, "/dev/null", for_reading, 0).result()), 0);
        co_return done();
    });
}

TEST(Embryo, StopAndContinueAreSeenWhoeverSentThem) {
    in_machine([](Machine& machine) -> Task<Result<>> {
        const auto embryo = co_await machine.efork();
        EXPECT_FALSE(embryo->is_stopped());
        EXPECT_EQ(::kill(embryo->pid(), SIGSTOP), 0);
        co_await machine.until([&] { return embryo->is_stopped(); });
        EXPECT_EQ(::kill(embryo->pid(), SIGCONT), 0);
        co_await machine.until([&] { return !embryo->is_stopped(); });
        co_await embryo->map(anonymous(0x600000, core::page_size));
        co_return done();
    });
}

// ---------------------------------------------------------------------------------------------
// The zygote

// The living children of this process by that name.
std::vector<core::Pid> children(std::string_view name) {
    std::vector<core::Pid> found;
    for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
        const auto pid = static_cast<core::Pid>(std::atoi(entry.path().filename().c_str()));
        auto status = procfs::status(pid);
        if (pid != 0 && status && (*status)["Name"] == name &&
            !(*status)["State"].starts_with('Z') && (*status)["PPid"] == std::to_string(::getpid()))
            found.push_back(pid);
    }
    return found;
}

TEST(Zygote, ThatWasKilledIsReplacedAndItsChildrenLive) {
    in_machine([](Machine& machine) -> Task<Result<>> {
        const auto first = co_await machine.efork();
        EXPECT_EQ(::kill(children("proc9-zygote").at(0), SIGKILL), 0);
        const auto second = co_await machine.efork();
        co_await first->map(anonymous(0x600000, core::page_size));
        co_await second->map(anonymous(0x600000, core::page_size));
        co_return done();
    });
}

TEST(Zygote, EveryChildOfThePoolMayDieUnnoticed) {
    in_machine(
        [](Machine& machine) -> Task<Result<>> {
            const auto others = children("proc9-stub");
            const auto first = co_await machine.efork();
            co_await machine.pool_at_rest(2);
            for (const auto pid : children("proc9-stub")) {
                const bool is_others = std::find(others.begin(), others.end(), pid) != others.end();
                if (is_others || pid == first->pid()) continue;
                (void)::kill(pid, SIGKILL);
                co_await machine.until([pid] { return has_gone(pid); });
            }
            const auto second = co_await machine.efork();
            co_await second->map(anonymous(0x600000, core::page_size));
            co_await machine.pool_at_rest(2);
            co_return done();
        },
        2);
}

}  // namespace
}  // namespace proc9::os
