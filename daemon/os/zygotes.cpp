#include "daemon/os/zygotes.hpp"

#include <algorithm>

namespace proc9::os {
namespace {

constexpr std::size_t most_of_a_user = 8;
constexpr auto idle_time =
    std::chrono::seconds(20);  // then it would only hold its user's control group

}  // namespace

Zygotes::Zygotes(Workshop& workshop)
    : workshop_(workshop), own_(std::make_shared<Zygote>(workshop)) {}

core::Result<std::shared_ptr<Zygote>> Zygotes::of(const core::Request& request) {
    if (!workshop_.serves_all) return own_;
    Creator creator = TRY(Creator::of(request));
    const std::string key = creator.key();
    auto found = others_.find(key);
    if (found == others_.end()) {
        make_room(request.who.uid);
        auto zygote = std::make_shared<Zygote>(workshop_, *own_, std::move(creator));
        found = others_.emplace(key, Other{std::move(zygote), request.who.uid, 0, nullptr}).first;
    } else {
        found->second.zygote->renew(std::move(creator));
    }
    Other& other = found->second;
    other.last_use = ++uses_;
    other.idle = workshop_.loop.after(idle_time, [this, key, use = uses_] {
        workshop_.loop.post([this, key, use] { forget(key, use); });  // not within its own watch
    });
    return other.zygote;
}

void Zygotes::rest() {
    own_->rest();
    for (const auto& [key, other] : others_) other.zygote->rest();
}

std::shared_ptr<Zygote> Zygotes::restore(const core::Saved& saved) {
    if (!saved.contains("creator")) return own_;
    auto zygote = std::make_shared<Zygote>(workshop_, *own_, Creator::restore(saved.at("creator")));
    zygote->restore_origin(saved);
    return zygote;
}

// Embryos keep theirs, which then does not run.
void Zygotes::forget(const std::string& key, std::uint64_t last_use) {
    const auto found = others_.find(key);
    if (found == others_.end() || found->second.last_use != last_use) return;
    found->second.zygote->rest();
    others_.erase(found);
}

// The one that was used least recently goes.
void Zygotes::make_room(std::uint32_t user) {
    const auto is_theirs = [user](const auto& entry) { return entry.second.user == user; };
    if (std::count_if(others_.begin(), others_.end(), is_theirs) <
        static_cast<std::ptrdiff_t>(most_of_a_user))
        return;
    auto oldest = others_.end();
    for (auto one = others_.begin(); one != others_.end(); ++one) {
        const bool is_older =
            oldest == others_.end() || one->second.last_use < oldest->second.last_use;
        if (is_theirs(*one) && is_older) oldest = one;
    }
    forget(std::string(oldest->first), oldest->second.last_use);
}

}  // namespace proc9::os
