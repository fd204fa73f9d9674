// core::Host on Linux: everything of daemon/os put together.
#pragma once

#include <sys/resource.h>

#include <memory>
#include <optional>

#include "daemon/os/account.hpp"
#include "daemon/os/loop.hpp"
#include "fs/core/host.hpp"
#include "fs/core/saved.hpp"

namespace proc9::os {

struct HostOptions {
    std::size_t pool_size = 0;          // how many blank processes are made ahead, at most
    bool serves_all = false;            // not only the daemon's own user: that takes root
    Limits limits;                      // of each of them
    std::optional<rlimit> descriptors;  // RLIMIT_NOFILE of new processes; none: the daemon's own
};

class LinuxHost : public core::Host {
public:
    // Raises the daemon's own limit of descriptors; new processes get the one that was.
    LinuxHost(Loop& loop, HostOptions options);
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
    // Ends what was made ahead. Nothing of it is told to the next daemon.
    void rest();
    [[nodiscard]] rlimit descriptor_limit() const;
    [[nodiscard]] bool is_quiet() const;  // nobody is traced

    void identify(core::Request& request) override;
    core::Task<core::Result<std::unique_ptr<core::Embryo>>> efork(const core::Request& request,
                                                                  core::Birth birth) override;
    core::Task<core::Result<std::unique_ptr<core::Embryo>>>
    adopt(const core::Request& request, core::Pid parent, int link) override;
    core::Result<core::MemoryRef> make_memory() override;
    core::DescriptorRef hold_descriptor(int descriptor) override;
    std::unique_ptr<core::Embryo> restore(const core::Saved& saved,
                                          core::Restoring& restoring) override;
    core::Result<std::pair<core::DescriptorRef, core::DescriptorRef>> make_pipe() override;
    [[nodiscard]] std::vector<std::string> register_names() const override;
    [[nodiscard]] core::Result<std::string> register_for(const std::string& name,
                                                         std::uint64_t value) const override;
    [[nodiscard]] std::uint64_t now_ms() const override;

    core::Result<core::Pid> process_of_thread(core::Pid thread) override;
    core::Result<core::DescriptorRef> take_descriptor(const core::Request& request, core::Pid from,
                                                      int number) override;
    core::Task<core::Result<std::unique_ptr<core::Source>>>
    freeze(const core::Request& request, core::Pid from, bool is_embryo) override;
    core::Result<std::vector<core::Numbered>> take_inheritable(core::Pid caller) override;
    core::Result<core::DescriptorRef> environment_of(core::Pid caller) override;
    core::Result<core::DescriptorRef> directory_of(core::Pid caller) override;
    core::Result<std::vector<core::Setting>> settings_of(core::Pid thread) override;

private:
    struct Parts;
    [[nodiscard]] core::Result<> check_served(const core::Request& request) const;
    core::Result<> check_access(const core::Request& request, core::Pid pid);
    std::unique_ptr<Parts> parts_;
};

}  // namespace proc9::os
