// The daemon's own zygote, and one for each kind of creators that is not as the daemon is.
#pragma once

#include <map>
#include <string>

#include "daemon/os/zygote.hpp"

namespace proc9::os {

class Zygotes {
public:
    explicit Zygotes(Workshop& workshop);

    [[nodiscard]] Zygote& own() { return *own_; }
    // For who asks. EPERM if no process can be what theirs would be.
    core::Result<std::shared_ptr<Zygote>> of(const core::Request& request);
    void rest();
    // That of a child that is there: only copies are made of it, until its user asks.
    std::shared_ptr<Zygote> restore(const core::Saved& saved);

private:
    struct Other {
        std::shared_ptr<Zygote> zygote;
        std::uint32_t user = 0;
        std::uint64_t last_use = 0;  // a count
        Loop::WatchRef idle;
    };
    void make_room(std::uint32_t user);
    void forget(const std::string& key, std::uint64_t last_use);

    Workshop& workshop_;
    std::shared_ptr<Zygote> own_;
    std::map<std::string, Other> others_;  // by the creators' keys
    std::uint64_t uses_ = 0;
};

}  // namespace proc9::os
