// Makes blank processes: a process that owns nothing is cheap to copy. The zygote is a stub that was
// exec'd, its children are the daemon's (CLONE_PARENT), and a few of them are kept warm.
#pragma once

#include <memory>

#include "daemon/os/child.hpp"
#include "daemon/os/pool.hpp"
#include "fs/core/turnstile.hpp"

namespace proc9::os {

class Zygote {
public:
    explicit Zygote(Workshop& workshop);

    core::Task<core::Result<std::unique_ptr<Child>>> make_child(core::Birth birth);
    [[nodiscard]] std::size_t pooled() const { return pool_.size(); }
    core::Task<core::Result<>> start();  // if it does not run

private:
    core::Task<core::Result<Children>> clone(core::Birth birth, std::size_t count = 1);
    Workshop& workshop_;
    core::Request nobody_;  // whose turn it is when no request waits
    core::Turnstile turnstile_;
    std::unique_ptr<Child> parent_;  // the zygote itself
    Pool pool_;
};

}  // namespace proc9::os
