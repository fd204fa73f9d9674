// What the process may use: limits, processors, memory, control groups.
#include <fcntl.h>
#include <linux/ioprio.h>
#include <linux/mempolicy.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>

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

// The hard limit as the kernel prints it: `Max open files  1024  4096  files`.
Result<std::uint64_t> hard_limit(core::Pid pid, const LimitName& limit) {
    std::istringstream lines(TRY(procfs::read(pid, "limits")));
    for (std::string line; std::getline(lines, line);) {
        if (!line.starts_with(limit.line)) continue;
        std::istringstream words(line.substr(limit.line.size()));
        std::string soft;
        std::string hard;
        words >> soft >> hard;
        return limit_value(hard);
    }
    return fail(std::errc::not_supported, "this kernel has no limit {}", limit.name);
}

Task<Result<>> limit(Child& child, const core::Setting& setting) {
    const LimitName* const row = co_await limit_named(setting.words.at(0));
    const std::string_view value = setting.words.at(1);
    const auto colon = value.find(':');
    rlimit wanted{};
    wanted.rlim_cur = co_await limit_value(value.substr(0, colon));
    if (colon == std::string_view::npos) {
        wanted.rlim_max = co_await hard_limit(child.pid(), *row);
    } else {
        wanted.rlim_max = co_await limit_value(value.substr(colon + 1));
    }
    if (wanted.rlim_cur > wanted.rlim_max)
        co_return fail(std::errc::invalid_argument, "the soft limit is above the hard one");
    Batch batch = child.batch();
    batch.call("prlimit64", SYS_prlimit64, 0, row->number, batch.bytes(bytes_of(wanted)), 0);
    co_await child.run_checked(std::move(batch));
    co_return done();
}

// ---------------------------------------------------------------------------------------------
// Scheduling

Result<> nice(Batch& batch, const Words& words) {
    const auto level = TRY(core::parse_signed("nice value", words.at(0), -20, 19));
    batch.call("setpriority", SYS_setpriority, PRIO_PROCESS, 0, level);
    return {};
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

Result<> scheduling_word(SchedulingAttributes& attributes, const std::string& word) {
    constexpr std::uint64_t reset_on_fork = 1;
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

Result<> affinity(Batch& batch, const Words& words) {
    const auto mask = TRY(parse_mask("processor", words.at(0)));
    const std::string_view bytes = bytes_of(mask);
    batch.call("sched_setaffinity", SYS_sched_setaffinity, 0, bytes.size(), batch.bytes(bytes));
    return {};
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
    // The kernel looks at one bit less than it is told.
    const std::uint64_t bits = nodes.empty() ? 0 : nodes.size() * 64 + 1;
    nodes.push_back(0);
    batch.call("set_mempolicy", SYS_set_mempolicy, mode, batch.bytes(bytes_of(nodes)), bits);
    return {};
}

// A file of /proc/PID, which the child itself may not see (it may have no /proc): the daemon opens
// it, the child writes.
Task<Result<>> write_file(Child& child, const char* name, std::string text) {
    const std::string path = fmt::format("/proc/{}/{}", child.pid(), name);
    UniqueFd fd = co_await check_fd("open", ::open(path.c_str(), O_WRONLY | O_CLOEXEC));
    Batch batch = child.batch();
    const auto file = batch.send(std::make_shared<HeldDescriptor>(std::move(fd)));
    batch.call("write", SYS_write, file, batch.bytes(text), text.size());
    batch.call("close", SYS_close, file).always();
    co_await child.run_checked(std::move(batch));
    co_return done();
}

Task<Result<>> oom(Child& child, const core::Setting& setting) {
    const auto score = co_await core::parse_signed("adjustment", setting.words.at(0), -1000, 1000);
    co_await write_file(child, "oom_score_adj", std::to_string(score));
    co_return done();
}

Task<Result<>> coredump(Child& child, const core::Setting& setting) {
    const auto mask = co_await core::parse_number_up_to("mask", setting.words.at(0), 0x1ff);
    co_await write_file(child, "coredump_filter", fmt::format("{:#x}", mask));
    co_return done();
}

Result<> cgroup(Batch& batch, const Words& words) {
    const auto file =
        batch.call("open", SYS_openat, AT_FDCWD, batch.text(words.at(0) + "/cgroup.procs"),
                   O_WRONLY | O_CLOEXEC, 0);
    batch.call("write", SYS_write, file, batch.text("0"), 1);  // 0: who writes
    batch.call("close", SYS_close, file).always();
    return {};
}

constexpr auto rows = std::to_array<SettingRow>({
    {"limit", nullptr, limit, "CAP_SYS_RESOURCE to raise a hard limit"},
    {"nice", nice, nullptr, "CAP_SYS_NICE, or a higher `limit NICE`, to be less nice"},
    {"sched", nullptr, sched, "CAP_SYS_NICE, or a higher `limit RTPRIO`"},
    {"affinity", affinity},
    {"ioprio", ioprio, nullptr, "CAP_SYS_ADMIN or CAP_SYS_NICE for the class realtime"},
    {"mempolicy", mempolicy},
    {"oom", nullptr, oom, "CAP_SYS_RESOURCE to lower it"},
    {"coredump", nullptr, coredump},
    {"cgroup", cgroup, nullptr, "write access to cgroup.procs here and in the common ancestor"},
});

}  // namespace

std::span<const SettingRow> resource_settings() { return rows; }

}  // namespace proc9::os
