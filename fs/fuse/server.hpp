// Serves the tree to the kernel through libfuse. Decodes a request, calls the tree, replies when the
// answer is there; knows nothing of processes.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "fs/node/tree.hpp"

namespace proc9::fuse {

struct MountOptions {
    std::string mountpoint;
    bool allow_other = false;
};

class Server {
public:
    Server(core::Registry& registry, node::Options options);
    ~Server();
    Server(const Server&) = delete;
    Server& operator=(const Server&) = delete;

    core::Result<> mount(const MountOptions& options);
    void unmount();

    // The kernel's first request was answered: the mount can be used.
    void on_ready(std::function<void()> hook);

    // To be watched by the event loop; receive() when it can be read. False: it was unmounted.
    [[nodiscard]] int descriptor() const;
    bool receive();

private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace proc9::fuse
