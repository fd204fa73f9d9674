// Where the children of an embryo, and of a zygote, come from.
#include <linux/sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <array>
#include <cstddef>

#include "daemon/os/child.hpp"
#include "daemon/os/namespaces.hpp"
#include "daemon/os/procfs.hpp"
#include "daemon/os/settings/settings.hpp"

namespace proc9::os {

using core::Result;
using core::Task;

Result<Ends> Ends::make(Workshop& workshop, std::size_t count) {
    Ends ends;
    for (std::size_t i = 0; i < count; ++i) {
        auto pair = TRY(Link::make_pair());
        ends.ours.push_back(
            std::make_shared<Link>(workshop.loop, std::move(pair.first), workshop.counters));
        ends.theirs.push_back(std::make_shared<HeldDescriptor>(std::move(pair.second)));
    }
    return ends;
}

// The kernel gives the child the zygote's own exit signal and parent.
Task<Result<std::vector<core::Pid>>> Child::clone(std::vector<core::DescriptorRef> links,
                                                  core::Birth birth, int how) {
    clone_args arguments{};
    arguments.flags = CLONE_PARENT | CLONE_CLEAR_SIGHAND;
    if (!birth.namespaces.empty()) arguments.flags |= co_await namespace_flags(birth.namespaces);
    Batch batch = this->batch();
    const std::int32_t wanted = birth.pid.value_or(0);
    const bool is_first = (arguments.flags & CLONE_NEWPID) != 0;  // it is 1 there, and this here
    const std::array<std::int32_t, 2> ids{is_first ? 1 : wanted, wanted};
    arguments.set_tid_size = birth.pid ? (is_first ? 2 : 1) : 0;
    const auto wanted_ids = batch.bytes(bytes_of(ids));
    const std::string_view bytes(reinterpret_cast<const char*>(&arguments),  // NOLINT
                                 sizeof arguments);
    const auto place = birth.pid
                           ? batch.with_pointer(bytes, wanted_ids, offsetof(clone_args, set_tid))
                           : batch.bytes(bytes);
    std::vector<std::uint32_t> made;
    for (auto& link : links) {
        const auto fd = batch.send(std::move(link));
        made.push_back(batch.call("clone3", how, place, sizeof arguments, fd).index());
        batch.call("close", SYS_close, fd).always();
    }
    const auto replies = co_await exchange(batch);
    if (!replies) co_return core::refused("clone3", ESRCH);
    std::vector<core::Pid> pids;
    for (const auto index : made) {
        const auto pid = replies->of(index);
        if (!pid && pids.empty()) co_return pid.error();
        if (!pid) break;
        pids.push_back(static_cast<core::Pid>(*pid));
    }
    co_return std::move(pids);
}

Task<Result<std::unique_ptr<core::Embryo>>> Child::fork() {
    const AccountRef account = account_;
    const bool is_alone = memory_->embryos.size() == 1 && files_->embryos.size() == 1;
    auto copy = is_alone ? copies_.take() : nullptr;
    if (!copy) {
        const bool is_to_stay = is_alone && copies_.is_wanted() && copies_.size() == 0;
        auto made = co_await copies(is_to_stay ? 2 : 1);
        // Unless this one was changed meanwhile.
        if (made.size() == 2 && copies_.is_wanted()) copies_.add(std::move(made.back()));
        copy = std::move(made.front());
    }
    if (account) co_await copy->belong_to(account);
    co_return std::unique_ptr<core::Embryo>(std::move(copy));
}

Task<Result<Children>> Child::cast(std::size_t count) {
    Child* const mould = copies_.oldest();
    if (!mould) co_return core::refused("clone3", ESRCH);
    (void)mould->passed_on();  // once, for all of them
    co_return co_await mould->copies(count).result();
}

// What a copy is to be, whatever becomes of the original.
struct Child::Original {
    Workshop& workshop;
    std::shared_ptr<Zygote> maker;
    core::Pid parent;
    std::string users;
    core::Address stub;
    StartPlan plan;
    std::vector<core::Setting> not_inherited;
    std::optional<std::vector<core::Setting>> passed_on;
    std::size_t threads;
    Batch forgetting;  // of what those who share hide: the copy has copies
};

// The stub copies itself as a zygote does; of an adopted one the copy is its parent's child. The kernel lets the
// first process of a pid namespace have no siblings.
Task<Result<Children>> Child::copies(std::size_t count) {
    if (users_.empty()) users_ = (co_await procfs::fields(pid_))["Uid"];
    const Original original{workshop_,      maker_,     parent_,
                            users_,         stub_,      plan,
                            not_inherited_, passed_on_, parked_.size() + owed_,
                            forget_others()};
    Ends ends = co_await Ends::make(workshop_, count);
    auto made = co_await clone(std::move(ends.theirs), {}, PROC9_CALL_FORK).result();
    // This one may be gone from here on.
    if (!made) bury(original.workshop, ends.ours);
    if (!made && made.error().code == std::errc::invalid_argument)
        co_return core::fail(std::errc::not_supported, "the process is the first of its namespace");
    const auto pids = co_await std::move(made);
    Children children;
    std::optional<core::Error> problem;
    for (std::size_t i = 0; i < pids.size(); ++i) {
        auto child = co_await raise(original, std::move(ends.ours[i]), pids[i]).result();
        if (child) children.push_back(std::move(*child));
        if (!child) problem = std::move(child).error();
    }
    if (children.empty()) co_return std::move(*problem);
    co_return std::move(children);
}

Task<Result<std::unique_ptr<Child>>> Child::raise(const Original& original,
                                                  std::shared_ptr<Link> link, core::Pid pid) {
    auto greeting = original.parent != 0 ? Child::meet(original.workshop, std::move(link),
                                                       original.parent, original.users)
                                         : Child::greet(original.workshop, std::move(link), pid);
    auto child = co_await std::move(greeting);
    child->maker_ = original.maker;
    child->stub_ = original.stub;
    child->plan = original.plan;
    if (original.forgetting.count() != 0) co_await child->run_checked(original.forgetting);
    co_await child->park(original.threads);
    auto settings = original.not_inherited;
    co_await apply_settings(*child, settings);
    child->passed_on_ = original.passed_on;
    child->users_ = original.users;
    co_return std::move(child);
}

// The first of a pid namespace has no siblings, but may have children; they would not be ours.
Task<Result<std::unique_ptr<core::Embryo>>> Child::share(core::Words contexts, core::Birth birth) {
    if (is_adopted())
        co_return core::fail(std::errc::not_supported, "process {} was adopted: it cannot share",
                             pid_);
    const std::uint64_t flags = co_await context_flags(contexts);
    clone_args arguments{};
    arguments.flags = CLONE_PARENT | flags;
    if ((flags & CLONE_SIGHAND) == 0) arguments.flags |= CLONE_CLEAR_SIGHAND;
    if (!birth.namespaces.empty()) arguments.flags |= co_await namespace_flags(birth.namespaces);
    const core::Range place = (flags & CLONE_VM) != 0 ? co_await free_place(hidden()) : hidden();
    Ends ends = co_await Ends::make(workshop_, 1);
    Batch batch = this->batch();
    const auto fd = batch.send(std::move(ends.theirs.front()));
    const auto made = batch.call("clone3", PROC9_CALL_SHARE, batch.bytes(bytes_of(arguments)),
                                 sizeof arguments, fd, place.start);
    auto replies = co_await run(batch).result();
    if (!replies) bury(workshop_, ends.ours);
    const Replies answers = co_await std::move(replies);
    const auto pid = static_cast<core::Pid>(co_await answers.of(made.index()));
    const auto link = answers.argument(made.index(), 2);
    auto greeted = co_await Child::greet(workshop_, std::move(ends.ours.front()), pid).result();
    if (!greeted && (flags & CLONE_VM) != 0) memory_->pages_left.push_back(place);
    if (!greeted && (flags & CLONE_FILES) != 0)
        files_->links_left.push_back(static_cast<int>(link));
    auto child = co_await std::move(greeted);
    if (account_) co_await child->belong_to(account_);
    child->maker_ = maker_;
    child->stub_ = place.start;
    if ((flags & CLONE_VM) != 0) {
        child->memory_ = memory_;
        memory_->embryos.insert(child.get());
    }
    if ((flags & CLONE_FILES) != 0) {
        child->files_ = files_;
        files_->embryos.insert(child.get());
    }
    co_return std::unique_ptr<core::Embryo>(std::move(child));
}

Batch Child::forget_others() const {
    Batch batch = this->batch();
    for (const auto& range : hidden_ranges()) {
        if (range != hidden()) batch.call("munmap", SYS_munmap, range.start, range.length);
    }
    for (const int link : hidden_links()) {
        if (link != link_number_) batch.call("close", SYS_close, link).keep_going();
    }
    return batch;
}

}  // namespace proc9::os
