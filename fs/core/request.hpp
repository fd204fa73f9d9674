// Who asks, and whether they still want to know: one per request from the kernel.
#pragma once

#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

namespace proc9::core {

using Pid = std::int32_t;

// Who asks. Where callers differ in more than their ids (a daemon that serves all users) the host says in what;
// else they are alike.
struct Identity {
    std::uint32_t uid = 0;
    std::uint32_t gid = 0;
    std::uint64_t capabilities = 0;  // a set of what it may do beyond an ordinary user
    std::uint64_t realm = 0;         // where it has them: a user namespace; 0: the daemon's own
    bool is_confined = false;        // can gain no more of them
    bool is_limited = false;         // root, and yet it may not touch what is another user's
    const char* obstacle = nullptr;  // why it is not served, as in "the caller is ..."; none: it is

    bool operator==(const Identity&) const = default;

    [[nodiscard]] bool is_master() const { return uid == 0 && !is_limited; }
    // Has at least what that other one has.
    [[nodiscard]] bool covers(const Identity& other) const {
        return (capabilities & other.capabilities) == other.capabilities &&
               (realm == 0 || realm == other.realm) && (!is_confined || other.is_confined);
    }
};

// A request that waits for something says how to be interrupted, and disarms that when it goes on.
// Inside of one wait there may be another: the innermost is interrupted, and tells those outside. A
// hook runs at most once; if the interruption came first (the kernel may send it before the request),
// it runs at once.
class Cancellation {
public:
    void request() {
        requested_ = true;
        if (hooks_.empty()) return;
        if (auto hook = std::exchange(hooks_.back(), nullptr)) hook();  // last: may destroy this
    }
    [[nodiscard]] bool requested() const { return requested_; }
    void on_request(std::function<void()> hook) {
        hooks_.push_back(requested_ ? nullptr : hook);
        if (requested_) hook();
    }
    void disarm() {
        if (!hooks_.empty()) hooks_.pop_back();
    }

private:
    bool requested_ = false;
    std::vector<std::function<void()>> hooks_;
};

struct Request {
    std::uint64_t number = 0;  // as the kernel numbers them: what traces call it
    Identity who;
    Pid thread = 0;  // of the caller, as the kernel says: a thread id, 0 from a foreign namespace
    Cancellation cancellation;
    bool is_splice = false;       // the caller holds the lock of a pipe until this is answered
    bool may_begin_anew = false;  // it waits, and has done nothing yet
    const void* seen_unstopped = nullptr;  // the process of which it was asked already
};

}  // namespace proc9::core
