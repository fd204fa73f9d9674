// How the process stands to others: signals, groups and terminals, names, and what prctl(2) knows.
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <algorithm>
#include <array>
#include <csignal>

#include "daemon/os/procfs.hpp"
#include "daemon/os/settings/settings.hpp"
#include "daemon/os/settings/words.hpp"
#include "fs/core/signals.hpp"

namespace proc9::os {
namespace {

using core::done;
using core::fail;
using core::Result;
using core::Task;
using core::Words;

constexpr std::size_t signal_set_size = 8;  // the kernel's, not the C library's
constexpr int last_signal = 64;

// ---------------------------------------------------------------------------------------------
// Signals

Result<std::uint64_t> signal_set(const Words& words) {
    std::uint64_t set = 0;
    for (const auto& word : words) {
        const int number = TRY(core::parse_signal(word));
        if (number == 0)
            return fail(std::errc::invalid_argument, "{} is no signal", core::requote(word));
        set |= 1ULL << static_cast<unsigned>(number - 1);
    }
    return set;
}

Result<> signal_mask(Batch& batch, const Words& words) {
    const auto set = TRY(signal_set(words));
    batch.call("rt_sigprocmask", SYS_rt_sigprocmask, SIG_SETMASK, batch.bytes(bytes_of(set)), 0,
               signal_set_size);
    return {};
}

Words names_of_signals(std::uint64_t set) {
    Words names;
    for (int number = 1; number <= last_signal; ++number) {
        if ((set >> static_cast<unsigned>(number - 1) & 1U) != 0)
            names.push_back(core::signal_name(number));
    }
    return names;
}

Readings read_sigmask(const Facts& facts) { return one(names_of_signals(facts.bits("SigBlk"))); }

Readings read_sigignore(const Facts& facts) { return one(names_of_signals(facts.bits("SigIgn"))); }

Result<> sigignore(Batch& batch, const Words& words) {
    const auto set = TRY(signal_set(words));
    constexpr std::uint64_t unstoppable = 1ULL << (SIGKILL - 1) | 1ULL << (SIGSTOP - 1);
    if ((set & unstoppable) != 0)
        return fail(std::errc::invalid_argument, "KILL and STOP cannot be ignored");
    batch.call("rt_sigaction", PROC9_CALL_IGNORE, set);
    return {};
}

// Takes effect at the start: until then it is the daemon's, so that no embryo outlives that.
Task<Result<>> pdeathsig(Child& child, const core::Setting& setting) {
    child.plan.death_signal = co_await core::parse_signal(setting.words.at(0));
    co_return done();
}

Readings read_pdeathsig(const Facts& facts) {
    const int number = facts.plan.death_signal;
    return one_if(number != 0, {core::signal_name(number)});
}

Task<Result<>> hang(Child& child, const core::Setting& /*setting*/) {
    child.plan.hangs = true;
    co_return done();
}

Readings read_hang(const Facts& facts) { return one_if(facts.plan.hangs, {}); }

// ---------------------------------------------------------------------------------------------
// Groups and terminals

Result<> pgrp(Batch& batch, const Words& words) {
    std::uint64_t group = 0;
    if (words.at(0) != "new")
        group = TRY(core::parse_number_up_to("process group", words[0], core::highest_pid));
    batch.call("setpgid", SYS_setpgid, 0, group);
    return {};
}

Result<> session(Batch& batch, const Words& /*words*/) {
    batch.call("setsid", SYS_setsid);
    return {};
}

// The last number of such a line of /proc/PID/status is the process's own view.
std::string innermost(const Facts& facts, const char* key) {
    const Words numbers = facts.fields(key);
    return numbers.empty() ? "" : numbers.back();
}

bool leads(const Facts& facts, const char* what) {
    const std::string pid = innermost(facts, "NSpid");
    return !pid.empty() && innermost(facts, what) == pid;
}

// The leader of a session leads its first group too.
Readings read_pgrp(const Facts& facts) {
    if (leads(facts, "NSsid")) return {};
    if (leads(facts, "NSpgid")) return one({"new"});
    const std::string group = innermost(facts, "NSpgid");
    const bool is_inherited = facts.is_inherited("NSpgid");
    return one_if(!is_inherited && !group.empty() && group != "0", {group});
}

Readings read_session(const Facts& facts) { return one_if(leads(facts, "NSsid"), {}); }

// What becomes the terminal of a session leader has that leader's group in the foreground already;
// `foreground` is for a terminal that was taken before.
Task<Result<>> tty(Child& child, const core::Setting& setting) {
    auto status = co_await procfs::status(child.pid());
    const std::string groups = status["NSpgid"];  // the last one is the child's own view
    const auto space = groups.find_last_of(" \t");
    const std::string last = space == std::string::npos ? groups : groups.substr(space + 1);
    const auto group = static_cast<std::int32_t>(co_await core::parse_number(last));
    Batch batch = child.batch();
    const auto terminal = batch.call("open", SYS_openat, AT_FDCWD, batch.text(setting.words.at(0)),
                                     O_RDWR | O_NOCTTY | O_CLOEXEC, 0);
    batch.call("ioctl TIOCSCTTY", SYS_ioctl, terminal, TIOCSCTTY, 0);
    if (setting.words.size() > 1)
        batch.call("ioctl TIOCSPGRP", SYS_ioctl, terminal, TIOCSPGRP, batch.bytes(bytes_of(group)));
    batch.call("close", SYS_close, terminal).always();
    co_await child.run_checked(std::move(batch));
    co_return done();
}

// ---------------------------------------------------------------------------------------------
// Names and domains

Result<> comm(Batch& batch, const Words& words) {
    constexpr std::size_t longest = 15;
    if (words.at(0).size() > longest)
        return fail(std::errc::invalid_argument, "a name of more than {} bytes", longest);
    batch.call("prctl", SYS_prctl, PR_SET_NAME, batch.text(words[0]));
    return {};
}

Readings read_comm(const Facts& facts) {
    std::string name = procfs::read(facts.pid, "comm").value_or("");
    if (name.ends_with('\n')) name.pop_back();
    return one_if(!name.empty() && name != "proc9-stub", {name});
}

// Bits of personality(2); the lowest byte is a domain.
constexpr auto personalities = std::to_array<Named>({
    {"linux", PER_LINUX},
    {"linux32", PER_LINUX32},
    {"uname26", UNAME26},
    {"addr-no-randomize", ADDR_NO_RANDOMIZE},
    {"mmap-page-zero", MMAP_PAGE_ZERO},
    {"addr-compat-layout", ADDR_COMPAT_LAYOUT},
    {"read-implies-exec", READ_IMPLIES_EXEC},
    {"addr-limit-32bit", ADDR_LIMIT_32BIT},
    {"addr-limit-3gb", ADDR_LIMIT_3GB},
    {"short-inode", SHORT_INODE},
    {"whole-seconds", WHOLE_SECONDS},
    {"sticky-timeouts", STICKY_TIMEOUTS},
});

Result<> personality(Batch& batch, const Words& words) {
    const auto flags = TRY(named_bits("flag", words, personalities));
    constexpr std::uint64_t only_asks = 0xffffffff;
    if (flags >= only_asks)
        return fail(std::errc::invalid_argument, "{:#x} is not a personality", flags);
    batch.call("personality", SYS_personality, flags);
    return {};
}

Readings read_personality(const Facts& facts) {
    const Words words = facts.file("personality");
    if (words.empty()) return {};
    const auto flags = core::parse_number("0x" + words[0]);
    return one_if(flags.has_value(), names_of_bits(flags.value_or(0), personalities));
}

// ---------------------------------------------------------------------------------------------
// prctl(2)

struct Control {
    std::string_view name;
    int option;
    int getter;
    std::uint64_t on;        // the value that stands for on, and
    std::uint64_t off;       // for off
    bool is_number = false;  // of any value
};
constexpr int memory_deny_write_exec = 65;  // PR_SET_MDWE
constexpr int memory_merge = 67;            // PR_SET_MEMORY_MERGE
constexpr auto controls = std::to_array<Control>({
    {"dumpable", PR_SET_DUMPABLE, PR_GET_DUMPABLE, 1, 0},
    {"thp", PR_SET_THP_DISABLE, PR_GET_THP_DISABLE, 0, 1},
    {"mdwe", memory_deny_write_exec, get_memory_deny_write_exec, 1, 0},
    {"ksm", memory_merge, get_memory_merge, 1, 0},
    {"subreaper", PR_SET_CHILD_SUBREAPER, PR_GET_CHILD_SUBREAPER, 1, 0},
    {"tsc", PR_SET_TSC, PR_GET_TSC, PR_TSC_ENABLE, PR_TSC_SIGSEGV},
    {"timerslack", PR_SET_TIMERSLACK, PR_GET_TIMERSLACK, 1, 0, true},
});

Task<Result<>> prctl(Child& child, const core::Setting& setting) {
    const Words& words = setting.words;
    std::vector<Named> names;
    names.reserve(controls.size());
    for (std::size_t i = 0; i < controls.size(); ++i) names.push_back({controls[i].name, i});
    const Control& control = controls.at(co_await named_value("property", words.at(0), names));
    const std::array<Named, 2> switches = {{{"on", control.on}, {"off", control.off}}};
    const auto value = co_await named_or_number("value", words.at(1), switches);
    if (control.option == PR_SET_DUMPABLE) {
        if (value > 1) co_return core::refused("prctl", EINVAL);
        child.plan.is_dumpable = value != 0;
        co_return core::done();
    }
    Batch batch = child.batch();
    batch.call("prctl", SYS_prctl, control.option, value, 0, 0, 0);
    co_await child.run_checked(std::move(batch));
    co_return core::done();
}

Readings read_prctl(const Facts& facts) {
    Readings found;
    for (const Control& control : controls) {
        auto value = facts.control(control.getter);
        if (control.option == PR_SET_DUMPABLE && facts.is_embryo) value = facts.plan.is_dumpable;
        if (!value) continue;
        const std::array<Named, 2> switches = {{{"on", control.on}, {"off", control.off}}};
        const std::string word =
            control.is_number ? std::to_string(*value) : name_of(*value, switches);
        if (!word.empty()) found.push_back({std::string(control.name), word});
    }
    return found;
}

// ---------------------------------------------------------------------------------------------
// What /proc/PID/exe shows

// struct prctl_mm_map: the places of a program in memory. Those that were are gone; the kernel wants
// them to make sense, so all of them are where the stub is.
struct ProgramMap {
    std::uint64_t start_code, end_code, start_data, end_data, start_brk, brk, start_stack;
    std::uint64_t arg_start, arg_end, env_start, env_end;
    std::uint64_t auxv;
    std::uint32_t auxv_size;
    std::uint32_t exe_fd;
};

Task<Result<>> exe(Child& child, const core::Setting& setting) {
    // The kernel refuses as long as the old program is mapped, which the stub is at birth.
    co_await child.move_away();
    Batch opening = child.batch();
    const auto attributes = opening.call(
        "open", SYS_openat, AT_FDCWD, opening.text(setting.words.at(0)), O_RDONLY | O_CLOEXEC, 0);
    const Replies replies = co_await child.run(opening);
    const auto fd = co_await replies.of(attributes.index());
    const std::uint64_t place = child.hidden().start.value;
    const std::uint64_t end = place + core::page_size;
    const ProgramMap map{place, end,   place, end,   end, end, place,
                         place, place, place, place, 0,   0,   static_cast<std::uint32_t>(fd)};
    Batch batch = child.batch();
    batch.call("prctl MM_MAP", SYS_prctl, PR_SET_MM, PR_SET_MM_MAP, batch.bytes(bytes_of(map)),
               sizeof map, 0);
    batch.call("close", SYS_close, fd).always();
    co_await child.run_checked(std::move(batch));
    co_return done();
}

// A program that runs has it by exec.
Readings read_exe(const Facts& facts) {
    const std::string program = facts.link("exe");
    const bool is_stub = program.starts_with("/memfd:proc9-stub");
    const auto path = facts.from_its_root(program);
    return one_if(facts.is_embryo && !is_stub && path, {path.value_or("")});
}

constexpr auto rows = std::to_array<SettingRow>({
    {"sigmask", signal_mask, nullptr, {}, Turn::attributes, read_sigmask},
    {"sigignore", sigignore, nullptr, {}, Turn::attributes, read_sigignore},
    {"pdeathsig", nullptr, pdeathsig, {}, Turn::attributes, read_pdeathsig},
    {"hang", nullptr, hang, {}, Turn::attributes, read_hang},
    {"pgrp", pgrp, nullptr, "a group of its own session, and not to lead one", Turn::group,
     read_pgrp},
    {"session", session, nullptr, "not to lead a process group already", Turn::group, read_session},
    {"tty", nullptr, tty, "to lead a session that has no terminal yet"},
    {"comm", comm, nullptr, {}, Turn::attributes, read_comm},
    {"exe", nullptr, exe, "CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN in its user namespace",
     Turn::names, read_exe},
    {"personality", personality, nullptr, {}, Turn::attributes, read_personality},
    {"prctl", nullptr, prctl, {}, Turn::attributes, read_prctl},
});

}  // namespace

std::span<const SettingRow> session_settings() { return rows; }

}  // namespace proc9::os
