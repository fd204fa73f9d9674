// What is asked of the kernel once, for all settings of a child that are to be told.
//
//     const Facts facts = co_await gather(child);
//     if (facts.differs("uts")) ... facts.hostname ...
//
// What the kernel did not tell is empty, and yields no setting.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "daemon/os/child.hpp"

namespace proc9::os {

using Status = std::map<std::string, std::string>;  // of /proc/PID/status

// What a new embryo has, because those it is a copy of have it: the daemon, or the zygote of a caller.
struct Origin {
    Status status;
    std::map<std::string, std::string, std::less<>> links;  // ns/net, root, ...
    static std::shared_ptr<const Origin> of(core::Pid pid);
    static std::shared_ptr<const Origin> daemon();
};

inline constexpr int get_memory_deny_write_exec = 66;  // PR_GET_MDWE, and
inline constexpr int get_memory_merge = 68;  // PR_GET_MEMORY_MERGE: newer than our headers

// An area of a user namespace: ids from `inside` on are those from `outside` on where we are.
struct IdArea {
    std::uint64_t inside;
    std::uint64_t outside;
    std::uint64_t length;
};

struct Facts {
    core::Pid pid = 0;
    StartPlan plan;
    Status status;
    std::shared_ptr<const Origin> origin = Origin::daemon();

    // What only the process itself can ask. Nothing if it was started, or does not know the call.
    bool is_embryo = false;
    std::map<int, std::uint64_t> controls;  // prctl(2), by PR_GET_*
    std::string hostname;
    std::string domainname;
    struct MemoryPolicy {
        std::uint64_t mode = 0;
        std::vector<std::uint64_t> nodes;
    };
    std::optional<MemoryPolicy> memory_policy;

    [[nodiscard]] std::string field(const std::string& key) const;  // of status
    [[nodiscard]] bool is_inherited(const std::string& key) const;  // the origin has it so
    [[nodiscard]] core::Words fields(const std::string& key) const;
    [[nodiscard]] std::uint64_t bits(const std::string& key) const;  // that are hexadecimal
    [[nodiscard]] std::optional<std::uint64_t> control(int option) const;

    // A file of /proc/PID, cut at blanks and lines; a link in it.
    [[nodiscard]] core::Words file(std::string_view name) const;
    [[nodiscard]] std::string link(std::string_view name) const;
    // Whether that link of the process and of where it comes from are known and not the same.
    [[nodiscard]] bool differs(std::string_view link) const;
    [[nodiscard]] bool differs_from(const Origin& other, std::string_view link) const;
    [[nodiscard]] bool is_elsewhere(std::string_view namespace_kind) const {
        return differs("ns/" + std::string(namespace_kind));
    }

    // Its user namespace as the daemon sees it; uid_map or gid_map.
    [[nodiscard]] std::vector<IdArea> id_map(std::string_view file) const;
    // The ids of a line of status as the process sees them. Nothing if it cannot see one of them.
    [[nodiscard]] std::optional<core::Words> ids(const std::string& key,
                                                 std::string_view map) const;

    // A path that the daemon sees, as seen from the root of the process. Nothing: it is outside.
    [[nodiscard]] std::optional<std::string> from_its_root(const std::string& path) const;
};

// What can be seen of any thread. ESRCH.
core::Result<Facts> observe(core::Pid thread);
// ESRCH if it is gone, EINTR after interrupt().
core::Task<core::Result<Facts>> gather(Child& child);

core::Words blank_separated(const std::string& text);

}  // namespace proc9::os
