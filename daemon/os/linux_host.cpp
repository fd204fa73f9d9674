#include "daemon/os/linux_host.hpp"

#include <fcntl.h>
#include <sys/syscall.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <sstream>

#include "daemon/os/child.hpp"
#include "daemon/os/memory.hpp"
#include "daemon/os/procfs.hpp"
#include "daemon/os/registers.hpp"
#include "daemon/os/settings/settings.hpp"
#include "daemon/os/source.hpp"
#include "daemon/os/zygote.hpp"

namespace proc9::os {
namespace {

using core::Result;
using core::Task;

// An embryo takes two. With CAP_SYS_RESOURCE the limit is that of the kernel, as it is where nobody changed it.
rlimit raise_descriptor_limit() {
    constexpr rlim_t kernels = 1U << 20U;
    rlimit before{};
    (void)::getrlimit(RLIMIT_NOFILE, &before);
    const rlim_t most = std::max(before.rlim_max, kernels);
    for (const rlim_t wanted : {most, before.rlim_max}) {
        const rlimit raised{wanted, wanted};
        if (::setrlimit(RLIMIT_NOFILE, &raised) == 0) break;
    }
    return before;
}

std::uint32_t first_number(const std::string& text) {
    std::uint32_t number = 0;
    std::istringstream(text) >> number;
    return number;
}

// Root may look into everything; others into what runs as they do. The kernel's own check of the
// daemon comes on top.
Result<> check_same_user(const core::Identity& who, core::Pid pid) {
    if (who.uid == 0) return {};
    const auto uid = TRY(procfs::fields(pid))["Uid"];
    if (!uid.empty() && first_number(uid) == who.uid) return {};
    return core::fail(std::errc::permission_denied, "process {} is another user's", pid);
}

// Every child is what the daemon is.
Result<> check_creator(const core::Identity& who) {
    if (who.uid == ::geteuid()) return {};
    return core::fail(std::errc::operation_not_permitted,
                      "this daemon makes processes of user {} only", ::geteuid());
}

Result<core::DescriptorRef> held(Result<UniqueFd> fd) {
    return core::DescriptorRef(std::make_shared<HeldDescriptor>(TRY(std::move(fd))));
}

// Of a thread that is not the first of its process since Linux 6.9.
Result<UniqueFd> open_pidfd(core::Pid thread) {
    constexpr unsigned of_thread = O_EXCL;  // PIDFD_THREAD, which is younger than our headers
    UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, thread, 0)));
    if (pidfd) return pidfd;
    if (errno != EINVAL && errno != ENOENT) return core::refused("pidfd_open", errno);
    return check_fd("pidfd_open", static_cast<int>(::syscall(SYS_pidfd_open, thread, of_thread)));
}

Result<core::Pid> group_of(core::Pid thread) {
    const auto group = TRY(procfs::fields(thread))["Tgid"];
    if (group.empty()) return core::refused("read", ESRCH);
    return static_cast<core::Pid>(first_number(group));
}

Result<core::DescriptorRef> take(int pidfd, core::Pid from, int number,
                                 const procfs::DescriptorInfo& info) {
    UniqueFd fd(static_cast<int>(::syscall(SYS_pidfd_getfd, pidfd, number, 0)));
    if (fd) return held(std::move(fd));
    if (errno != EPERM) return core::refused("pidfd_getfd", errno);
    // Yama lets only parents attach. Another open file description of the same file will do, except
    // for sockets, which cannot be opened.
    const std::string path = fmt::format("/proc/{}/fd/{}", from, number);
    UniqueFd reopened =
        TRY(check_fd("open", ::open(path.c_str(), (info.flags & (O_ACCMODE | O_APPEND)) |
                                                      O_NONBLOCK | O_CLOEXEC | O_NOCTTY)));
    TRY(check("fcntl", ::fcntl(reopened.get(), F_SETFL, info.flags & (O_APPEND | O_NONBLOCK))));
    return held(std::move(reopened));
}

}  // namespace

struct LinuxHost::Parts {
    Parts(Loop& loop, std::size_t pool_size)
        : tracer(loop),
          morgue(loop),
          workshop{loop, tracer, morgue, counters, raise_descriptor_limit(), pool_size},
          zygote(workshop) {}

    // To use one of our own mount would be to wait for ourselves.
    [[nodiscard]] bool is_own(const procfs::DescriptorInfo& info) const {
        return own_mount && info.mount == *own_mount;
    }

    Counters counters;
    Tracer tracer;
    Morgue morgue;
    Workshop workshop;
    Zygote zygote;
    std::optional<int> own_mount;
};

LinuxHost::LinuxHost(Loop& loop, std::size_t pool_size)
    : parts_(std::make_unique<Parts>(loop, pool_size)) {}
LinuxHost::~LinuxHost() = default;

void LinuxHost::mounted_at(const std::string& path) { parts_->own_mount = procfs::mount_at(path); }

LinuxHost::Figures LinuxHost::figures() const {
    return {parts_->zygote.pooled(), parts_->counters.batches, parts_->counters.remote_calls};
}

Task<Result<std::unique_ptr<core::Embryo>>> LinuxHost::efork(const core::Identity& creator,
                                                             core::Birth birth) {
    co_await check_creator(creator);
    auto child = co_await parts_->zygote.make_child(std::move(birth));
    co_return std::unique_ptr<core::Embryo>(std::move(child));
}

Task<Result<std::unique_ptr<core::Embryo>>> LinuxHost::adopt(const core::Identity& who,
                                                             core::Pid parent, int link) {
    co_await check_creator(who);
    const auto given = co_await take_descriptor(who, parent, link);
    co_await Link::check_foreign(given->number());
    UniqueFd end = co_await check_fd("fcntl", ::fcntl(given->number(), F_DUPFD_CLOEXEC, 0));
    auto foreign = std::make_shared<Link>(parts_->workshop.loop, std::move(end), parts_->counters);
    const core::Pid group = co_await group_of(parent);
    auto child = co_await Child::adopt(parts_->workshop, std::move(foreign), group);
    co_return std::unique_ptr<core::Embryo>(std::move(child));
}

Result<core::MemoryRef> LinuxHost::make_memory() { return os::make_memory(); }

Result<std::pair<core::DescriptorRef, core::DescriptorRef>> LinuxHost::make_pipe() {
    std::array<int, 2> ends{};
    TRY(check("pipe2", ::pipe2(ends.data(), O_CLOEXEC)));
    auto reader = TRY(held(UniqueFd(ends[0])));
    auto writer = TRY(held(UniqueFd(ends[1])));
    return std::pair(std::move(reader), std::move(writer));
}

std::vector<std::string> LinuxHost::register_names() const { return arch::register_names(); }

Result<std::string> LinuxHost::register_for(const std::string& name, std::uint64_t value) const {
    return arch::register_for(name, value);
}

std::uint64_t LinuxHost::now_ms() const {
    using std::chrono::steady_clock;
    return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(
                                          steady_clock::now().time_since_epoch())
                                          .count());
}

Result<core::Pid> LinuxHost::process_of_thread(core::Pid thread) {
    // Most are the first thread of their process. The kernel looks at that before it asks who may.
    if (::syscall(SYS_tgkill, thread, thread, 0) == 0 || errno == EPERM) return thread;
    const core::Pid group = TRY(group_of(thread));
    // When the first has ended, nothing of the process is to be seen there.
    const auto first = procfs::fields(group);
    return first && (*first)["State"].starts_with('Z') ? thread : group;
}

Result<core::DescriptorRef> LinuxHost::take_descriptor(const core::Identity& who, core::Pid from,
                                                       int number) {
    TRY(check_same_user(who, from));
    const UniqueFd pidfd = TRY(open_pidfd(from));
    const auto info = procfs::descriptor_info(from, number);
    if (!info && info.error().code != std::errc::no_such_process) return info.error();
    if (!info)
        return core::fail(std::errc::bad_file_descriptor, "process {} has no descriptor {}", from,
                          number);
    if (parts_->is_own(*info))
        return core::fail(
            std::errc::invalid_argument,
            "descriptor {} of process {} is a file of proc9 itself (a shell that redirects "
            "its own echo has the ctl file there: keep a copy first, as in `exec 3>&1`)",
            number, from);
    return take(pidfd.get(), from, number, *info);
}

Result<std::vector<core::Numbered>> LinuxHost::take_inheritable(const core::Identity& who,
                                                                core::Pid from) {
    TRY(check_same_user(who, from));
    const UniqueFd pidfd = TRY(open_pidfd(from));
    std::vector<core::Numbered> taken;
    for (const int number : TRY(procfs::numbers(from, "fd"))) {
        const auto info = procfs::descriptor_info(from, number);
        if (!info || (info->flags & O_CLOEXEC) != 0 || parts_->is_own(*info)) continue;
        auto descriptor = take(pidfd.get(), from, number, *info);
        const bool has_gone =
            !descriptor && descriptor.error().code == std::errc::bad_file_descriptor;
        if (!has_gone) taken.push_back({number, TRY(std::move(descriptor))});
    }
    return taken;
}

Result<core::Words> LinuxHost::environment_of(const core::Identity& who, core::Pid from) {
    TRY(check_same_user(who, from));
    core::Words words;
    std::istringstream text(TRY(procfs::read(from, "environ")));
    for (std::string word; std::getline(text, word, '\0');) words.push_back(word);
    return words;
}

Result<core::DescriptorRef> LinuxHost::directory_of(const core::Identity& who, core::Pid from) {
    TRY(check_same_user(who, from));
    // O_PATH: nothing is asked of the file system that the directory is on.
    const std::string path = fmt::format("/proc/{}/cwd", from);
    return held(check_fd("open", ::open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)));
}

Result<std::vector<core::Setting>> LinuxHost::settings_of(const core::Identity& who,
                                                          core::Pid thread) {
    TRY(check_same_user(who, thread));
    return passed_on(thread);
}

Task<Result<std::unique_ptr<core::Source>>>
LinuxHost::freeze(const core::Identity& who, core::Pid from, core::Pid waiting, bool is_embryo) {
    co_await check_same_user(who, from);
    if (from == ::getpid())
        co_return core::fail(std::errc::operation_not_permitted, "this is the daemon itself");
    std::unique_ptr<core::Source> source;
    if (is_embryo) {
        source = co_await FrozenProcess::look(parts_->workshop, from);
    } else {
        source = co_await FrozenProcess::freeze(parts_->workshop, from, waiting);
    }
    co_return std::move(source);
}

}  // namespace proc9::os
