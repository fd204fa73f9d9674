#include "daemon/os/zygote.hpp"

#include <fcntl.h>
#include <linux/sched.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <algorithm>
#include <csignal>

#include "daemon/keeper/keeper.hpp"
#include "daemon/os/memory.hpp"
#include "daemon/os/settings/facts.hpp"
#include "daemon/os/stub_image.hpp"

namespace proc9::os {
namespace {

using core::Result;
using core::Task;

constexpr auto patience_with_zygote = std::chrono::seconds(2);
constexpr std::size_t most_of_others = 4;

Result<UniqueFd> open_program() {
    const auto bytes = stub_program();
    UniqueFd file = TRY(make_memfd("proc9-stub", MFD_ALLOW_SEALING));
    if (TRY(check("write", ::write(file.get(), bytes.data(), bytes.size()))) !=
        static_cast<ssize_t>(bytes.size()))
        return core::refused("write", ENOSPC);
    // All who are made of it have the same one.
    TRY(check("fchmod", ::fchmod(file.get(), 0555)));
    TRY(check("fcntl",
              ::fcntl(file.get(), F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK)));
    // Not where the link will be: that number is overwritten before exec.
    const int moved = ::fcntl(file.get(), F_DUPFD_CLOEXEC, PROC9_LINK + 1);
    if (moved < 0 && errno == EINVAL) return core::refused("fcntl", EMFILE);  // the limit is below
    return check_fd("fcntl", moved);
}

struct SpawnPlan {
    posix_spawn_file_actions_t actions{};
    posix_spawnattr_t attributes{};

    SpawnPlan() {
        ::posix_spawn_file_actions_init(&actions);
        ::posix_spawnattr_init(&attributes);
    }
    ~SpawnPlan() {
        ::posix_spawn_file_actions_destroy(&actions);
        ::posix_spawnattr_destroy(&attributes);
    }
    SpawnPlan(const SpawnPlan&) = delete;
    SpawnPlan& operator=(const SpawnPlan&) = delete;
};

// Starts the stub with nothing of the daemon's: no signal blocked or ignored, its limits as they
// were when the daemon was started, no descriptor but the link.
Result<core::Pid> exec_stub(int link, const rlimit& descriptors) {
    const UniqueFd program = TRY(open_program());
    SpawnPlan plan;
    sigset_t all;
    sigset_t none;
    sigfillset(&all);
    sigemptyset(&none);
    ::posix_spawn_file_actions_adddup2(&plan.actions, link, PROC9_LINK);
    ::posix_spawnattr_setsigdefault(&plan.attributes, &all);
    ::posix_spawnattr_setsigmask(&plan.attributes, &none);
    ::posix_spawnattr_setflags(&plan.attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
    const std::string path = fmt::format("/proc/self/fd/{}", program.get());
    std::string name = "proc9-zygote";
    char* const argv[] = {name.data(), nullptr};
    char* const envp[] = {nullptr};
    pid_t pid = 0;
    const int problem = keeper::by_parent([&] {
        return ::posix_spawn(&pid, path.c_str(), &plan.actions, &plan.attributes, argv, envp);
    });
    if (problem != 0) return core::refused("posix_spawn", problem);
    (void)::prlimit(pid, RLIMIT_NOFILE, &descriptors, nullptr);  // ours, at most dead
    return pid;
}

// What is mounted in a new namespace stays there, as after `ns new mnt`.
Task<Result<>> keep_mounts(Child& child) {
    Batch batch = child.batch();
    batch.call("mount", SYS_mount, 0, batch.text("/"), 0, MS_REC | MS_PRIVATE, 0);
    co_await child.run_checked(std::move(batch));
    co_return core::done();
}

}  // namespace

Zygote::Zygote(Workshop& workshop)
    : workshop_(workshop),
      pool_(workshop.loop, workshop.pool_size, Pool::Kind::of_blanks,
            [this](std::size_t count) { return clone({}, count); }) {}

// What is made ahead counts among the processes of its user.
Zygote::Zygote(Workshop& workshop, Zygote& own, Creator creator)
    : workshop_(workshop),
      own_(&own),
      creator_(std::move(creator)),
      pool_(workshop.loop, std::min(workshop.pool_size, most_of_others), Pool::Kind::of_blanks,
            [this](std::size_t count) { return clone({}, count); }) {}

Task<Result<>> Zygote::start() {
    if (parent_ && parent_->is_alive()) co_return core::done();
    parent_.reset();
    auto started = creator_ ? shape() : exec();
    co_await std::move(started);
    parent_->on_exit([this, dead = parent_.get()](const core::ExitStatus&) {
        workshop_.loop.post([this, dead] {
            if (parent_.get() == dead) parent_.reset();
        });
    });
    co_return core::done();
}

Task<Result<>> Zygote::shape() {
    auto child = co_await own_->make_child({});
    const Creator creator = *creator_;  // renewed meanwhile, perhaps
    co_await creator.shape(*child);
    origin_ = Origin::of(child->pid());
    parent_ = std::move(child);
    co_return core::done();
}

Task<Result<>> Zygote::exec() {
    auto ends = co_await Link::make_pair();
    auto link = std::make_shared<Link>(workshop_.loop, std::move(ends.first), workshop_.counters);
    const core::Pid pid = co_await exec_stub(ends.second.get(), workshop_.descriptor_limit);
    ends.second.reset();
    parent_ = co_await Child::greet(workshop_, std::move(link), pid);
    co_return core::done();
}

void Zygote::rest() {
    pool_.clear();
    parent_.reset();
}

core::Saved Zygote::save(core::Saving& saving) const {
    core::Saved saved{{"status", origin_->status}, {"links", origin_->links}};
    if (creator_) saved["creator"] = creator_->save(saving);
    return saved;
}

void Zygote::restore_origin(const core::Saved& saved) {
    auto origin = std::make_shared<Origin>();
    saved.at("status").get_to(origin->status);
    for (const auto& [name, target] : saved.at("links").items()) origin->links[name] = target;
    origin_ = std::move(origin);
}

// One that was stopped, or that does not answer, is killed: another one is started.
Loop::WatchRef Zygote::kill_later() {
    return workshop_.loop.after(patience_with_zygote, [this] {
        if (parent_) (void)parent_->send_signal(SIGKILL);
    });
}

Task<Result<Children>> Zygote::clone(core::Birth birth, std::size_t count) {
    const auto self = shared_from_this();  // until it is done
    const auto turn = co_await turnstile_.enter(nobody_);
    co_await start();
    Ends ends = co_await Ends::make(workshop_, count);
    auto deadline = kill_later();
    auto made = co_await parent_->clone(std::move(ends.theirs), birth).result();
    deadline.reset();
    if (!made) Child::bury(workshop_, ends.ours);
    const auto& kinds = birth.namespaces;
    const bool keeps_mounts = std::find(kinds.begin(), kinds.end(), "mnt") != kinds.end();
    const auto pids = co_await std::move(made);
    Children children;
    std::optional<core::Error> problem;
    for (std::size_t i = 0; i < pids.size(); ++i) {
        auto child = co_await Child::greet(workshop_, std::move(ends.ours[i]), pids[i]).result();
        if (child) children.push_back(std::move(*child));
        if (!child) problem = std::move(child).error();
    }
    if (children.empty()) co_return std::move(*problem);
    for (const auto& child : children) {
        if (keeps_mounts) co_await keep_mounts(*child);
    }
    co_return std::move(children);
}

Task<Result<std::unique_ptr<Child>>> Zygote::make_child(core::Birth birth) {
    const bool is_ordinary = birth.namespaces.empty() && !birth.pid;
    auto child = is_ordinary ? pool_.take() : nullptr;
    if (!child) {
        auto made = co_await clone(birth).result();
        // A zygote that was killed is started again, once.
        if (!made && made.error().code == std::errc::no_such_process)
            made = co_await clone(birth).result();
        Children children = co_await std::move(made);
        child = std::move(children.front());
    }
    child->made_by(shared_from_this());
    co_return std::move(child);
}

Task<Result<Replies>> Zygote::perform(Fill fill) {
    auto performed = co_await perform_once(fill).result();
    if (!performed && performed.error().code == std::errc::no_such_process)
        performed = co_await perform_once(fill).result();
    co_return performed;
}

Task<Result<Replies>> Zygote::perform_once(Fill fill) {
    const auto turn = co_await turnstile_.enter(nobody_);
    co_await start();
    Batch batch = parent_->batch();
    co_await fill(batch);
    const auto deadline = kill_later();
    co_return co_await parent_->run(batch).result();
}

}  // namespace proc9::os
