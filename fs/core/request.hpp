// Who asks, and whether they still want to know: one per request from the kernel.
#pragma once

#include <cstdint>
#include <functional>
#include <utility>

namespace proc9::core {

using Pid = std::int32_t;

struct Identity {
    std::uint32_t uid = 0;
    std::uint32_t gid = 0;

    bool operator==(const Identity&) const = default;
};

// A request that waits for something says how to be interrupted. The hook runs at most once; if
// the interruption came first (the kernel may send it before the request), it runs at once.
class Cancellation {
public:
    void request() {
        requested_ = true;
        if (auto hook = std::exchange(hook_, nullptr)) hook();
    }
    [[nodiscard]] bool requested() const { return requested_; }
    void on_request(std::function<void()> hook) {
        if (requested_) {
            hook();
        } else {
            hook_ = std::move(hook);
        }
    }
    void disarm() { hook_ = nullptr; }

private:
    bool requested_ = false;
    std::function<void()> hook_;
};

struct Request {
    Identity who;
    Pid thread = 0;  // of the caller, as the kernel says: a thread id, 0 from a foreign namespace
    Cancellation cancellation;
    bool is_splice = false;  // the caller holds the lock of a pipe until this is answered
};

}  // namespace proc9::core
