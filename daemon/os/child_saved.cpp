// A child, told to the next daemon, whose child it is then: or its keeper's.
#include "daemon/os/child.hpp"
#include "daemon/os/memory.hpp"
#include "daemon/os/zygote.hpp"

namespace proc9::os {

using core::Saved;

Saved Sharers::save() const {
    return {{"is_running", is_running}, {"pages_left", pages_left}, {"links_left", links_left}};
}

std::shared_ptr<Sharers> Sharers::restore(const Saved& saved) {
    auto sharers = std::make_shared<Sharers>();
    saved.at("is_running").get_to(sharers->is_running);
    saved.at("pages_left").get_to(sharers->pages_left);
    saved.at("links_left").get_to(sharers->links_left);
    return sharers;
}

Saved StartPlan::save() const {
    return {{"death_signal", death_signal},
            {"hangs", hangs},
            {"is_dumpable", is_dumpable},
            {"filters", filters}};
}

StartPlan StartPlan::restore(const Saved& saved) {
    return {saved.at("death_signal"), saved.at("hangs"), saved.at("is_dumpable"),
            saved.at("filters").get<std::vector<std::string>>()};
}

// What was made ahead is not told: it is made again.
Saved Child::save_state(core::Saving& saving) {
    const auto number = [&](int fd) { return fd < 0 ? fd : saving.descriptor(fd); };
    Saved saved{{"pid", pid_},
                {"parent", parent_},
                {"pidfd", number(pidfd_.get())},
                {"link", number(link_->number())},
                {"memory", saving.common(memory_.get(), [this] { return memory_->save(); })},
                {"files", saving.common(files_.get(), [this] { return files_->save(); })},
                {"is_sharer", memory_->embryos.contains(this)},
                {"parked", parked_},
                {"parked_inside", parked_inside_},
                {"owed", owed_},
                {"stub", stub_.value},
                {"link_number", link_number_},
                {"started", started_},
                {"plan", plan.save()},
                {"passed_on", passed_on_},
                {"users", users_},
                {"not_inherited", not_inherited_},
                {"exited", exited_}};
    if (maker_) saved["maker"] = saving.common(maker_.get(), [&] { return maker_->save(saving); });
    if (account_) saved["account"] = {account_->uid, account_->is_limited()};
    return saved;
}

std::unique_ptr<Child> Child::restore(Workshop& workshop, const Saved& saved,
                                      core::Restoring& restoring) {
    auto link = std::make_shared<Link>(workshop.loop, UniqueFd(saved.at("link").get<int>()),
                                       workshop.counters);
    auto child =
        std::make_unique<Child>(workshop, saved.at("pid"), UniqueFd(saved.at("pidfd").get<int>()),
                                std::move(link), saved.at("parent"));
    const auto sharers = [&](const char* kind) {
        const Saved& told = saved.at(kind);
        return restoring.common<Sharers>(told, [&] { return Sharers::restore(told); });
    };
    child->memory_ = sharers("memory");
    child->files_ = sharers("files");
    if (saved.at("is_sharer")) {
        child->memory_->embryos.insert(child.get());
        child->files_->embryos.insert(child.get());
    }
    saved.at("parked").get_to(child->parked_);
    saved.at("parked_inside").get_to(child->parked_inside_);
    saved.at("owed").get_to(child->owed_);
    saved.at("stub").get_to(child->stub_.value);
    saved.at("link_number").get_to(child->link_number_);
    saved.at("started").get_to(child->started_);
    child->plan = StartPlan::restore(saved.at("plan"));
    saved.at("passed_on").get_to(child->passed_on_);
    saved.at("users").get_to(child->users_);
    saved.at("not_inherited").get_to(child->not_inherited_);
    saved.at("exited").get_to(child->exited_);
    if (child->exited_) child->watch_reaping();
    return child;
}

void Child::answers_to(AccountRef account) {
    place_ = Account::take_process(account).value_or(nullptr);
    account_ = std::move(account);
}

core::MemoryRef Child::hold_memory(int descriptor) {
    return os::hold_memory(UniqueFd(descriptor), account_);
}

}  // namespace proc9::os
