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
    std::function<void()> detach;  // takes the mount away
};

class Server {
public:
    Server(core::Registry& registry, node::Options options);
    ~Server();
    Server(const Server&) = delete;
    Server& operator=(const Server&) = delete;

    core::Result<> mount(const MountOptions& options);
    // Instead: what another daemon has mounted and saved.
    core::Result<> resume(const MountOptions& options, const core::Saved& saved,
                          core::Restoring& restoring);
    // Nothing is under way but what may begin anew with the next daemon.
    [[nodiscard]] bool is_quiet() const;
    [[nodiscard]] std::string what_is_under_way() const;  // a sentence
    [[nodiscard]] core::Saved save(core::Saving& saving) const;
    void unmount();

    // The kernel's first request was answered: the mount can be used.
    void on_ready(std::function<void()> hook);

    // To be watched by the event loop; receive() when it can be read. False: it was unmounted.
    [[nodiscard]] int descriptor() const;
    bool receive();
    // Requests were read that wait for their turn: receive() again, soon.
    [[nodiscard]] bool is_behind() const;
    void serve_waiting();  // and reads no others

    struct State;

private:
    std::unique_ptr<State> state_;
};

}  // namespace proc9::fuse
