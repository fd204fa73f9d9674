#include "daemon/os/pool.hpp"

#include <sched.h>

#include <algorithm>
#include <deque>

#include "daemon/os/child.hpp"

namespace proc9::os {
namespace {

// With a processor to spare they are made while the program runs that was started last; else it would
// have to wait for that.
constexpr auto quiet_time = std::chrono::milliseconds(1);

bool has_processor_to_spare() {
    cpu_set_t mine;
    return ::sched_getaffinity(0, sizeof mine, &mine) != 0 || CPU_COUNT(&mine) > 1;
}

}  // namespace

struct Pool::State : std::enable_shared_from_this<State> {
    State(Loop& events, std::size_t limit, bool is_eager, Make maker)
        : loop(events), most(limit), eager(is_eager), make(std::move(maker)) {}

    void want_more() {
        wanted = eager ? most : std::min(most, was_asked ? 2 * wanted + 1 : 0);
        was_asked = true;
    }

    void refill_when_quiet() {
        if (ready.size() >= wanted) return;
        quiet = loop.after(quiet_time, [this, before = loop.wakes()] {
            const bool is_quiet = loop.wakes() == before + 1;  // this one
            if (is_quiet || has_processor_to_spare()) {
                core::spawn(refill(shared_from_this()));
            } else {
                refill_when_quiet();
            }
        });
    }

    static core::Task<> refill(std::shared_ptr<State> state) {
        if (state->is_making || state->ready.size() >= state->wanted) co_return;
        const auto generation = state->generation;
        state->is_making = true;
        auto child = co_await state->make().result();
        state->is_making = false;
        if (!child || generation != state->generation)
            co_return;  // who asks next will tell, or ask again
        (*child)->on_exit([state, dead = child->get()](const core::ExitStatus&) {
            state->loop.post([state, dead] {  // it is still in use by who tells us
                std::erase_if(state->ready, [dead](const auto& one) { return one.get() == dead; });
            });
        });
        state->ready.push_back(std::move(*child));
        state->refill_when_quiet();
    }

    Loop& loop;
    const std::size_t most;
    const bool eager;
    const Make make;
    std::deque<std::unique_ptr<Child>> ready;
    std::size_t wanted = 0;
    bool was_asked = false;
    bool is_making = false;
    std::uint64_t generation = 0;
    Loop::WatchRef quiet;
};

Pool::Pool(Loop& loop, std::size_t most, bool eager, Make make)
    : state_(std::make_shared<State>(loop, most, eager, std::move(make))) {}

Pool::~Pool() {
    clear();
    state_->quiet.reset();
}

std::unique_ptr<Child> Pool::take() {
    auto& ready = state_->ready;
    std::unique_ptr<Child> child;
    while (!child && !ready.empty()) {
        child = std::move(ready.front());
        ready.pop_front();
        if (!child->is_alive() || child->is_stopped()) child.reset();
    }
    if (!child) state_->want_more();
    state_->refill_when_quiet();
    return child;
}

void Pool::clear() {
    ++state_->generation;
    state_->ready.clear();
    state_->wanted = 0;
    state_->was_asked = false;
}

std::size_t Pool::size() const { return state_->ready.size(); }

}  // namespace proc9::os
