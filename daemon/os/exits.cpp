#include "daemon/os/exits.hpp"

#include <poll.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <array>
#include <csignal>
#include <sstream>

#include "daemon/keeper/keeper.hpp"
#include "daemon/os/procfs.hpp"
#include "fs/core/signals.hpp"

namespace proc9::os {
namespace {

using core::Result;

std::uint64_t milliseconds(const timeval& time) {
    return static_cast<std::uint64_t>(time.tv_sec) * 1000 +
           static_cast<std::uint64_t>(time.tv_usec) / 1000;
}

std::string text_of(bool by_signal, int number) {
    if (by_signal) return fmt::format("signal {} {}", number, core::signal_name(number));
    return number == 0 ? std::string{} : fmt::format("exit {}", number);
}

std::string text_of(int status) {
    return WIFSIGNALED(status) ? text_of(true, WTERMSIG(status))
                               : text_of(false, WEXITSTATUS(status));
}

core::ExitStatus status_of(const siginfo_t& info, const rusage& usage) {
    core::ExitStatus status;
    status.text = text_of(info.si_code != CLD_EXITED, info.si_status);
    status.user_ms = milliseconds(usage.ru_utime);
    status.system_ms = milliseconds(usage.ru_stime);
    return status;
}

// struct pidfd_info of linux/pidfd.h, which is younger than the headers of Debian 12.
struct PidfdInfo {
    std::uint64_t mask;
    std::uint64_t cgroup;
    std::array<std::uint32_t, 11> ids;
    std::int32_t exit_code;
};
constexpr std::uint64_t info_exit = 1U << 3U;
constexpr unsigned long get_info = _IOWR(0xFF, 11, PidfdInfo);

// Of /proc/PID/stat, by their numbers in proc(5).
constexpr std::size_t field_state = 3;
constexpr std::size_t field_utime = 14;
constexpr std::size_t field_stime = 15;
constexpr std::size_t field_exit_code = 52;

// The fields behind the name, which may hold anything.
Result<std::vector<std::string>> stat_fields(core::Pid pid) {
    const auto file = TRY(procfs::Record::open(pid, "stat"));
    const std::string text = TRY(file.read());
    std::vector<std::string> fields(field_state);
    std::istringstream words(text.substr(std::min(text.size(), text.rfind(')') + 1)));
    for (std::string word; words >> word;) fields.push_back(word);
    fields.resize(std::max(fields.size(), field_exit_code + 1));
    return fields;
}

std::uint64_t milliseconds(const std::string& ticks) {
    const auto per_second = static_cast<std::uint64_t>(::sysconf(_SC_CLK_TCK));
    return core::parse_number(ticks).value_or(0) * 1000 / per_second;
}

// The kernel tells 0 of one with other ids, as after a set-user-id program.
bool has_our_ids(core::Pid pid) {
    if (::geteuid() == 0) return true;
    auto status = procfs::status(pid);
    const auto four = [](auto id) { return fmt::format("{0}\t{0}\t{0}\t{0}", id); };
    return status && (*status)["Uid"] == four(::geteuid()) && (*status)["Gid"] == four(::getegid());
}

// Nothing: it was reaped, or it lives.
std::optional<core::ExitStatus> zombie(core::Pid pid) {
    const auto fields = stat_fields(pid);
    if (!fields || fields->at(field_state) != "Z") return std::nullopt;
    core::ExitStatus status;
    status.text =
        text_of(static_cast<int>(core::parse_number(fields->at(field_exit_code)).value_or(0)));
    status.user_ms = milliseconds(fields->at(field_utime));
    status.system_ms = milliseconds(fields->at(field_stime));
    return status;
}

}  // namespace

Result<std::optional<core::ExitStatus>> wait_for(int pidfd, int options) {
    siginfo_t info{};
    rusage usage{};
    // The C library's waitid has no room for the usage.
    TRY(check("waitid", keeper::by_parent([&] {
                  return ::syscall(SYS_waitid, P_PIDFD, pidfd, &info, WEXITED | WNOHANG | options,
                                   &usage);
              })));
    if (info.si_pid == 0) return std::optional<core::ExitStatus>{};
    return std::optional(status_of(info, usage));
}

Result<std::optional<core::ExitStatus>> end_of_foreign(core::Pid pid, int pidfd) {
    pollfd state{pidfd, POLLIN, 0};
    if (::poll(&state, 1, 0) == 0) return std::optional<core::ExitStatus>{};
    const bool is_known = has_our_ids(pid);
    auto status = zombie(pid);
    // Not reaped yet, so that was it. EPERM: it is there, but another's by now.
    const bool is_there =
        ::syscall(SYS_pidfd_send_signal, pidfd, 0, nullptr, 0) == 0 || errno == EPERM;
    if (status && is_there && is_known) return status;
    if (is_there) return std::optional<core::ExitStatus>{};  // its parent's reaping will tell
    PidfdInfo info{};
    info.mask = info_exit;
    const bool is_told = ::ioctl(pidfd, get_info, &info) == 0 && (info.mask & info_exit) != 0;
    core::ExitStatus reaped;
    reaped.text = is_told ? text_of(info.exit_code) : "unknown";
    return std::optional(reaped);
}

}  // namespace proc9::os
