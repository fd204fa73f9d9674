#include "daemon/os/creator.hpp"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/ioprio.h>
#include <linux/keyctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <array>
#include <csignal>
#include <fstream>

#include "daemon/os/procfs.hpp"

namespace proc9::os {
namespace {

using core::Result;
using core::Task;

constexpr std::uint64_t bit(unsigned capability) { return std::uint64_t{1} << capability; }

// Of root, or he may not do all.
constexpr std::uint64_t of_a_master = bit(CAP_DAC_OVERRIDE) | bit(CAP_KILL) | bit(CAP_SYS_PTRACE);

std::uint64_t capabilities_in(const std::string& field) {
    return core::parse_number("0x" + field).value_or(0);
}

bool is_in_our(std::string_view namespace_link, core::Pid thread) {
    const auto& ours = Origin::daemon()->links;
    const auto found = ours.find(namespace_link);
    const auto its = procfs::link(thread, namespace_link);
    return its && found != ours.end() && *its == found->second;
}

// user:[4026531837]
std::uint64_t number_of_namespace(core::Pid thread, std::string_view link) {
    const auto text = procfs::link(thread, link).value_or("");
    const auto bracket = text.find('[');
    if (bracket == std::string::npos) return 0;
    return core::parse_number(text.substr(bracket + 1, text.size() - bracket - 2)).value_or(0);
}

const char* obstacle_of(core::Pid thread, const procfs::Fields& status) {
    if (!is_in_our("ns/pid", thread)) return "in another pid namespace than the daemon";
    if (status["Seccomp"] != "0") return "under seccomp, which no other process can be given";
    return nullptr;
}

// Which directory it is, without asking its file system: mount and inode as fdinfo tells them.
Result<std::string> place_of(int directory) {
    const auto text = TRY(procfs::read(::getpid(), fmt::format("fdinfo/{}", directory)));
    const auto mount = text.find("mnt_id:");
    return mount == std::string::npos ? "" : text.substr(mount);
}

Result<UniqueFd> root_of(core::Pid thread) {
    const std::string path = fmt::format("/proc/{}/root", thread);
    return check_fd("open", ::open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
}

// Policy, priorities and niceness, in the kernel's own form.
std::string scheduling_of(core::Pid thread) {
    std::array<char, 48> attributes{};  // struct sched_attr, the first version of it
    (void)::syscall(SYS_sched_getattr, thread, attributes.data(), attributes.size(), 0);
    auto of_disks = ::syscall(SYS_ioprio_get, IOPRIO_WHO_PROCESS, thread);
    if (IOPRIO_PRIO_CLASS(of_disks) == IOPRIO_CLASS_IDLE)
        of_disks = IOPRIO_PRIO_VALUE(IOPRIO_CLASS_IDLE, 0);  // which has no levels
    return std::string(attributes.data(), attributes.size()) + std::to_string(of_disks);
}

struct StatusTrait {
    std::string_view name;
    std::string_view key;
};
constexpr auto of_status = std::to_array<StatusTrait>({
    {"its users", "Uid"},
    {"its group", "Gid"},
    {"its groups", "Groups"},
    {"its inheritable capabilities", "CapInh"},
    {"its capabilities", "CapPrm"},
    {"its effective capabilities", "CapEff"},
    {"its bounding set", "CapBnd"},
    {"its ambient capabilities", "CapAmb"},
    {"its no_new_privs", "NoNewPrivs"},
    {"its seccomp filter", "Seccomp"},
    {"its umask", "Umask"},
    {"its processors", "Cpus_allowed_list"},
});

struct FileTrait {
    std::string_view name;
    std::string_view file;
    bool is_link = false;
};
constexpr auto of_files = std::to_array<FileTrait>({
    {"its limits", "limits"},
    {"its control groups", "cgroup"},
    {"its oom adjustment", "oom_score_adj"},
    {"its personality", "personality"},
    {"its security label", "attr/current"},
    {"its cgroup namespace", "ns/cgroup", true},
    {"its ipc namespace", "ns/ipc", true},
    {"its mount namespace", "ns/mnt", true},
    {"its network namespace", "ns/net", true},
    {"the pid namespace of its children", "ns/pid_for_children", true},
    {"its time namespace", "ns/time_for_children", true},
    {"its user namespace", "ns/user", true},
    {"its uts namespace", "ns/uts", true},
});

// The keys that the daemon's user can use are not for others.
void give_keyring(Batch& batch) {
    batch.call("keyctl", SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, 0);
}

// A change of user namespaces closes it to its own user, and the kernel forgets whose death ends it.
void open_up(Batch& batch) {
    batch.call("prctl", SYS_prctl, PR_SET_DUMPABLE, 1);
    batch.call("prctl", SYS_prctl, PR_SET_PDEATHSIG, SIGKILL);
    batch.call("prctl", SYS_prctl, PR_SET_NAME, batch.text("proc9-zygote"));
}

}  // namespace

void identify_caller(core::Request& request) {
    core::Identity& who = request.who;
    const auto status =
        request.thread == 0 ? core::refused("read", ESRCH) : procfs::fields(request.thread);
    if (!status) {
        who.obstacle = "in a pid namespace that the daemon does not see";
        return;
    }
    who.obstacle = obstacle_of(request.thread, *status);
    who.is_confined = (*status)["NoNewPrivs"] != "0";
    const bool is_here = is_in_our("ns/user", request.thread);
    if (is_here) {
        who.capabilities = capabilities_in((*status)["CapPrm"]);
    } else {
        who.realm = number_of_namespace(request.thread, "ns/user");
    }
    who.is_limited = who.uid == 0 && (who.capabilities & of_a_master) != of_a_master;
}

// The parent of a process; 0: there is none, or it has gone.
static core::Pid parent_of(core::Pid pid) {
    const auto status = procfs::fields(pid);
    const auto parent = status ? core::parse_number((*status)["PPid"]) : 0;
    return static_cast<core::Pid>(parent.value_or(0));
}

// Yama's ptrace_scope 1, and what is stricter. Exceptions that a process makes (PR_SET_PTRACER) cannot be seen.
static Result<> check_descent(core::Pid caller, core::Pid target) {
    std::ifstream file("/proc/sys/kernel/yama/ptrace_scope");
    int scope = 0;
    if (!(file >> scope) || scope == 0) return {};
    while (scope == 1 && target > 1 && caller != 0) {
        target = parent_of(target);
        if (target == caller) return {};
    }
    return core::fail(std::errc::operation_not_permitted,
                      "kernel.yama.ptrace_scope is {}: only of a descendant of the caller", scope);
}

Result<> check_traceable(const core::Identity& who, core::Pid caller, core::Pid target) {
    if (who.obstacle)
        return core::fail(std::errc::operation_not_permitted, "the caller is {}", who.obstacle);
    if (who.is_master()) return {};
    auto status = TRY(procfs::fields(target));
    const auto only = [](std::uint32_t id) { return fmt::format("{0}\t{0}\t{0}\t", id); };
    if (!status["Uid"].starts_with(only(who.uid)))
        return core::fail(std::errc::permission_denied, "process {} is another user's", target);
    core::Request its;
    its.thread = target;
    its.who = who;
    identify_caller(its);
    const bool is_open = procfs::owner(target) == who.uid;
    if (!is_open || !status["Gid"].starts_with(only(who.gid)) || its.who.realm != who.realm ||
        (its.who.capabilities & ~who.capabilities) != 0)
        return core::fail(std::errc::operation_not_permitted,
                          "process {} has more rights than the caller", target);
    return check_descent(caller, target);
}

Result<Creator::Traits> Creator::traits_of(core::Pid thread) {
    const auto status = TRY(procfs::fields(thread));
    Traits traits;
    for (const auto& row : of_status) traits.push_back({std::string(row.name), status[row.key]});
    for (const auto& row : of_files) {
        auto text = row.is_link ? procfs::link(thread, row.file) : procfs::read(thread, row.file);
        traits.push_back({std::string(row.name), std::move(text).value_or("")});
    }
    const UniqueFd root = TRY(root_of(thread));
    traits.push_back({"its root", TRY(place_of(root.get()))});
    traits.push_back({"its scheduling", scheduling_of(thread)});
    return traits;
}

Result<Creator> Creator::of(const core::Request& request) {
    if (request.who.obstacle)
        return core::fail(std::errc::operation_not_permitted, "the caller is {}",
                          request.who.obstacle);
    Creator creator;
    creator.traits_ = TRY(traits_of(request.thread));
    const Facts facts = TRY(observe(request.thread));
    creator.standing_ =
        standing(facts, std::make_shared<HeldDescriptor>(TRY(root_of(request.thread))));
    for (const auto& trait : creator.traits_) creator.key_ += trait.text + '\0';
    return creator;
}

Task<Result<>> Creator::shape(Child& child) const {
    auto settings = standing_;
    auto shaped = co_await apply_settings(child, settings).result();
    if (!shaped)
        co_return core::fail(std::errc::operation_not_permitted,
                             "no process can be made equal to the caller: {}: {}",
                             settings.front().name, shaped.error().why);
    Batch last = child.batch();
    open_up(last);
    give_keyring(last);
    const Replies replies = co_await child.run(last);
    auto keys = replies.checked();
    const bool has_none = !keys && keys.error().code == std::errc::function_not_supported;
    if (!has_none) co_await std::move(keys);
    const Traits now = co_await traits_of(child.pid());
    for (std::size_t i = 0; i < traits_.size(); ++i) {
        if (now.at(i).text != traits_[i].text)
            co_return core::fail(std::errc::operation_not_permitted,
                                 "no process can be made equal to the caller: it has not {}",
                                 traits_[i].name);
    }
    co_return core::done();
}

core::Saved Creator::save(core::Saving& saving) const {
    core::Saved traits = core::Saved::array();
    for (const auto& trait : traits_) traits.push_back({trait.name, trait.text});
    core::Saved standing = core::Saved::array();
    for (const auto& setting : standing_) {
        core::Saved told = setting;
        if (setting.directory) told["directory"] = saving.descriptor(setting.directory->number());
        standing.push_back(std::move(told));
    }
    return {{"traits", traits}, {"standing", standing}};
}

Creator Creator::restore(const core::Saved& saved) {
    Creator creator;
    for (const auto& told : saved.at("traits")) creator.traits_.push_back({told.at(0), told.at(1)});
    for (const auto& told : saved.at("standing")) {
        auto setting = told.get<core::Setting>();
        if (told.contains("directory"))
            setting.directory =
                std::make_shared<HeldDescriptor>(UniqueFd(told.at("directory").get<int>()));
        creator.standing_.push_back(std::move(setting));
    }
    for (const auto& trait : creator.traits_) creator.key_ += trait.text + '\0';
    return creator;
}

}  // namespace proc9::os
