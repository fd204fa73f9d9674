// What /proc says about a process. Nothing here follows a link, so nothing can reach our own mount.
// `environ` alone reads memory of the process, which may be a file on a file system that hangs.
#pragma once

#include <optional>

#include "daemon/os/unique_fd.hpp"

namespace proc9::os::procfs {

// ENOENT becomes ESRCH: the process is gone.
core::Result<std::string> read(core::Pid pid, std::string_view name);
// A file that the kernel makes in one piece, as status and stat: a short read is its end. Each read() has it as it is
// then.
class Record {
public:
    static core::Result<Record> open(core::Pid pid, std::string_view name);
    [[nodiscard]] core::Result<std::string> read() const;

private:
    explicit Record(UniqueFd file) : file_(std::move(file)) {}
    UniqueFd file_;
};
core::Result<std::string> link(core::Pid pid, std::string_view name);
// The entries of a directory that are numbers, sorted: fd, task.
core::Result<std::vector<int>> numbers(core::Pid pid, std::string_view directory);
core::Result<std::map<std::string, std::string>> status(core::Pid pid);
// The same for those who want a field or two: each is found when it is asked for. "" if there is none.
class Fields {
public:
    explicit Fields(std::string status) : text_('\n' + std::move(status)) {}
    std::string operator[](std::string_view name) const;

private:
    std::string text_;
};
core::Result<Fields> fields(core::Pid pid);
core::Result<std::vector<core::MappedLine>> maps(core::Pid pid);
// 55d0-55d4 r-xp 00001000 fe:00 1095 /usr/bin/cat
core::MappedLine parse_maps_line(const std::string& text);

// Whom its files belong to. Root, if it gained rights by exec or does not want to be looked at, or has gone.
std::uint32_t owner(core::Pid pid);

struct DescriptorInfo {
    int flags = 0;  // as open(2) and O_CLOEXEC
    int mount = 0;  // the id of the mount
};
core::Result<DescriptorInfo> descriptor_info(core::Pid pid, int number);

struct Mount {
    int id = 0;
    std::string type;  // fuse.proc9
};
// What is mounted at a path, from /proc/self/mountinfo; the last one if they are stacked. Touches nothing.
std::optional<Mount> mount_at(std::string_view path);

}  // namespace proc9::os::procfs
