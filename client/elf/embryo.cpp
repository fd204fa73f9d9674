#include "client/elf/embryo.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <limits>
#include <memory>
#include <sstream>

#include "client/elf/refused.hpp"

extern "C" {
#include "client/mount.h"
}

namespace proc9::elf {
namespace {

Descriptor open_in_mount(const std::string& name, int flags) {
    Descriptor file(::mount_open(name.c_str(), flags | O_CLOEXEC, 0));
    if (file.get() < 0) refuse_by_errno(name);
    return file;
}

// The value that the process gets is without one newline at the end.
std::string value_of(std::string text) {
    if (text.ends_with('\n')) text.pop_back();
    return text;
}

}  // namespace

Embryo::Embryo(std::string name)
    : name_(std::move(name)), ctl_(open_in_mount(name_ + "/ctl", O_RDWR)) {}

std::string Embryo::read(const std::string& file) const {
    return read_all(open_in_mount(name_ + "/" + file, O_RDONLY), file);
}

// What stands behind a key at the beginning of a line.
std::string Embryo::field(const std::string& file, const std::string& key) const {
    std::istringstream lines(read(file));
    for (std::string line; std::getline(lines, line);) {
        if (line.starts_with(key)) return line.substr(key.size());
    }
    refuse("{}: no {}", file, key);
}

Identity Embryo::identity() const {
    Identity identity;
    std::istringstream(field("status", "Uid:")) >> identity.user >> identity.effective_user;
    std::istringstream(field("status", "Gid:")) >> identity.group >> identity.effective_group;
    return identity;
}

std::vector<std::string> Embryo::environment() const {
    Descriptor folder = open_in_mount(name_ + "/env", O_RDONLY | O_DIRECTORY);
    const std::unique_ptr<DIR, int (*)(DIR*)> entries(::fdopendir(folder.release()), ::closedir);
    if (!entries) refuse_by_errno("env");
    std::vector<std::string> variables;
    while (const dirent* const entry = ::readdir(entries.get())) {
        const std::string name = entry->d_name;
        if (name != "." && name != "..")
            variables.push_back(name + "=" + value_of(read("env/" + name)));
    }
    return variables;
}

std::uint64_t Embryo::stack_limit() const {
    constexpr std::uint64_t unlimited = std::numeric_limits<std::uint64_t>::max();
    std::uint64_t limit = unlimited;
    if (!(std::istringstream(field("limits", "Max stack size")) >> limit)) return unlimited;
    return limit;
}

std::vector<MapsLine> Embryo::maps() const { return parse_maps(read("maps")); }

Descriptor Embryo::open(const std::string& path) const {
    std::array<char, 64> told{};
    if (::pread(ctl_.get(), told.data(), told.size() - 1, 0) < 0) refuse_by_errno(name_ + "/ctl");
    const std::string root_path = fmt::format("/proc/{}/root", std::atoi(told.data()));
    const Descriptor root(::open(root_path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (root.get() < 0) refuse_by_errno(root_path);
    open_how how{};
    how.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
    how.resolve = RESOLVE_IN_ROOT;
    Descriptor file(
        static_cast<int>(::syscall(SYS_openat2, root.get(), path.c_str(), &how, sizeof how)));
    if (file.get() < 0) refuse_by_errno(path);
    return file;
}

void Embryo::tell(const std::string& lines, bool may_fail) {
    if (::mount_write(ctl_.get(), lines.data(), lines.size()) == 0) return;
    if (may_fail && (errno == EPERM || errno == EACCES)) return;
    const int number = errno;
    const std::string reason = value_of(read("error"));
    errno = number;
    if (reason.empty()) refuse_by_errno(name_ + "/ctl");
    refuse("{}", reason);
}

void Embryo::write(const Step& step) const {
    const std::string name = fmt::format("{}/mem/{:x}", name_, step.region);
    const Descriptor region = open_in_mount(name, O_WRONLY);
    for (std::size_t done = 0; done < step.bytes.size();) {
        const auto count =
            ::pwrite(region.get(), step.bytes.data() + done, step.bytes.size() - done,
                     static_cast<off_t>(step.offset + done));
        if (count < 0) refuse_by_errno(name);
        done += static_cast<std::size_t>(count);
    }
}

// Lines that follow each other are one write.
void Embryo::follow(const Plan& plan) {
    std::string lines;
    const auto flush = [&] {
        if (!lines.empty()) tell(std::exchange(lines, {}), false);
    };
    for (const auto& step : plan.steps()) {
        if (!step.may_fail && !step.line.empty()) {
            lines += step.line + "\n";
            continue;
        }
        flush();
        if (step.may_fail) tell(step.line + "\n", true);
        if (step.line.empty()) write(step);
    }
    flush();
}

}  // namespace proc9::elf
