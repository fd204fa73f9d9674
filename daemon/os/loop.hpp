// The event loop: the one thread that there is runs every callback from here. A face of Boost.Asio,
// so that only loop.cpp pays for its headers.
#pragma once

#include <chrono>
#include <functional>
#include <memory>

namespace proc9::os {

class Loop {
public:
    Loop();
    ~Loop();
    Loop(const Loop&) = delete;
    Loop& operator=(const Loop&) = delete;

    // Destroyed inside its own callback or elsewhere: the callback will not run again.
    class Watch {
    public:
        Watch() = default;
        virtual ~Watch() = default;
        Watch(const Watch&) = delete;
        Watch& operator=(const Watch&) = delete;
    };
    using WatchRef = std::unique_ptr<Watch>;

    // Runs `ready` whenever `fd` (not owned) can be read, has ended or failed.
    WatchRef on_readable(int fd, std::function<void()> ready);
    // Runs `ended` when `fd` (not owned) has hung up; a pidfd does that when its process was reaped.
    WatchRef on_hang_up(int fd, std::function<void()> ended);
    WatchRef on_signal(int number, std::function<void()> arrived);
    WatchRef after(std::chrono::milliseconds delay, std::function<void()> due);

    // Whether this process may use more than one.
    static bool has_processor_to_spare();
    // How often it woke somebody up: who sees the same number later knows that nothing has happened.
    [[nodiscard]] std::uint64_t wakes() const;

    void post(std::function<void()> task);
    void run();  // until stop()
    void stop();

private:
    struct Implementation;
    std::unique_ptr<Implementation> implementation_;
};

}  // namespace proc9::os
