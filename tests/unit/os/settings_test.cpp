// The settings of real embryos, read back in the words that set them.
#include <sys/stat.h>

#include <csignal>
#include <regex>

#include "daemon/os/settings/words.hpp"
#include "fs/core/text.hpp"
#include "tests/unit/os/machine.hpp"

namespace proc9::os {
namespace {

using core::done;
using fake::errno_of;
using fake::good;
using testing::AllOf;
using testing::Contains;
using testing::Each;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::Not;
using testing::StartsWith;

using Lines = std::vector<std::string>;

core::Setting setting(const std::string& line) {
    core::Words words = good(core::split_words(line));
    core::Setting made{words.at(0), {}};
    made.words.assign(words.begin() + 1, words.end());
    return made;
}

std::string line_of(const core::Setting& setting) {
    core::Words words{setting.name};
    words.insert(words.end(), setting.words.begin(), setting.words.end());
    return core::join_words(words);
}

Task<Result<>> apply_all(core::Embryo& embryo, const std::vector<core::Setting>& settings) {
    for (const auto& setting : settings) {
        const auto outcome = co_await embryo.apply(setting).result();
        EXPECT_EQ(fake::why(outcome), "") << line_of(setting);
    }
    co_return done();
}

Task<Result<>> apply_lines(core::Embryo& embryo, const Lines& lines) {
    std::vector<core::Setting> settings;
    for (const auto& line : lines) settings.push_back(setting(line));
    co_await apply_all(embryo, settings);
    co_return done();
}

// What is told of an embryo; its own pid is called PID.
Lines lines_of(core::Embryo& embryo, const std::vector<core::Setting>& settings) {
    const std::regex pid(fmt::format("/proc/{}/", embryo.pid()));
    Lines lines;
    for (const auto& setting : settings)
        lines.push_back(std::regex_replace(line_of(setting), pid, "/proc/PID/"));
    return lines;
}

Task<Result<Lines>> told(core::Embryo& embryo) {
    const auto settings = co_await embryo.settings();
    co_return lines_of(embryo, settings);
}

// ---------------------------------------------------------------------------------------------
// One at a time

struct Row {
    Lines applied;
    Lines told;  // among others; empty: just what was applied
};

const std::vector<Row> of_anybody = {
    {{"limit NOFILE 64:100"}, {}},
    {{"limit CORE 0", "limit STACK 1M:2M"},
     {"limit CORE 0:unlimited", "limit STACK 1048576:2097152"}},
    {{"nice 7"}, {}},
    {{"sched batch"}, {}},
    {{"sched idle reset-on-fork"}, {}},
    {{"affinity 0"}, {}},
    {{"ioprio best-effort 6"}, {}},
    {{"ioprio idle"}, {}},
    {{"mempolicy bind 0"}, {}},
    {{"mempolicy local"}, {}},
    {{"oom 500"}, {}},
    {{"coredump 0x11"}, {}},
    {{"chdir /usr"}, {}},
    {{"umask 027"}, {}},
    {{"sigmask USR1 TERM 40"}, {}},
    {{"sigignore HUP 2"}, {"sigignore HUP INT"}},
    {{"pdeathsig TERM"}, {}},
    {{"hang"}, {}},
    {{"pgrp new"}, {}},
    {{"session"}, {}},
    {{"comm 'two words'"}, {}},
    {{"personality linux32 addr-no-randomize"}, {}},
    {{"personality 0x5"}, {}},
    {{"prctl dumpable off", "prctl thp off", "prctl subreaper on", "prctl tsc off"}, {}},
    {{"prctl timerslack 12345"}, {}},
    {{"nonewprivs"}, {}},
};

const std::vector<Row> of_root = {
    {{"groups 4 24"}, {}},
    {{"gid 1000 1001 1002"}, {}},
    {{"uid 1000"}, {"uid 1000 1000 1000", "caps permitted -all"}},
    {{"caps bounding -all +net_raw"}, {}},
    {{"caps inheritable -all +chown", "caps ambient -all +chown"}, {}},
    {{"caps effective,permitted -all +kill +bpf"},
     {"caps permitted -all +kill +bpf", "caps effective -all +kill +bpf"}},
    {{"securebits noroot keep-caps"}, {}},
    {{"nice -5"}, {}},
    {{"sched fifo 7"}, {}},
    {{"sched deadline runtime=10000000 deadline=20000000 period=30000000"}, {}},
    {{"ioprio realtime 2"}, {}},
    {{"chroot /usr", "chdir /bin"}, {}},
    {{"exe /bin/true"}, {"exe /usr/bin/true"}},
    {{"ns new uts", "hostname box", "domainname lab"},
     {"ns join uts /proc/PID/ns/uts", "hostname box", "domainname lab"}},
    {{"ns new time"}, {"ns join time /proc/PID/ns/time_for_children"}},
    {{"ns new user", "idmap uid 0 1000 5 5 0 1", "idmap gid 7 0 1", "uid 3", "gid 7"},
     {"ns join user /proc/PID/ns/user", "idmap uid 0 1000 5 5 0 1", "idmap gid 7 0 1", "uid 3 3 3",
      "gid 7 7 7"}},
};

Task<Result<>> check_rows(Machine& machine, const std::vector<Row>& rows) {
    for (const auto& row : rows) {
        const auto embryo = co_await machine.efork();
        co_await apply_lines(*embryo, row.applied);
        const Lines lines = co_await told(*embryo);
        for (const auto& line : row.told.empty() ? row.applied : row.told) {
            EXPECT_THAT(lines, Contains(line).Times(1));
        }
    }
    co_return done();
}

TEST(Settings, OfAnybodyAreToldInTheWordsThatSetThem) {
    in_machine([](Machine& machine) { return check_rows(machine, of_anybody); });
}

TEST(Settings, OfRootAreToldInTheWordsThatSetThem) {
    if (::geteuid() != 0) GTEST_SKIP() << "for root";
    in_machine([](Machine& machine) { return check_rows(machine, of_root); });
}

TEST(Settings, OfAFreshEmbryoNeedNoPrivilegeAndAreThoseOfTheNext) {
    in_machine([](Machine& machine) -> Task<Result<>> {
        const auto first = co_await machine.efork();
        const auto second = co_await machine.efork();
        const Lines lines = co_await told(*first);
        const Lines others = co_await told(*second);
        EXPECT_EQ(lines, others);
        EXPECT_THAT(lines, Contains(StartsWith("limit ")).Times(16));
        EXPECT_THAT(lines, Contains(StartsWith("caps ")).Times(5));
        for (const std::string name :
             {"ns", "idmap", "chroot", "chdir", "cgroup", "groups", "securebits", "session", "pgrp",
              "hostname", "comm", "exe", "pdeathsig", "nonewprivs", "hang"}) {
            EXPECT_THAT(lines, Each(Not(testing::ContainsRegex("^" + name + "( |$)"))));
        }
        co_return done();
    });
}

// ---------------------------------------------------------------------------------------------
// Round trips

const std::vector<Lines> furnishings = {
    {},
    {"session",
     "limit NOFILE 64:100",
     "limit RTTIME 5:7",
     "nice -3",
     "sched rr 5",
     "affinity 0",
     "ioprio realtime 1",
     "mempolicy bind 0",
     "oom 7",
     "coredump 0x7",
     "chdir /usr",
     "umask 077",
     "sigmask USR1",
     "sigignore PIPE",
     "pdeathsig HUP",
     "hang",
     "comm furnished",
     "personality addr-no-randomize",
     "prctl thp off",
     "prctl mdwe on",
     "prctl ksm on",
     "nonewprivs"},
    {"exe /bin/true", "groups 4 24", "gid 1000", "securebits noroot", "caps bounding -all +net_raw",
     "uid 1000", "nonewprivs"},
    {"limit MEMLOCK 1M:4M", "caps inheritable +chown", "caps bounding -chown", "uid 1000 1000 0"},
    // Capabilities over a change of users, and no trace of how.
    {"securebits keep-caps", "uid 1000", "caps effective +all", "securebits no-cap-ambient-raise",
     "caps permitted,effective -all +net_raw"},
    {"securebits keep-caps", "caps inheritable +net_raw", "uid 1000",
     "caps permitted,effective -all +net_raw", "caps ambient +net_raw"},
    {"prctl dumpable off", "uid 1000"},
    {"limit MEMLOCK 1M:4M", "oom 5", "nice -2", "ns new user,uts,ipc,net,cgroup,time",
     "idmap uid 0 1000 5 5 0 1", "idmap gid 0 0 5", "hostname box", "domainname lab", "gid 3",
     "uid 2", "umask 0"},
    {"ns new mnt,uts", "chroot /usr", "chdir /bin", "hostname box"},
    {"chroot /usr", "uid 1000", "chdir /bin"},
};

Task<Result<>> check_round_trip(Machine& machine, const Lines& furnishing) {
    const auto first = co_await machine.efork();
    co_await apply_lines(*first, furnishing);
    const auto settings = co_await first->settings();
    const auto second = co_await machine.efork();
    co_await apply_all(*second, settings);
    const Lines wanted = lines_of(*first, settings);
    const Lines found = co_await told(*second);
    EXPECT_EQ(found, wanted) << testing::PrintToString(furnishing);
    co_return done();
}

TEST(Settings, AppliedToANewEmbryoMakeItEqual) {
    if (::geteuid() != 0) GTEST_SKIP() << "for root";
    in_machine([](Machine& machine) -> Task<Result<>> {
        for (const auto& furnishing : furnishings) co_await check_round_trip(machine, furnishing);
        co_return done();
    });
}

// A cgroup of the first hierarchy that root can make one in; empty if there is none.
struct Cgroup {
    std::string path;
    Cgroup() {
        for (const std::string parent : {"/sys/fs/cgroup/pids", "/sys/fs/cgroup"}) {
            const std::string wanted = fmt::format("{}/proc9-unit-{}", parent, ::getpid());
            const bool is_cgroup = std::filesystem::exists(parent + "/cgroup.procs");
            if (path.empty() && is_cgroup && ::mkdir(wanted.c_str(), 0755) == 0) path = wanted;
        }
    }
    [[nodiscard]] bool remove() const { return ::rmdir(path.c_str()) == 0; }
};

TEST(Settings, TellTheCgroupByItsPath) {
    if (::geteuid() != 0) GTEST_SKIP() << "for root";
    in_machine([](Machine& machine) -> Task<Result<>> {
        const Cgroup cgroup;
        EXPECT_NE(cgroup.path, "");
        Lines lines;
        lines.push_back("cgroup " + cgroup.path);
        co_await check_round_trip(machine, lines);
        auto embryo = co_await machine.efork();
        co_await apply_lines(*embryo, lines);
        const Lines found = co_await told(*embryo);
        EXPECT_THAT(found, Contains(lines.front()));
        embryo.reset();
        co_await machine.until([&cgroup] { return cgroup.remove(); });  // when they are dead
        co_return done();
    });
}

// ---------------------------------------------------------------------------------------------
// When the process cannot be asked

TEST(Settings, OfAProgramThatRunsAreWhatTheDaemonCanSee) {
    in_machine([](Machine& machine) -> Task<Result<>> {
        const auto embryo = co_await machine.efork();
        Lines lines{"nice 3", "limit NOFILE 64:100", "sigignore HUP", "pdeathsig TERM"};
        co_await apply_lines(*embryo, lines);
        co_await embryo->exec(shell("kill -STOP $$"));
        co_await machine.until([&] { return embryo->is_stopped(); });
        const Lines found = co_await told(*embryo);
        for (const auto& line : lines) EXPECT_THAT(found, Contains(line));
        EXPECT_THAT(found, Contains("comm sh"));
        EXPECT_THAT(found, Each(AllOf(Not(StartsWith("prctl")), Not(StartsWith("exe")))));
        co_await embryo->send_signal(SIGKILL);
        co_await machine.exit_of(*embryo);
        co_return done();
    });
}

TEST(Settings, OfADeadEmbryoAreEsrchAndWhenInterruptedEintr) {
    in_machine([](Machine& machine) -> Task<Result<>> {
        const auto embryo = co_await machine.efork();
        embryo->interrupt(true);
        EXPECT_EQ(errno_of(co_await embryo->settings().result()), EINTR);
        co_await embryo->send_signal(SIGKILL);
        co_await machine.exit_of(*embryo);
        EXPECT_EQ(errno_of(co_await embryo->settings().result()), ESRCH);
        co_return done();
    });
}

// ---------------------------------------------------------------------------------------------
// Words

TEST(Words, OfNumbersAreReadAsThoseNumbers) {
    constexpr Named names[] = {{"none", 0}, {"one", 1}, {"four", 4}};
    EXPECT_EQ(name_of(4, names), "four");
    EXPECT_EQ(name_of(3, names), "");
    EXPECT_THAT(names_of_bits(0, names), ElementsAre("none"));
    EXPECT_THAT(names_of_bits(0, {}), IsEmpty());
    EXPECT_THAT(names_of_bits(0x15, names), ElementsAre("one", "four", "0x10"));
    EXPECT_EQ(good(named_bits("bit", names_of_bits(0x15, names), names)), 0x15U);
    for (const std::string list : {"0", "0-3,5", "1,63-64,127", "8191"})
        EXPECT_EQ(mask_text(good(parse_mask("bit", list))), list);
    EXPECT_EQ(mask_text({}), "");
}

}  // namespace
}  // namespace proc9::os
