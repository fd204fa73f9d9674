#include "daemon/os/linux_host.hpp"

#include <fcntl.h>
#include <sys/syscall.h>

#include <algorithm>
#include <array>
#include <chrono>

#include "daemon/keeper/keeper.hpp"
#include "daemon/os/child.hpp"
#include "daemon/os/memory.hpp"
#include "daemon/os/procfs.hpp"
#include "daemon/os/registers.hpp"
#include "daemon/os/settings/settings.hpp"
#include "daemon/os/source.hpp"
#include "daemon/os/zygotes.hpp"

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
        if (::setrlimit(RLIMIT_NOFILE, &raised) != 0) continue;
        (void)::prlimit(keeper::parent(), RLIMIT_NOFILE, &raised, nullptr);
        break;
    }
    return before;
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
    const auto group = core::parse_number(TRY(procfs::fields(thread))["Tgid"]);
    if (!group) return core::refused("read", ESRCH);
    return static_cast<core::Pid>(*group);
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

// Servers of files, by the names that they have for the kernel. This is no protection, and need not be: who takes
// another name gives away what is its own.
constexpr auto carriers = std::to_array<std::string_view>(
    {"diod", "nfsd", "sftp-server", "smbd", "sshd", "sshd-session", "virtiofsd"});

// What a server of files has itself is not what those mean whose requests it carries.
Result<> check_giver(core::Pid caller) {
    const std::string name = TRY(procfs::fields(caller))["Name"];
    if (std::find(carriers.begin(), carriers.end(), name) == carriers.end()) return {};
    return core::fail(
        std::errc::operation_not_permitted,
        "the caller is {}, which carries the requests of another machine: what is its "
        "own is not yours, and what is yours does not cross",
        name);
}

}  // namespace

struct LinuxHost::Parts {
    Parts(Loop& loop, const HostOptions& options)
        : tracer(loop),
          morgue(loop),
          rounds(loop),
          workshop{loop,
                   tracer,
                   morgue,
                   rounds,
                   counters,
                   options.descriptors ? *options.descriptors : raise_descriptor_limit(),
                   options.pool_size,
                   options.serves_all},
          accounts(options.serves_all, options.limits),
          zygotes(workshop) {}

    // To use one of our own mount would be to wait for ourselves.
    [[nodiscard]] bool is_own(const procfs::DescriptorInfo& info) const {
        return own_mount && info.mount == own_mount->id;
    }

    Counters counters;
    Tracer tracer;
    Morgue morgue;
    Rounds rounds;
    Workshop workshop;
    Accounts accounts;
    Zygotes zygotes;
    std::optional<procfs::Mount> own_mount;
};

LinuxHost::LinuxHost(Loop& loop, HostOptions options)
    : parts_(std::make_unique<Parts>(loop, options)) {}
LinuxHost::~LinuxHost() = default;

void LinuxHost::mounted_at(const std::string& path) { parts_->own_mount = procfs::mount_at(path); }

LinuxHost::Figures LinuxHost::figures() const {
    return {parts_->zygotes.own().pooled(), parts_->counters.batches,
            parts_->counters.remote_calls};
}

Result<> LinuxHost::check_served(const core::Request& request) const {
    if (parts_->workshop.serves_all || request.who.uid == ::geteuid()) return {};
    return core::fail(std::errc::operation_not_permitted, "this daemon serves user {} only",
                      ::geteuid());
}

void LinuxHost::identify(core::Request& request) {
    if (parts_->workshop.serves_all) identify_caller(request);
}

Task<Result<std::unique_ptr<core::Embryo>>> LinuxHost::efork(const core::Request& request,
                                                             core::Birth birth) {
    co_await check_served(request);
    const AccountRef account = parts_->accounts.of(request.who);
    const auto zygote = co_await parts_->zygotes.of(request);
    auto child = co_await zygote->make_child(std::move(birth));
    co_await child->belong_to(account);
    co_return std::unique_ptr<core::Embryo>(std::move(child));
}

Task<Result<std::unique_ptr<core::Embryo>>> LinuxHost::adopt(const core::Request& request,
                                                             core::Pid parent, int link) {
    co_await check_served(request);
    const AccountRef account = parts_->accounts.of(request.who);
    const auto zygote = co_await parts_->zygotes.of(request);
    const auto given = co_await take_descriptor(request, parent, link);
    co_await Link::check_foreign(given->number());
    UniqueFd end = co_await check_fd("fcntl", ::fcntl(given->number(), F_DUPFD_CLOEXEC, 0));
    auto foreign = std::make_shared<Link>(parts_->workshop.loop, std::move(end), parts_->counters);
    const core::Pid group = co_await group_of(parent);
    auto child =
        co_await Child::adopt(parts_->workshop, std::move(foreign), group, request.who.uid);
    child->made_by(zygote);
    co_await child->belong_to(account);
    co_return std::unique_ptr<core::Embryo>(std::move(child));
}

rlimit LinuxHost::descriptor_limit() const { return parts_->workshop.descriptor_limit; }
bool LinuxHost::is_quiet() const { return parts_->tracer.is_idle(); }
void LinuxHost::rest() { parts_->zygotes.rest(); }

core::DescriptorRef LinuxHost::hold_descriptor(int descriptor) {
    return std::make_shared<HeldDescriptor>(UniqueFd(descriptor));
}

std::unique_ptr<core::Embryo> LinuxHost::restore(const core::Saved& saved,
                                                 core::Restoring& restoring) {
    auto child = Child::restore(parts_->workshop, saved, restoring);
    if (saved.contains("maker")) {
        const core::Saved& told = saved.at("maker");
        child->made_by(
            restoring.common<Zygote>(told, [&] { return parts_->zygotes.restore(told); }));
    }
    if (saved.contains("account")) {
        const core::Saved& told = saved.at("account");
        child->answers_to(parts_->accounts.of(told.at(0), told.at(1)));
    }
    return child;
}

Result<core::MemoryRef> LinuxHost::make_memory() { return os::make_memory(); }

Result<std::pair<core::DescriptorRef, core::DescriptorRef>> LinuxHost::make_pipe() {
    std::array<int, 2> ends{};
    TRY(check("pipe2", ::pipe2(ends.data(), O_CLOEXEC)));
    auto reader = TRY(held(UniqueFd(ends[0])));
    auto writer = TRY(held(UniqueFd(ends[1])));
    return std::pair(std::move(reader), std::move(writer));
}

std::vector<std::string> LinuxHost::register_names() const { return os::register_names(); }

Result<std::string> LinuxHost::register_for(const std::string& name, std::uint64_t value) const {
    return os::register_for(name, value);
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

// What one has oneself one may hand over, but for who carries requests. Else the kernel says no to the daemon, or, where that could do all, this does.
Result<> LinuxHost::check_access(const core::Request& request, core::Pid pid) {
    TRY(check_served(request));
    const auto own = process_of_thread(request.thread);
    if (own && *own == pid) return check_giver(pid);
    if (!parts_->workshop.serves_all) return {};
    return check_traceable(request.who, own.value_or(0), pid);
}

Result<core::DescriptorRef> LinuxHost::take_descriptor(const core::Request& request, core::Pid from,
                                                       int number) {
    TRY(check_access(request, from));
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
    auto taken = TRY(take(pidfd.get(), from, number, *info));
    TRY(check_access(request, from));  // still: it may have become another program
    return taken;
}

Result<std::vector<core::Numbered>> LinuxHost::take_inheritable(core::Pid from) {
    TRY(check_giver(from));
    const UniqueFd pidfd = TRY(open_pidfd(from));
    std::vector<core::Numbered> taken;
    for (const int number : TRY(procfs::numbers(from, "fd"))) {
        auto info = procfs::descriptor_info(from, number);
        const bool is_closed = !info && info.error().code == std::errc::no_such_process;
        if (is_closed) continue;
        const auto known = TRY(std::move(info));
        if ((known.flags & O_CLOEXEC) != 0 || parts_->is_own(known)) continue;
        auto descriptor = take(pidfd.get(), from, number, known);
        const bool has_gone =
            !descriptor && descriptor.error().code == std::errc::bad_file_descriptor;
        if (!has_gone) taken.push_back({number, TRY(std::move(descriptor))});
    }
    return taken;
}

Result<core::DescriptorRef> LinuxHost::environment_of(core::Pid from) {
    TRY(check_giver(from));
    const std::string path = fmt::format("/proc/{}/environ", from);
    return held(check_fd("open", ::open(path.c_str(), O_RDONLY | O_CLOEXEC)));
}

Result<core::DescriptorRef> LinuxHost::directory_of(core::Pid from) {
    TRY(check_giver(from));
    // O_PATH: nothing is asked of the file system that the directory is on.
    const std::string path = fmt::format("/proc/{}/cwd", from);
    return held(check_fd("open", ::open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)));
}

Result<std::vector<core::Setting>> LinuxHost::settings_of(core::Pid thread) {
    TRY(check_giver(thread));
    return passed_on(thread);
}

Task<Result<std::unique_ptr<core::Source>>> LinuxHost::freeze(const core::Request& request,
                                                              core::Pid from, bool is_embryo) {
    co_await check_access(request, from);
    if (from == ::getpid() || from == keeper::parent())
        co_return core::fail(std::errc::operation_not_permitted, "this is the daemon itself");
    std::unique_ptr<core::Source> source;
    if (is_embryo) {
        source = co_await FrozenProcess::look(parts_->workshop, from);
    } else {
        source = co_await FrozenProcess::freeze(parts_->workshop, from, request.thread);
    }
    co_await check_access(request, from);  // still: it may have become another program
    co_return std::move(source);
}

}  // namespace proc9::os
