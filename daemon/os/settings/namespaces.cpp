// What the process sees: directories, mounts, namespaces.
#include <fcntl.h>
#include <linux/sched.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "daemon/os/namespaces.hpp"
#include "daemon/os/procfs.hpp"
#include "daemon/os/settings/settings.hpp"
#include "daemon/os/settings/words.hpp"
#include "daemon/os/zygote.hpp"

namespace proc9::os {
namespace {

using core::done;
using core::fail;
using core::Result;
using core::Task;
using core::Words;

// ---------------------------------------------------------------------------------------------
// Directories

Result<> chdir(Batch& batch, const Asked& asked) {
    if (asked.setting.directory) {
        const auto fd = batch.send(asked.setting.directory);
        batch.call("fchdir", SYS_fchdir, fd);
        batch.call("close", SYS_close, fd).always();
    } else {
        batch.call("chdir", SYS_chdir, batch.text(asked.setting.words.at(0)));
    }
    return {};
}

Result<> chroot(Batch& batch, const Asked& asked) {
    if (asked.setting.directory) TRY(chdir(batch, asked));
    const std::string path = asked.setting.directory ? "." : asked.setting.words.at(0);
    batch.call("chroot", SYS_chroot, batch.text(path));
    batch.call("chdir", SYS_chdir, batch.text("/"));
    return {};
}

// Not that of a new embryo, which is the daemon's, or the root of where it was brought to.
Readings read_chdir(const Facts& facts) {
    const auto path = facts.from_its_root(facts.link("cwd"));
    const bool was_moved = facts.differs("root") || facts.is_elsewhere("mnt");
    const bool is_new = was_moved ? path != "/" : facts.differs("cwd");
    return one_if(path && is_new, {path.value_or("")});
}

Readings read_chroot(const Facts& facts) {
    const std::string root = facts.link("root");
    return one_if(root.starts_with('/') && facts.differs("root"), {root});
}

Result<> umask(Batch& batch, const Words& words) {
    const auto mask = TRY(core::parse_octal(words.at(0)));
    if (mask > 0777) return fail(std::errc::invalid_argument, "{} is more than 0777", words[0]);
    batch.call("umask", SYS_umask, mask);
    return {};
}

Readings read_umask(const Facts& facts) {
    const auto mask = core::parse_octal(facts.field("Umask"));
    return one_if(mask.has_value(), {fmt::format("{:03o}", mask.value_or(0))});
}

// ---------------------------------------------------------------------------------------------
// Mounts

struct MountOption {
    std::string_view name;
    unsigned long set;
    unsigned long clear;
};
constexpr auto mount_options = std::to_array<MountOption>({
    {"ro", MS_RDONLY, 0},
    {"rw", 0, MS_RDONLY},
    {"nosuid", MS_NOSUID, 0},
    {"suid", 0, MS_NOSUID},
    {"nodev", MS_NODEV, 0},
    {"dev", 0, MS_NODEV},
    {"noexec", MS_NOEXEC, 0},
    {"exec", 0, MS_NOEXEC},
    {"sync", MS_SYNCHRONOUS, 0},
    {"dirsync", MS_DIRSYNC, 0},
    {"remount", MS_REMOUNT, 0},
    {"bind", MS_BIND, 0},
    {"rbind", MS_BIND | MS_REC, 0},
    {"move", MS_MOVE, 0},
    {"noatime", MS_NOATIME, 0},
    {"relatime", MS_RELATIME, 0},
    {"strictatime", MS_STRICTATIME, 0},
    {"nodiratime", MS_NODIRATIME, 0},
    {"private", MS_PRIVATE, 0},
    {"rprivate", MS_PRIVATE | MS_REC, 0},
    {"slave", MS_SLAVE, 0},
    {"rslave", MS_SLAVE | MS_REC, 0},
    {"shared", MS_SHARED, 0},
    {"rshared", MS_SHARED | MS_REC, 0},
    {"unbindable", MS_UNBINDABLE, 0},
    {"runbindable", MS_UNBINDABLE | MS_REC, 0},
    {"defaults", 0, 0},
});

struct MountOptions {
    unsigned long flags = 0;
    std::string data;  // what the file system itself is to read
};

MountOptions read_options(const Words& options) {
    MountOptions found;
    for (const auto& option : options) {
        const MountOption* known = nullptr;
        for (const auto& row : mount_options) {
            if (row.name == option) known = &row;
        }
        if (known) {
            found.flags = (found.flags | known->set) & ~known->clear;
        } else {
            found.data += (found.data.empty() ? "" : ",") + option;
        }
    }
    return found;
}

Result<> mount(Batch& batch, const Words& words) {
    const std::string type = words.size() > 2 ? words[2] : "none";
    Words options;
    if (words.size() > 3) options = core::split_list(words[3]);
    if (type == "bind" || type == "rbind") options.push_back(type);
    const MountOptions read = read_options(options);
    const auto target = batch.text(words.at(1));
    batch.call("mount", SYS_mount, batch.text(words.at(0)), target, batch.text(type), read.flags,
               batch.text(read.data));
    // A bind mount takes over the flags of its source, and is told its own afterwards.
    constexpr unsigned long of_a_mount = MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME;
    const bool again = (read.flags & MS_BIND) != 0 && (read.flags & MS_REMOUNT) == 0 &&
                       (read.flags & of_a_mount) != 0;
    if (again)
        batch.call("mount", SYS_mount, 0, target, 0,
                   MS_REMOUNT | MS_BIND | (read.flags & of_a_mount), 0);
    return {};
}

Result<> umount(Batch& batch, const Words& words) {
    batch.call("umount2", SYS_umount2, batch.text(words.at(0)), MNT_DETACH);
    return {};
}

// Without a directory for the old root: it is stacked on the new one and taken away.
Result<> pivot(Batch& batch, const Words& words) {
    const auto here = batch.text(".");
    batch.call("chdir", SYS_chdir, batch.text(words.at(0)));
    batch.call("pivot_root", SYS_pivot_root, here, here);
    batch.call("umount2", SYS_umount2, here, MNT_DETACH);
    batch.call("chdir", SYS_chdir, batch.text("/"));
    return {};
}

// ---------------------------------------------------------------------------------------------
// Namespaces

Result<> ns_new(Batch& batch, const Words& kinds) {
    const auto flags = TRY(namespace_flags(kinds));
    if ((flags & CLONE_NEWPID) != 0)
        return fail(std::errc::invalid_argument,
                    "a pid namespace is entered at birth: efork NAME ns=pid");
    batch.call("unshare", SYS_unshare, flags);
    // As unshare(1) does: what is mounted there stays there.
    if ((flags & CLONE_NEWNS) != 0)
        batch.call("mount", SYS_mount, 0, batch.text("/"), 0, MS_REC | MS_PRIVATE, 0);
    return {};
}

Result<> ns_join(Batch& batch, const std::string& kind, const std::string& path) {
    const auto flag = TRY(namespace_flags({kind}));
    if (flag == CLONE_NEWPID)
        return fail(std::errc::invalid_argument,
                    "a pid namespace is entered at birth, and only a new one can be");
    const auto fd = batch.call("open", SYS_openat, AT_FDCWD, batch.text(path),
                               O_RDONLY | O_CLOEXEC | O_NONBLOCK, 0);
    batch.call("setns", SYS_setns, fd, flag);
    batch.call("close", SYS_close, fd).always();
    return {};
}

Result<> ns(Batch& batch, const Words& words) {
    if (words.at(0) == "new") return ns_new(batch, core::split_list(words.at(1)));
    return ns_join(batch, words.at(1), words.at(2));
}

// In the order in which they can be joined: the user namespace gives the right to join the others,
// the mount namespace may have no /proc. What is entered by children only is where they will be.
struct Joined {
    std::string_view kind;
    std::string_view link;
};
constexpr auto joined = std::to_array<Joined>({
    {"user", "ns/user"},
    {"cgroup", "ns/cgroup"},
    {"ipc", "ns/ipc"},
    {"net", "ns/net"},
    {"time", "ns/time_for_children"},
    {"uts", "ns/uts"},
    {"mnt", "ns/mnt"},
});

Readings read_ns(const Facts& facts) {
    Readings found;
    for (const auto& [kind, link] : joined) {
        if (facts.differs(link))
            found.push_back(
                {"join", std::string(kind), fmt::format("/proc/{}/{}", facts.pid, link)});
    }
    return found;
}

Result<> hostname(Batch& batch, const Words& words) {
    batch.call("sethostname", SYS_sethostname, batch.text(words.at(0)), words[0].size());
    return {};
}

Readings read_hostname(const Facts& facts) {
    return one_if(facts.is_embryo && facts.is_elsewhere("uts"), {facts.hostname});
}

Result<> domainname(Batch& batch, const Words& words) {
    batch.call("setdomainname", SYS_setdomainname, batch.text(words.at(0)), words[0].size());
    return {};
}

Readings read_domainname(const Facts& facts) {
    return one_if(facts.is_embryo && facts.is_elsewhere("uts"), {facts.domainname});
}

// ---------------------------------------------------------------------------------------------
// Id maps

// With the rights of who made it, whatever the daemon's are; the directory is where that one may have no /proc.
Task<Result<>> write_map(Child& child, const char* file, std::string text) {
    const std::string path = fmt::format("/proc/{}", child.pid());
    const core::DescriptorRef place = std::make_shared<HeldDescriptor>(
        co_await check_fd("open", ::open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)));
    const auto fill = [&](Batch& batch) -> Result<> {
        const auto directory = batch.send(place);
        const auto fd =
            batch.call("open", SYS_openat, directory, batch.text(file), O_WRONLY | O_CLOEXEC, 0);
        batch.call("close", SYS_close, directory).always();
        batch.call(file, SYS_write, fd, batch.bytes(text), text.size());
        batch.call("close", SYS_close, fd).always();
        return {};
    };
    const auto maker = co_await child.maker();
    const Replies replies = co_await maker->perform(fill);
    co_return replies.checked();
}

Result<std::string> map_text(const Words& words) {
    constexpr std::size_t group = 3;
    if (words.size() < 1 + group || (words.size() - 1) % group != 0)
        return fail(std::errc::invalid_argument,
                    "usage: idmap uid|gid IN OUT LEN [IN OUT LEN ...]");
    std::string text;
    for (std::size_t i = 1; i < words.size(); i += group) {
        text +=
            fmt::format("{} {} {}\n", TRY(parse_id("id", words[i])),
                        TRY(parse_id("id", words[i + 1])), TRY(parse_id("length", words[i + 2])));
    }
    return text;
}

// A namespace that was joined may have the wanted map already.
bool is_mapped_so(core::Pid pid, const char* file, const std::string& wanted) {
    return blank_separated(procfs::read(pid, file).value_or("")) == blank_separated(wanted);
}

// The kernel wants the map written from outside, whole, and once. Who may not set groups may still
// map his own one, when the process has given up setgroups(2).
Task<Result<>> idmap(Child& child, const core::Setting& setting) {
    constexpr Named kinds[] = {{"uid", 0}, {"gid", 1}};
    const bool is_group = co_await named_value("kind", setting.words.at(0), kinds) != 0;
    const std::string text = co_await map_text(setting.words);
    const char* const file = is_group ? "gid_map" : "uid_map";
    if (is_mapped_so(child.pid(), file, text)) co_return done();
    auto written = co_await write_map(child, file, text).result();
    if (!written && is_mapped_so(child.pid(), file, text))
        co_return done();  // who did it died before it said so
    const bool may_help =
        !written && is_group && written.error().code == std::errc::operation_not_permitted;
    if (!may_help) co_return written;
    const auto given_up = co_await write_map(child, "setgroups", "deny").result();
    if (given_up) written = co_await write_map(child, file, text).result();
    co_return written;
}

Readings read_idmap(const Facts& facts) {
    Readings found;
    for (const std::string kind : {"uid", "gid"}) {
        Words words{kind};
        const Words map = facts.file(kind + "_map");
        words.insert(words.end(), map.begin(), map.end());
        if (facts.is_elsewhere("user") && !map.empty()) found.push_back(words);
    }
    return found;
}

constexpr auto rows = std::to_array<SettingRow>({
    {"chdir", chdir, nullptr, {}, Turn::directory, read_chdir},
    {"chroot", chroot, nullptr, "CAP_SYS_CHROOT; a user has it after `ns new user`", Turn::root,
     read_chroot},
    {"umask", umask, nullptr, {}, Turn::attributes, read_umask},
    {"mount", mount, nullptr, "CAP_SYS_ADMIN; a user has it after `ns new user,mnt`"},
    {"umount", umount, nullptr, "CAP_SYS_ADMIN; a user has it after `ns new user,mnt`"},
    {"pivot", pivot, nullptr, "CAP_SYS_ADMIN; a user has it after `ns new user,mnt`"},
    {"ns", ns, nullptr, "CAP_SYS_ADMIN; a user has it after `ns new user`", Turn::namespaces,
     read_ns},
    {"hostname", hostname, nullptr, "CAP_SYS_ADMIN; a user has it after `ns new user,uts`",
     Turn::names, read_hostname},
    {"domainname", domainname, nullptr, "CAP_SYS_ADMIN; a user has it after `ns new user,uts`",
     Turn::names, read_domainname},
    {"idmap", nullptr, idmap,
     "a new user namespace, and one's own id only, or CAP_SETUID and CAP_SETGID outside",
     Turn::id_maps, read_idmap},
});

}  // namespace

std::span<const SettingRow> namespace_settings() { return rows; }

}  // namespace proc9::os
