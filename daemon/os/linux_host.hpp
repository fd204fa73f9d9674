// core::Host on Linux: everything of daemon/os put together.
#pragma once

#include <memory>

#include "daemon/os/loop.hpp"
#include "fs/core/host.hpp"

namespace proc9::os {

class LinuxHost : public core::Host {
public:
    // Raises the daemon's own limit of descriptors; new processes get the one that was.
    LinuxHost(Loop& loop, std::size_t pool_size);
    ~LinuxHost() override;

    // Where the tree is mounted: descriptors of files there are never taken, because the daemon
    // would then wait for itself.
    void mounted_at(const std::string& path);

    struct Figures {
        std::size_t pooled;
        std::uint64_t batches;
        std::uint64_t remote_calls;
    };
    [[nodiscard]] Figures figures() const;

    core::Task<core::Result<std::unique_ptr<core::Embryo>>> efork(const core::Identity& creator,
                                                                  core::Birth birth) override;
    core::Task<core::Result<std::unique_ptr<core::Embryo>>>
    adopt(const core::Identity& who, core::Pid parent, int link) override;
    core::Result<core::MemoryRef> make_memory() override;
    core::Result<std::pair<core::DescriptorRef, core::DescriptorRef>> make_pipe() override;
    [[nodiscard]] std::vector<std::string> register_names() const override;
    [[nodiscard]] core::Result<std::string> register_for(const std::string& name,
                                                         std::uint64_t value) const override;
    [[nodiscard]] std::uint64_t now_ms() const override;

    core::Result<core::Pid> process_of_thread(core::Pid thread) override;
    core::Result<core::DescriptorRef> take_descriptor(const core::Identity& who, core::Pid from,
                                                      int number) override;
    core::Result<std::vector<core::Numbered>> take_inheritable(const core::Identity& who,
                                                               core::Pid from) override;
    core::Result<core::Words> environment_of(const core::Identity& who, core::Pid from) override;
    core::Task<core::Result<std::unique_ptr<core::Source>>>
    freeze(const core::Identity& who, core::Pid from, core::Pid waiting, bool is_embryo) override;
    core::Result<std::vector<core::Setting>> settings_of(const core::Identity& who,
                                                         core::Pid thread) override;
    core::Result<core::DescriptorRef> directory_of(const core::Identity& who,
                                                   core::Pid from) override;

private:
    struct Parts;
    std::unique_ptr<Parts> parts_;
};

}  // namespace proc9::os
