// Who asks for a process, as the kernel sees it. Where a daemon serves all users a process is made that is what a child of the
// caller's own would be, in all that decides what it may do; or none is made.
#pragma once

#include "daemon/os/settings/settings.hpp"

namespace proc9::os {

// Adds to the ids in the request what else the kernel tells of the thread, which waits for the answer.
void identify_caller(core::Request& request);

// Whether ptrace(2) would let the caller attach to a process, as far as that can be told from outside: EPERM, EACCES.
core::Result<> check_traceable(const core::Identity& who, core::Pid caller, core::Pid target);

class Creator {
public:
    // EPERM if it is under something that cannot be given to another.
    static core::Result<Creator> of(const core::Request& request);

    // Equal for those whose processes are equal.
    [[nodiscard]] const std::string& key() const { return key_; }
    // Makes a child that is as the daemon is what the creator is. EPERM, with what it cannot be given.
    core::Task<core::Result<>> shape(Child& child) const;

    [[nodiscard]] core::Saved save(core::Saving& saving) const;
    static Creator restore(const core::Saved& saved);

private:
    struct Trait {
        std::string name;
        std::string text;
    };
    using Traits = std::vector<Trait>;
    static core::Result<Traits> traits_of(core::Pid thread);

    Traits traits_;
    std::string key_;
    std::vector<core::Setting> standing_;
};

}  // namespace proc9::os
