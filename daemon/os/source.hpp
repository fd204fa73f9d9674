// A process that memory is copied from: all its threads stand still as long as this exists.
//
// Who is stopped already is left alone, and so is the thread whose request this serves: it waits for
// us. A thread that is deep in the kernel cannot stop there; it will before it goes on.
#pragma once

#include "daemon/os/child.hpp"

namespace proc9::os {

class FrozenProcess : public core::Source {
public:
    // ESRCH; EPERM or EACCES where the kernel does not let the daemon trace it.
    static core::Task<core::Result<std::unique_ptr<FrozenProcess>>>
    freeze(Workshop& workshop, core::Pid pid, core::Pid waiting);
    // An embryo stands still anyway.
    static core::Result<std::unique_ptr<FrozenProcess>> look(Workshop& workshop, core::Pid pid);
    ~FrozenProcess() override;

    core::Result<std::vector<core::MappedLine>> maps() override;
    [[nodiscard]] core::DescriptorRef memory() const override { return memory_; }
    core::Result<std::vector<core::Range>> own_pages(core::Range range) override;
    [[nodiscard]] core::Words paths_of(const core::MappedLine& line) const override;

private:
    FrozenProcess(Workshop& workshop, core::Pid pid) : workshop_(workshop), pid_(pid) {}
    core::Task<core::Result<>> stop_all(core::Pid waiting);
    core::Task<core::Result<>> wait_for_stops();

    struct Thread {
        core::Pid id;
        std::optional<int> stop;  // what stopped it; none: it is on its way
    };

    Workshop& workshop_;
    core::Pid pid_;
    std::vector<Thread> threads_;
    core::DescriptorRef memory_;
    UniqueFd page_map_;
};

}  // namespace proc9::os
