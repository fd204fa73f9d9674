// All rooms put together: a mount that is served, until it is told to end, is unmounted, or is replaced by the next one.
#pragma once

#include <sys/resource.h>

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "daemon/os/linux_host.hpp"
#include "daemon/os/loop.hpp"
#include "fs/core/registry.hpp"
#include "fs/core/saved.hpp"
#include "fs/fuse/server.hpp"

namespace proc9 {

struct Arguments {
    bool foreground = false;
    bool allow_other = false;
    bool is_kept = false;
    bool is_check = false;
    std::size_t pool = 16;
    os::Limits limits;
    std::string log = "/dev/null";
    std::string mountpoint;
    std::string program;  // where this one is started from
    std::vector<std::string> words;
};

// In the environment of the next daemon: a descriptor, of what this one tells it.
inline constexpr const char* state_variable = "PROC9_STATE";

class Daemon {
public:
    // `saved`: what the one before has told; null: there was none.
    Daemon(const Arguments& arguments, const core::Saved& saved);
    // Answers the exit status. `ready` runs when the mount answers.
    int run(const std::function<void()>& ready, const core::Saved& saved);

private:
    node::Options options();
    core::Result<> begin(const core::Saved& saved);
    void receive();
    void watch();
    void watch_again();
    void give_sign_of_life();
    void prepare_replacement();
    [[nodiscard]] bool is_quiet() const;
    void soon(void (Daemon::*step)());
    void replace();
    void hand_over();

    const Arguments& arguments_;
    os::Loop loop_;
    os::LinuxHost host_;
    core::Registry registry_;
    fuse::Server server_;
    os::Loop::WatchRef requests_;
    os::Loop::WatchRef pause_;
    os::Loop::WatchRef next_sign_;
    std::chrono::steady_clock::time_point patience_ends_;
    bool is_posted_ = false;
};

}  // namespace proc9
