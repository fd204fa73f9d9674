// Makes blank processes: a process that owns nothing is cheap to copy. The zygote is a stub that was
// exec'd, its children are the daemon's (CLONE_PARENT), and a few of them are kept warm.
#pragma once

#include <deque>
#include <memory>

#include "daemon/os/child.hpp"
#include "fs/core/turnstile.hpp"

namespace proc9::os {

class Zygote {
public:
    Zygote(Workshop& workshop, std::size_t pool_size);

    core::Task<core::Result<std::unique_ptr<Child>>> make_child(core::Birth birth);
    [[nodiscard]] std::size_t pooled() const { return pool_.size(); }
    core::Task<core::Result<>> start();  // if it does not run

private:
    core::Task<core::Result<std::unique_ptr<Child>>> clone(core::Birth birth);
    void drop(const Child* dead);
    void refill_when_quiet();
    core::Task<> refill();

    Workshop& workshop_;
    const std::size_t pool_size_;
    core::Request nobody_;  // whose turn it is when no request waits
    core::Turnstile turnstile_;
    std::unique_ptr<Child> parent_;  // the zygote itself
    std::deque<std::unique_ptr<Child>> pool_;
    Loop::WatchRef quiet_;
    bool refilling_ = false;
};

}  // namespace proc9::os
