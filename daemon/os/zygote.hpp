// Makes blank processes: a process that owns nothing is cheap to copy. The zygote is a stub that was
// exec'd, its children are the daemon's (CLONE_PARENT), and a few of them are kept warm. That of a
// creator who is not as the daemon is one such child, shaped.
#pragma once

#include <memory>

#include "daemon/os/child.hpp"
#include "daemon/os/creator.hpp"
#include "daemon/os/pool.hpp"
#include "fs/core/turnstile.hpp"

namespace proc9::os {

class Zygote : public std::enable_shared_from_this<Zygote> {
public:
    explicit Zygote(Workshop& workshop);
    Zygote(Workshop& workshop, Zygote& own, Creator creator);

    core::Task<core::Result<std::unique_ptr<Child>>> make_child(core::Birth birth);
    // System calls that a creator would make, outside of any embryo.
    using Fill = std::function<core::Result<>(Batch& batch)>;
    core::Task<core::Result<Replies>> perform(Fill fill);  // twice, if it dies before it tells

    // How its children are born.
    [[nodiscard]] std::shared_ptr<const Origin> origin() const { return origin_; }
    [[nodiscard]] std::size_t pooled() const { return pool_.size(); }
    // An equal one, which is alive: this one is shaped after that if it has to be made again.
    void renew(Creator creator) { creator_ = std::move(creator); }
    void rest();  // ends what runs, until it is wanted again
    [[nodiscard]] core::Saved save(core::Saving& saving) const;
    void restore_origin(const core::Saved& saved);

private:
    core::Task<core::Result<>> start();  // if it does not run
    [[nodiscard]] Loop::WatchRef kill_later();
    core::Task<core::Result<>> exec();
    core::Task<core::Result<>> shape();
    core::Task<core::Result<Replies>> perform_once(Fill fill);
    core::Task<core::Result<Children>> clone(core::Birth birth, std::size_t count = 1);
    Workshop& workshop_;
    Zygote* const own_ = nullptr;  // the daemon's; it outlives those of others
    std::optional<Creator> creator_;
    std::shared_ptr<const Origin> origin_ = Origin::daemon();
    core::Request nobody_;  // whose turn it is when no request waits
    core::Turnstile turnstile_;
    std::unique_ptr<Child> parent_;  // the zygote itself
    Pool pool_;
};

}  // namespace proc9::os
