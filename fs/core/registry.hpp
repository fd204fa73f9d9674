// All processes of the tree.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "fs/core/process.hpp"

namespace proc9::core {

struct Statistics {
    std::uint64_t requests = 0;  // from the kernel's file system layer
    std::uint64_t commands = 0;
    std::uint64_t refusals = 0;
    std::uint64_t eforks = 0;
    std::uint64_t starts = 0;
    std::uint64_t exits = 0;
};

class Registry {
public:
    explicit Registry(Host& host);
    Registry(const Registry&) = delete;
    Registry& operator=(const Registry&) = delete;

    // A blank process. An empty name is none.
    Task<Result<ProcessRef>> efork(Request& request, std::string name, Birth birth = {});
    // A child of the caller, which has its descriptor `link`.
    Task<Result<ProcessRef>> adopt(Request& request, int link, std::string name);
    // A blank one that shares contexts with an embryo in its turn.
    Task<Result<ProcessRef>> share(Request& request, Process& other, Words contexts,
                                   std::string name, Birth birth);
    // An equal one, of an embryo in its turn.
    Task<Result<ProcessRef>> fork(Request& request, Process& original, std::string name);
    Result<> rename(Process& process, std::string name);
    void drop_name(Process& process);

    // Whatever can be named: an id, or a name. ENOENT.
    Result<ProcessRef> find(std::string_view id_or_name) const;
    [[nodiscard]] ProcessRef by_serial(std::uint32_t serial) const;
    [[nodiscard]] ProcessRef by_id(Pid id) const;
    [[nodiscard]] ProcessRef by_name(std::string_view name) const;
    [[nodiscard]] const std::map<Pid, ProcessRef>& all() const { return by_id_; }

    // Takes the directory away. An embryo dies with it; the number of a process is free from now on.
    void remove(ProcessRef process);

    // Root alone may touch what is another's.
    static Result<> check_owner(const Identity& who, const Process& process);

    // The text of a user's last refused command on the root's ctl.
    void set_error(const Identity& who, std::string text);
    [[nodiscard]] std::string error_of(const Identity& who) const;

    // All of it, and whoever else `saving` has been told of.
    [[nodiscard]] Saved save(Saving& saving) const;
    void restore(const Saved& saved, Restoring& restoring);

    [[nodiscard]] Host& host() const { return host_; }
    Statistics statistics;
    // A text that no other tree has; the next daemon's tree is this one.
    [[nodiscard]] const std::string& instance() const { return instance_; }

private:
    ProcessRef enter(ProcessRef process, std::string name);
    void place(const ProcessRef& process);
    void watch(const ProcessRef& process);
    void exited(const ProcessRef& process, ExitStatus status);
    void keep_few_exited(const Process& latest);
    Result<> check_name(std::string_view name) const;

    Host& host_;
    std::map<Pid, ProcessRef> by_id_;
    std::map<std::uint32_t, ProcessRef> by_serial_;
    std::map<std::string, ProcessRef, std::less<>> by_name_;
    std::map<std::uint32_t, std::list<std::uint32_t>> exited_of_;  // serials by uid, oldest first
    std::map<std::uint32_t, std::string> errors_;                  // by uid
    std::uint32_t last_serial_ = 0;
    std::string instance_;
};

}  // namespace proc9::core
