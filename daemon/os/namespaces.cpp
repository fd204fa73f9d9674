#include "daemon/os/namespaces.hpp"

#include <linux/sched.h>

#include <array>

#include "daemon/os/settings/words.hpp"

namespace proc9::os {
namespace {

constexpr auto kinds = std::to_array<Named>({
    {"cgroup", CLONE_NEWCGROUP},
    {"ipc", CLONE_NEWIPC},
    {"mnt", CLONE_NEWNS},
    {"net", CLONE_NEWNET},
    {"pid", CLONE_NEWPID},
    {"time", CLONE_NEWTIME},
    {"user", CLONE_NEWUSER},
    {"uts", CLONE_NEWUTS},
});

constexpr auto contexts = std::to_array<Named>({
    {"fd", CLONE_FILES},
    {"fs", CLONE_FS},
    {"mem", CLONE_VM},
    {"sig", CLONE_SIGHAND},
});

}  // namespace

core::Result<std::uint64_t> context_flags(const core::Words& names) {
    std::uint64_t flags = 0;
    for (const auto& name : names) flags |= TRY(named_value("context", name, contexts));
    if ((flags & CLONE_SIGHAND) != 0 && (flags & CLONE_VM) == 0)
        return core::fail(std::errc::invalid_argument,
                          "handlers are addresses: sig can only be shared together with mem");
    return flags;
}

core::Result<std::uint64_t> namespace_flags(const core::Words& names) {
    std::uint64_t flags = 0;
    for (const auto& name : names)
        flags |= TRY(named_value("namespace", name == "mount" ? "mnt" : name, kinds));
    if (flags == 0) return core::fail(std::errc::invalid_argument, "no namespace is named");
    return flags;
}

}  // namespace proc9::os
