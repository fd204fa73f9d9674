// What the process may use: limits, processors, memory, control groups.
#include <fcntl.h>
#include <linux/ioprio.h>
#include <linux/mempolicy.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <sstream>

#include "daemon/os/procfs.hpp"
#include "daemon/os/settings/settings.hpp"
#include "daemon/os/settings/words.hpp"

namespace proc9::os {
namespace {

using core::done;
using core::fail;
using core::Result;
using core::Task;
using core::Words;

// ---------------------------------------------------------------------------------------------
// Limits

struct LimitName {
    std::string_view name;
    int number;
    std::string_view line;  // how it begins in /proc/PID/limits
};
constexpr auto limits = std::to_array<LimitName>({
    {"AS", RLIMIT_AS, "Max address space"},
    {"CORE", RLIMIT_CORE, "Max core file size"},
    {"CPU", RLIMIT_CPU, "Max cpu time"},
    {"DATA", RLIMIT_DATA, "Max data size"},
    {"FSIZE", RLIMIT_FSIZE, "Max file size"},
    {"LOCKS", RLIMIT_LOCKS, "Max file locks"},
    {"MEMLOCK", RLIMIT_MEMLOCK, "Max locked memory"},
    {"MSGQUEUE", RLIMIT_MSGQUEUE, "Max msgqueue size"},
    {"NICE", RLIMIT_NICE, "Max nice priority"},
    {"NOFILE", RLIMIT_NOFILE, "Max open files"},
    {"NPROC", RLIMIT_NPROC, "Max processes"},
    {"RSS", RLIMIT_RSS, "Max resident set"},
    {"RTPRIO", RLIMIT_RTPRIO, "Max realtime priority"},
    {"RTTIME", RLIMIT_RTTIME, "Max realtime timeout"},
    {"SIGPENDING", RLIMIT_SIGPENDING, "Max pending signals"},
    {"STACK", RLIMIT_STACK, "Max stack size"},
});

Result<const LimitName*> limit_named(std::string_view word) {
    for (const auto& row : limits) {
        if (word.starts_with("Max ") && word == row.line) return &row;
    }
    std::string name(word);
    std::transform(name.begin(), name.end(), name.begin(),
                   [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
    if (name.starts_with("RLIMIT_")) name.erase(0, 7);
    std::vector<Named> names;
    names.reserve(limits.size());
    for (std::size_t i = 0; i < limits.size(); ++i) names.push_back({limits[i].name, i});
    return &limits[TRY(named_value("limit", name, names))];
}

Result<std::uint64_t> limit_value(std::string_view word) {
    if (word == "unlimited" || word == "infinity") return RLIM_INFINITY;
    return core::parse_size(word);
}

// Soft and hard, as the kernel prints them: `Max open files  1024  4096  files`.
std::optional<std::pair<std::string, std::string>> limit_words(const std::string& text,
                                                               const LimitName& limit) {
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
        if (!line.starts_with(limit.line)) continue;
        std::pair<std::string, std::string> words;
        std::istringstream(line.substr(limit.line.size())) >> words.first >> words.second;
        return words;
    }
    return {};
}

Result<std::uint64_t> hard_limit(core::Pid pid, const LimitName& limit) {
    const auto words = limit_words(TRY(procfs::read(pid, "limits")), limit);
    if (words) return limit_value(words->second);
    return fail(std::errc::not_supported, "this kernel has no limit {}", limit.name);
}

// As it will be when this line's turn comes.
Result<std::uint64_t> hard_limit(const Asked& asked, const LimitName& limit) {
    for (auto i = asked.earlier.size(); i-- > 0;) {
        const core::Setting& one = asked.earlier[i];
        if (one.name != "limit" || TRY(limit_named(one.words.at(0))) != &limit) continue;
        const auto colon = one.words.at(1).find(':');
        if (colon != std::string::npos)
            return limit_value(std::string_view(one.words[1]).substr(colon + 1));
    }
    return hard_limit(asked.pid, limit);
}

Result<> limit(Batch& batch, const Asked& asked) {
    const LimitName* const row = TRY(limit_named(asked.setting.words.at(0)));
    const std::string_view value = asked.setting.words.at(1);
    const auto colon = value.find(':');
    rlimit wanted{};
    wanted.rlim_cur = TRY(limit_value(value.substr(0, colon)));
    wanted.rlim_max = TRY(colon == std::string_view::npos ? hard_limit(asked, *row)
                                                          : limit_value(value.substr(colon + 1)));
    if (wanted.rlim_cur > wanted.rlim_max)
        return fail(std::errc::invalid_argument, "the soft limit is above the hard one");
    batch.call("prlimit64", SYS_prlimit64, 0, row->number, batch.bytes(bytes_of(wanted)), 0);
    return {};
}

Readings read_limits(const Facts& facts) {
    const std::string text = procfs::read(facts.pid, "limits").value_or("");
    Readings found;
    for (const auto& row : limits) {
        if (const auto words = limit_words(text, row))
            found.push_back(
                {std::string(row.name), fmt::format("{}:{}", words->first, words->second)});
    }
    return found;
}

// ---------------------------------------------------------------------------------------------
// Scheduling

Result<> nice(Batch& batch, const Words& words) {
    const auto level = TRY(core::parse_signed("nice value", words.at(0), -20, 19));
    batch.call("setpriority", SYS_setpriority, PRIO_PROCESS, 0, level);
    return {};
}

Readings read_nice(const Facts& facts) {
    errno = 0;  // -1 is a level
    const int level = ::getpriority(PRIO_PROCESS, static_cast<id_t>(facts.pid));
    return one_if(errno == 0, {std::to_string(level)});
}

struct SchedulingAttributes {  // struct sched_attr, which the C library does not have
    std::uint32_t size = 48;
    std::uint32_t policy = 0;
    std::uint64_t flags = 0;
    std::int32_t nice = 0;
    std::uint32_t priority = 0;
    std::uint64_t runtime = 0;
    std::uint64_t deadline = 0;
    std::uint64_t period = 0;
};
static_assert(sizeof(SchedulingAttributes) == 48);

constexpr auto policies = std::to_array<Named>(
    {{"other", 0}, {"fifo", 1}, {"rr", 2}, {"batch", 3}, {"idle", 5}, {"deadline", 6}});
constexpr std::uint64_t reset_on_fork = 1;

Result<> scheduling_word(SchedulingAttributes& attributes, const std::string& word) {
    const auto equals = word.find('=');
    if (equals != std::string::npos) {
        const auto value = TRY(core::parse_number(std::string_view(word).substr(equals + 1)));
        const auto key = word.substr(0, equals);
        (key == "runtime"    ? attributes.runtime
         : key == "deadline" ? attributes.deadline
                             : attributes.period) = value;
    } else if (word == "reset-on-fork") {
        attributes.flags |= reset_on_fork;
    } else {
        attributes.priority =
            static_cast<std::uint32_t>(TRY(core::parse_number_up_to("priority", word, 99)));
    }
    return {};
}

Task<Result<>> sched(Child& child, const core::Setting& setting) {
    SchedulingAttributes attributes;
    attributes.policy =
        static_cast<std::uint32_t>(co_await named_value("policy", setting.words.at(0), policies));
    for (std::size_t i = 1; i < setting.words.size(); ++i)
        co_await scheduling_word(attributes, setting.words[i]);
    errno = 0;
    attributes.nice = ::getpriority(PRIO_PROCESS, static_cast<id_t>(child.pid()));  // as it is
    Batch batch = child.batch();
    batch.call("sched_setattr", SYS_sched_setattr, 0, batch.bytes(bytes_of(attributes)), 0);
    co_await child.run_checked(std::move(batch));
    co_return done();
}

// What the kernel keeps for each policy: others have numbers of their own there.
Words scheduling_words(const SchedulingAttributes& attributes) {
    const std::string policy = name_of(attributes.policy, policies);
    Words words{policy};
    if (policy == "fifo" || policy == "rr") words.push_back(std::to_string(attributes.priority));
    if (policy == "deadline") {
        words.push_back(fmt::format("runtime={}", attributes.runtime));
        words.push_back(fmt::format("deadline={}", attributes.deadline));
        words.push_back(fmt::format("period={}", attributes.period));
    }
    if ((attributes.flags & reset_on_fork) != 0) words.emplace_back("reset-on-fork");
    return words;
}

Readings read_sched(const Facts& facts) {
    SchedulingAttributes attributes;
    const auto answer = ::syscall(SYS_sched_getattr, facts.pid, &attributes, sizeof attributes, 0);
    const bool is_known = answer == 0 && !name_of(attributes.policy, policies).empty();
    return one_if(is_known, scheduling_words(attributes));
}

Result<> affinity(Batch& batch, const Words& words) {
    const auto mask = TRY(parse_mask("processor", words.at(0)));
    const std::string_view bytes = bytes_of(mask);
    batch.call("sched_setaffinity", SYS_sched_setaffinity, 0, bytes.size(), batch.bytes(bytes));
    return {};
}

Readings read_affinity(const Facts& facts) {
    return one_if(!facts.field("Cpus_allowed_list").empty(), {facts.field("Cpus_allowed_list")});
}

constexpr auto io_classes = std::to_array<Named>({{"none", IOPRIO_CLASS_NONE},
                                                  {"realtime", IOPRIO_CLASS_RT},
                                                  {"best-effort", IOPRIO_CLASS_BE},
                                                  {"idle", IOPRIO_CLASS_IDLE}});

Result<> ioprio(Batch& batch, const Words& words) {
    const auto number = TRY(named_value("class", words.at(0), io_classes));
    const auto level = words.size() > 1 ? TRY(core::parse_number_up_to("level", words[1], 7)) : 0;
    batch.call("ioprio_set", SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0,
               IOPRIO_PRIO_VALUE(number, level));
    return {};
}

Readings read_ioprio(const Facts& facts) {
    constexpr std::uint64_t levels = 7;  // above them are hints
    const auto answer = ::syscall(SYS_ioprio_get, IOPRIO_WHO_PROCESS, facts.pid);
    if (answer < 0) return {};
    const auto value = static_cast<std::uint64_t>(answer);
    const std::string name = name_of(IOPRIO_PRIO_CLASS(value), io_classes);
    const bool has_levels = name == "realtime" || name == "best-effort";
    Words words{name};
    if (has_levels) words.push_back(std::to_string(value & levels));
    return one_if(!name.empty(), words);
}

// ---------------------------------------------------------------------------------------------
// Memory

constexpr auto memory_modes = std::to_array<Named>({{"default", MPOL_DEFAULT},
                                                    {"preferred", MPOL_PREFERRED},
                                                    {"bind", MPOL_BIND},
                                                    {"interleave", MPOL_INTERLEAVE},
                                                    {"local", MPOL_LOCAL},
                                                    {"preferred-many", 5},
                                                    {"weighted-interleave", 6}});

Result<> mempolicy(Batch& batch, const Words& words) {
    const auto mode = TRY(named_value("policy", words.at(0), memory_modes));
    std::vector<std::uint64_t> nodes;
    if (words.size() > 1) nodes = TRY(parse_mask("node", words[1]));
    // The kernel looks at one bit less than it is told, and 0 is too many.
    const std::uint64_t bits = nodes.size() * 64 + 1;
    nodes.push_back(0);
    batch.call("set_mempolicy", SYS_set_mempolicy, mode, batch.bytes(bytes_of(nodes)), bits);
    return {};
}

Readings read_mempolicy(const Facts& facts) {
    if (!facts.memory_policy) return {};
    const auto& [mode, nodes] = *facts.memory_policy;
    Words words{name_of(mode, memory_modes)};
    if (words[0].empty()) return {};  // it has flags that no word sets
    if (const std::string list = mask_text(nodes); !list.empty()) words.push_back(list);
    return one(words);
}

// A file of /proc/PID, which the child itself may not see (it may have no /proc): the daemon opens
// it, the child writes.
Result<> write_file(Batch& batch, const Asked& asked, const char* name, const std::string& text) {
    const std::string path = fmt::format("/proc/{}/{}", asked.pid, name);
    UniqueFd fd = TRY(check_fd("open", ::open(path.c_str(), O_WRONLY | O_CLOEXEC)));
    const auto file = batch.send(std::make_shared<HeldDescriptor>(std::move(fd)));
    batch.call("write", SYS_write, file, batch.bytes(text), text.size());
    batch.call("close", SYS_close, file).always();
    return {};
}

Result<> oom(Batch& batch, const Asked& asked) {
    const auto score =
        TRY(core::parse_signed("adjustment", asked.setting.words.at(0), -1000, 1000));
    return write_file(batch, asked, "oom_score_adj", std::to_string(score));
}

Readings read_oom(const Facts& facts) {
    const Words score = facts.file("oom_score_adj");
    return one_if(!score.empty(), score);
}

Result<> coredump(Batch& batch, const Asked& asked) {
    const auto mask = TRY(core::parse_number_up_to("mask", asked.setting.words.at(0), 0x1ff));
    return write_file(batch, asked, "coredump_filter", fmt::format("{:#x}", mask));
}

Readings read_coredump(const Facts& facts) {
    const Words words = facts.file("coredump_filter");
    if (words.empty()) return {};
    const auto mask = core::parse_number("0x" + words[0]);
    return one_if(mask.has_value(), {fmt::format("{:#x}", mask.value_or(0))});
}

// ---------------------------------------------------------------------------------------------
// Control groups

Result<> cgroup(Batch& batch, const Words& words) {
    const auto file =
        batch.call("open", SYS_openat, AT_FDCWD, batch.text(words.at(0) + "/cgroup.procs"),
                   O_WRONLY | O_CLOEXEC, 0);
    batch.call("write", SYS_write, file, batch.text("0"), 1);  // 0: who writes
    batch.call("close", SYS_close, file).always();
    return {};
}

// Where the daemon has a hierarchy mounted; `controllers` as in /proc/PID/cgroup, empty for
// version 2. A line is: 31 23 0:28 ROOT PLACE OPTIONS... - TYPE SOURCE CONTROLLERS
struct Hierarchy {
    std::string root;
    std::string place;
};
std::optional<Hierarchy> hierarchy_of(const Words& controllers) {
    std::istringstream lines(procfs::read(::getpid(), "mountinfo").value_or(""));
    for (std::string line; std::getline(lines, line);) {
        const Words words = blank_separated(line);
        const auto dash = std::find(words.begin(), words.end(), "-");
        if (words.end() - dash < 4) continue;
        const Words options = core::split_list(dash[3]);
        const bool has_all = std::all_of(controllers.begin(), controllers.end(), [&](auto& name) {
            return std::find(options.begin(), options.end(), name) != options.end();
        });
        if (dash[1] == (controllers.empty() ? "cgroup2" : "cgroup") && has_all)
            return Hierarchy{words.at(3), words.at(4)};
    }
    return {};
}

// 8:pids:/box
std::string cgroup_path(const std::string& line) {
    const auto first = line.find(':');
    const auto second = line.find(':', first + 1);
    if (second == std::string::npos) return "";
    std::string path = line.substr(second + 1);
    const auto mounted = hierarchy_of(core::split_list(line.substr(first + 1, second - first - 1)));
    if (!mounted || path.starts_with("/..")) return "";
    if (mounted->root == "/") return mounted->place + path;
    return path.starts_with(mounted->root) ? mounted->place + path.substr(mounted->root.size())
                                           : "";
}

Readings read_cgroup(const Facts& facts) {
    const std::string ours = "\n" + procfs::read(::getpid(), "cgroup").value_or("");
    std::istringstream lines(procfs::read(facts.pid, "cgroup").value_or(""));
    Readings found;
    for (std::string line; std::getline(lines, line);) {
        const bool is_ours = ours.find("\n" + line + "\n") != std::string::npos;
        const std::string path = is_ours ? "" : cgroup_path(line);
        if (!path.empty()) found.push_back({path});
    }
    return found;
}

constexpr auto rows = std::to_array<SettingRow>({
    {"limit", limit, nullptr, "CAP_SYS_RESOURCE to raise a hard limit", Turn::resources,
     read_limits},
    {"nice", nice, nullptr, "CAP_SYS_NICE, or a higher `limit NICE`, to be less nice",
     Turn::resources, read_nice, true},
    {"sched", nullptr, sched, "CAP_SYS_NICE, or a higher `limit RTPRIO`", Turn::resources,
     read_sched},
    {"affinity", affinity, nullptr, {}, Turn::resources, read_affinity},
    {"ioprio", ioprio, nullptr, "CAP_SYS_ADMIN or CAP_SYS_NICE for the class realtime",
     Turn::resources, read_ioprio},
    {"mempolicy", mempolicy, nullptr, {}, Turn::resources, read_mempolicy},
    {"oom", oom, nullptr, "CAP_SYS_RESOURCE to lower it", Turn::files, read_oom, true},
    {"coredump", coredump, nullptr, {}, Turn::files, read_coredump},
    {"cgroup", cgroup, nullptr, "write access to cgroup.procs here and in the common ancestor",
     Turn::files, read_cgroup, true},
});

}  // namespace

std::span<const SettingRow> resource_settings() { return rows; }

}  // namespace proc9::os
