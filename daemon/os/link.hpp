// The daemon's end of the socket to one stub. What comes in is believed only as far as the kernel
// vouches for it; descriptors that somebody slips in are dropped by the kernel, because no room is
// given for them.
#pragma once

#include <functional>
#include <optional>

#include "daemon/os/batch.hpp"
#include "daemon/os/loop.hpp"
#include "daemon/os/unique_fd.hpp"

struct msghdr;

namespace proc9::os {

struct Counters {
    std::uint64_t batches = 0;
    std::uint64_t remote_calls = 0;
};

class Link {
public:
    // The two ends of a new link; the second one is for the stub.
    static core::Result<std::pair<UniqueFd, UniqueFd>> make_pair();

    // One end of a pair that somebody else made. EINVAL if it is not that.
    static core::Result<> check_foreign(int end);

    Link(Loop& loop, UniqueFd end, Counters& counters);  // without an end it is closed

    // For a process that asks to be adopted: the pages of a stub.
    core::Result<> send_pages(std::string_view code);

    // Who says hello on a new link: the pid as the kernel knows it, and where the stub says that it
    // has its end and its pages. ESRCH.
    struct Hello {
        core::Pid speaker = 0;
        int number = 0;
        core::Address pages;
    };
    core::Task<core::Result<Hello>> hello();

    // Sends a batch and waits for its results, one at a time. Nothing if the link was closed
    // instead: the process is gone, or the batch was to close it.
    core::Task<core::Result<std::optional<Replies>>> run_or_close(const Batch& batch);
    core::Result<> send_only(const Batch& batch) { return send(batch, false); }

    [[nodiscard]] bool is_waiting() const { return waiting_ != nullptr; }
    [[nodiscard]] std::uint64_t sent() const { return sent_; }  // batches so far
    [[nodiscard]] bool is_open() const { return static_cast<bool>(end_); }
    [[nodiscard]] int number() const { return end_.get(); }  // -1: closed
    void close();                                            // whoever waits gets ESRCH
    void on_close(std::function<void()> hook) { closed_ = std::move(hook); }

private:
    struct Message {
        std::string bytes;
        core::Pid sender = 0;
    };
    core::Result<> send(const Batch& batch, bool answer);
    core::Result<> transmit(const msghdr& message);
    void readable();
    core::Task<core::Result<std::optional<Message>>> next_message();

    Loop& loop_;
    UniqueFd end_;
    Counters& counters_;
    Loop::WatchRef watch_;
    std::uint64_t sent_ = 0;
    core::Later<std::optional<Message>>* waiting_ = nullptr;
    std::optional<Message> early_;  // arrived before anybody waited: only a hello does
    std::function<void()> closed_;
};

}  // namespace proc9::os
