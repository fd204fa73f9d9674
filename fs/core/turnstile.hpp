// Lets requests through one at a time, in the order in which they came.
//
//     auto turn = co_await turnstile.enter(request);      // EINTR if interrupted while queueing
//     ...                                                 // until `turn` dies nobody else is in
#pragma once

#include <coroutine>
#include <list>
#include <utility>

#include "fs/core/request.hpp"
#include "fs/core/task.hpp"

namespace proc9::core {

class Turnstile {
public:
    // Holds the turnstile; owned by the coroutine that entered. The Turnstile must outlive it.
    class Turn {
    public:
        explicit Turn(Turnstile* turnstile) : turnstile_(turnstile) {}
        Turn(Turn&& other) noexcept : turnstile_(std::exchange(other.turnstile_, nullptr)) {}
        Turn& operator=(Turn&&) = delete;
        ~Turn() {
            if (turnstile_) turnstile_->leave();
        }

    private:
        Turnstile* turnstile_;
    };

    Task<Result<Turn>> enter(Request& request) {
        if (!busy_) {
            busy_ = true;
            co_return Turn(this);
        }
        Later<bool> mine;
        auto place = queue_.insert(queue_.end(), &mine);
        request.cancellation.on_request([this, place, &mine] {
            if (mine.is_set()) return;
            queue_.erase(place);
            (void)mine.set(false);
        });
        const bool entered = co_await mine;
        request.cancellation.disarm();
        if (!entered) co_return fail(std::errc::interrupted, "interrupted while waiting its turn");
        co_return Turn(this);
    }

    [[nodiscard]] bool busy() const { return busy_; }

private:
    // Who is let in may leave again before set() returns: that is a step of this loop, not a deeper
    // call, however long the queue.
    void leave() {
        free_ = true;
        if (letting_in_) return;
        letting_in_ = true;
        while (free_ && !queue_.empty()) {
            Later<bool>* next = queue_.front();
            queue_.pop_front();
            free_ = false;
            (void)next->set(true);
        }
        letting_in_ = false;
        busy_ = !free_;
    }

    bool busy_ = false;
    bool free_ = false;  // between one turn and the next
    bool letting_in_ = false;
    std::list<Later<bool>*> queue_;
};

}  // namespace proc9::core
