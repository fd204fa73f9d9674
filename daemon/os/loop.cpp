#include "daemon/os/loop.hpp"

#include <poll.h>
#include <sched.h>

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <utility>

namespace proc9::os {
namespace asio = boost::asio;
using boost::system::error_code;

namespace {

// Who asks on another processor has to wake this one up first, which takes longer than most answers. While
// what comes next has mostly come, and been done, within a moment, it is waited for awake.
class Vigil {
public:
    using Clock = std::chrono::steady_clock;
    static constexpr auto moment = std::chrono::microseconds(200);

    void begin() {
        since_ = Clock::now();
        is_kept_ = score_ >= enough && Loop::has_processor_to_spare();
    }
    [[nodiscard]] bool goes_on() const { return is_kept_ && is_within(); }
    void end() { score_ = is_within() ? std::min(score_ + 1, most) : score_ / 2; }

private:
    static constexpr int enough = 2;
    static constexpr int most = 8;

    [[nodiscard]] bool is_within() const { return Clock::now() - since_ < moment; }

    Clock::time_point since_;
    bool is_kept_ = false;
    int score_ = 0;
};

}  // namespace

struct Loop::Implementation {
    std::uint64_t wakes = 0;
    asio::io_context context{1};
    asio::executor_work_guard<asio::io_context::executor_type> work{context.get_executor()};
};

namespace {

// A source of events that asks Asio for the next one after each; `state_` tells a completion that is
// already queued whether the watch still exists.
template <class Source>
class Repeating : public Loop::Watch {
public:
    template <class... Args>
    Repeating(std::uint64_t& wakes, std::function<void()> callback, Args&&... args)
        : state_(std::make_shared<State>(wakes, std::move(callback), std::forward<Args>(args)...)) {
        arm(state_);
    }
    ~Repeating() override {
        state_->callback = nullptr;
        state_->source.cancel();
    }

private:
    struct State {
        template <class... Args>
        State(std::uint64_t& counter, std::function<void()> function, Args&&... args)
            : wakes(counter), callback(std::move(function)), source(std::forward<Args>(args)...) {}
        std::uint64_t& wakes;
        std::function<void()> callback;
        Source source;
    };

    static void arm(const std::shared_ptr<State>& state) {
        state->source.wait([state](error_code problem) {
            if (problem || !state->callback) return;
            const auto callback = state->callback;
            ++state->wakes;
            callback();
            if (state->callback && Source::repeats) arm(state);
        });
    }

    std::shared_ptr<State> state_;
};

// The kernel may take no more of them, for a user or at all: then it is asked now and then.
template <asio::posix::stream_descriptor::wait_type what, bool again>
class Descriptor {
public:
    static constexpr bool repeats = again;
    Descriptor(asio::io_context& context, int fd)
        : fd_(fd), descriptor_(context), next_look_(context) {}
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
    ~Descriptor() { cancel(); }

    // The handler keeps this alive.
    template <class Handler>
    void wait(Handler handler) {
        error_code problem;
        if (!descriptor_.is_open()) (void)descriptor_.assign(fd_, problem);
        if (!problem) {
            descriptor_.async_wait(what, std::move(handler));
            return;
        }
        next_look_.expires_after(between_looks);
        next_look_.async_wait([this, handler = std::move(handler)](error_code ended) mutable {
            const bool goes_on = !ended && !is_cancelled_ && !is_ready();
            if (goes_on) return wait(std::move(handler));
            handler(ended);
        });
    }
    void cancel() {
        is_cancelled_ = true;  // a look that is due already must not begin again
        next_look_.cancel();
        if (descriptor_.is_open()) descriptor_.release();  // the descriptor is somebody else's
    }

private:
    static constexpr auto between_looks = std::chrono::milliseconds(10);

    [[nodiscard]] bool is_ready() const {
        constexpr bool for_bytes = what == asio::posix::stream_descriptor::wait_read;
        pollfd state{fd_, for_bytes ? POLLIN : short{0}, 0};
        return ::poll(&state, 1, 0) > 0;
    }

    int fd_;
    bool is_cancelled_ = false;
    asio::posix::stream_descriptor descriptor_;
    asio::steady_timer next_look_;
};
using Readable = Descriptor<asio::posix::stream_descriptor::wait_read, true>;
using HangUp = Descriptor<asio::posix::stream_descriptor::wait_error, false>;

class Signal {
public:
    static constexpr bool repeats = true;
    Signal(asio::io_context& context, int number) : set_(context, number) {}

    template <class Handler>
    void wait(Handler handler) {
        set_.async_wait(
            [handler = std::move(handler)](error_code problem, int) { handler(problem); });
    }
    void cancel() { set_.cancel(); }

private:
    asio::signal_set set_;
};

class Timer {
public:
    static constexpr bool repeats = false;
    Timer(asio::io_context& context, std::chrono::milliseconds delay) : timer_(context, delay) {}

    template <class Handler>
    void wait(Handler handler) {
        timer_.async_wait(std::move(handler));
    }
    void cancel() { timer_.cancel(); }

private:
    asio::steady_timer timer_;
};

}  // namespace

Loop::Loop() : implementation_(std::make_unique<Implementation>()) {}
Loop::~Loop() = default;

Loop::WatchRef Loop::on_readable(int fd, std::function<void()> ready) {
    return std::make_unique<Repeating<Readable>>(implementation_->wakes, std::move(ready),
                                                 implementation_->context, fd);
}

Loop::WatchRef Loop::on_hang_up(int fd, std::function<void()> ended) {
    return std::make_unique<Repeating<HangUp>>(implementation_->wakes, std::move(ended),
                                               implementation_->context, fd);
}

Loop::WatchRef Loop::on_signal(int number, std::function<void()> arrived) {
    return std::make_unique<Repeating<Signal>>(implementation_->wakes, std::move(arrived),
                                               implementation_->context, number);
}

Loop::WatchRef Loop::after(std::chrono::milliseconds delay, std::function<void()> due) {
    return std::make_unique<Repeating<Timer>>(implementation_->wakes, std::move(due),
                                              implementation_->context, delay);
}

bool Loop::has_processor_to_spare() {
    cpu_set_t mine;
    return ::sched_getaffinity(0, sizeof mine, &mine) != 0 || CPU_COUNT(&mine) > 1;
}

std::uint64_t Loop::wakes() const { return implementation_->wakes; }
void Loop::post(std::function<void()> task) {
    asio::post(implementation_->context, std::move(task));
}
void Loop::run() {
    auto& context = implementation_->context;
    Vigil vigil;
    while (!context.stopped()) {
        vigil.begin();
        std::size_t done = context.poll();
        while (done == 0 && vigil.goes_on()) done = context.poll();
        if (done == 0) context.run_one();
        vigil.end();
    }
}
void Loop::stop() { implementation_->context.stop(); }

}  // namespace proc9::os
