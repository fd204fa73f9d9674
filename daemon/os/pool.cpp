#include "daemon/os/pool.hpp"

#include <algorithm>

#include "daemon/os/child.hpp"
#include "daemon/stub/wire.h"

namespace proc9::os {
namespace {

// Then the program runs that was started last. Who has a single processor would have to wait for what is made.
constexpr auto quiet_time = std::chrono::milliseconds(1);

}  // namespace

struct Pool::State : std::enable_shared_from_this<State> {
    State(Loop& events, std::size_t limit, Kind what, Make maker)
        : loop(events), most(limit), kind(what), make(std::move(maker)) {}

    // Besides the one that stays.
    [[nodiscard]] std::size_t spare() const {
        const std::size_t staying = kind == Kind::of_copies ? 1 : 0;
        return ready.size() - std::min(ready.size(), staying);
    }

    void want_more() {
        wanted = kind == Kind::of_blanks ? most : std::min(most, was_asked ? 2 * wanted + 1 : 0);
        was_asked = true;
    }

    // Many at a time: each message to who makes them wakes two processes.
    void fill() {
        if (spare() >= wanted || quiet || is_making) return;
        quiet = loop.after(quiet_time, [this, before = loop.wakes()] {
            quiet.reset();
            const bool is_quiet = loop.wakes() == before + 1;  // this one
            if (is_quiet || spare() == 0 || Loop::has_processor_to_spare()) {
                core::spawn(make_more(shared_from_this()));
            } else {
                fill();
            }
        });
    }

    static core::Task<> make_more(std::shared_ptr<State> state) {
        const auto generation = state->generation;
        while (state->spare() < state->wanted) {
            const auto count =
                std::min<std::size_t>(state->wanted - state->spare(), PROC9_MOST_DESCRIPTORS);
            state->is_making = true;
            auto children = co_await state->make(count).result();
            state->is_making = false;
            if (!children || generation != state->generation)
                co_return;  // who asks next will tell, or ask again
            for (auto& child : *children) state->keep(std::move(child));
        }
    }

    void keep(std::unique_ptr<Child> child) {
        child->on_exit([state = shared_from_this(), dead = child.get()](const core::ExitStatus&) {
            state->loop.post([state, dead] {  // it is still in use by who tells us
                std::erase_if(state->ready, [dead](const auto& one) { return one.get() == dead; });
            });
        });
        ready.push_back(std::move(child));
    }

    Loop& loop;
    const std::size_t most;
    const Kind kind;
    const Make make;
    Children ready;  // in the order of their making
    std::size_t wanted = 0;
    bool was_asked = false;
    bool is_making = false;
    std::uint64_t generation = 0;
    Loop::WatchRef quiet;
};

Pool::Pool(Loop& loop, std::size_t most, Kind kind, Make make)
    : state_(std::make_shared<State>(loop, most, kind, std::move(make))) {}

Pool::~Pool() {
    clear();
    state_->quiet.reset();
}

std::unique_ptr<Child> Pool::take() {
    auto& ready = state_->ready;
    std::unique_ptr<Child> child;
    while (!child && state_->spare() > 0) {
        child = std::move(ready.back());
        ready.pop_back();
        if (!child->is_alive() || child->is_stopped()) child.reset();
    }
    if (!child) state_->want_more();
    state_->fill();
    return child;
}

void Pool::add(std::unique_ptr<Child> child) {
    state_->keep(std::move(child));
    state_->fill();
}

Child* Pool::oldest() const {
    return state_->ready.empty() ? nullptr : state_->ready.front().get();
}

void Pool::clear() {
    ++state_->generation;
    state_->ready.clear();
    state_->wanted = 0;
    state_->was_asked = false;
}

bool Pool::is_wanted() const { return state_->wanted != 0; }
std::size_t Pool::size() const { return state_->ready.size(); }

}  // namespace proc9::os
