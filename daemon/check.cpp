#include "daemon/check.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/capability.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <optional>
#include <sstream>

#include "daemon/os/machine.hpp"
#include "daemon/os/procfs.hpp"
#include "daemon/os/unique_fd.hpp"
#include "fs/core/log.hpp"

namespace proc9 {
namespace {

constexpr std::string_view ok = "ok";
constexpr std::string_view less = "less";
constexpr std::string_view missing = "missing";

struct Answer {
    std::string_view grade;
    std::string text;
};

std::string error_text(int number) { return std::generic_category().message(number); }

std::string contents(const std::string& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
}

// Of a file that holds one; none if there is no such file, or it says "max".
std::optional<std::uint64_t> number_in(const std::string& path) {
    const std::string text = contents(path);
    std::uint64_t value = 0;
    const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
    return problem == std::errc{} ? std::optional(value) : std::nullopt;
}

std::string own_status(std::string_view field) {
    const auto fields = os::procfs::fields(::getpid());
    return fields ? (*fields)[field] : "";
}

bool has_capability(unsigned number) {
    const std::string held = own_status("CapEff");
    std::uint64_t set = 0;
    std::from_chars(held.data(), held.data() + held.size(), set, 16);
    return ((set >> number) & 1U) != 0;
}

// What it answers is the errno, or 0; in a process of its own, so that nothing stays.
int try_in_child(const std::function<int()>& deed) {
    const pid_t child = ::fork();
    if (child < 0) return errno;
    if (child == 0) ::_exit(deed());
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
    return WIFEXITED(status) ? WEXITSTATUS(status) : EINTR;
}

utsname kernel_of_this() {
    utsname kernel{};
    ::uname(&kernel);
    return kernel;
}

Answer check_kind(const Arguments& /*arguments*/) {
    const auto fits = os::check_machine();
    return fits ? Answer{ok, kernel_of_this().machine} : Answer{missing, fits.error().why};
}

Answer check_fuse(const Arguments& /*arguments*/) {
    const os::UniqueFd device(::open("/dev/fuse", O_RDWR | O_CLOEXEC));
    if (device) return {ok, "/dev/fuse can be opened"};
    const char* const advice =
        errno == EACCES ? "as root: chmod 666 /dev/fuse"
                        : "as root: modprobe fuse; a container has to be given the device";
    return {missing, fmt::format("/dev/fuse: {}; {}", error_text(errno), advice)};
}

// An ordinary user cannot call mount(2).
Answer check_mounting(const Arguments& /*arguments*/) {
    if (has_capability(CAP_SYS_ADMIN)) return {ok, "with CAP_SYS_ADMIN"};
    std::istringstream folders(std::getenv("PATH") ? std::getenv("PATH") : "");
    for (std::string folder; std::getline(folders, folder, ':');) {
        struct stat found{};
        if (::stat((folder + "/fusermount3").c_str(), &found) != 0) continue;
        if ((found.st_mode & S_ISUID) != 0) return {ok, folder + "/fusermount3"};
        return {missing,
                folder + "/fusermount3 is not set-user-id: chmod u+s, or install fuse3 again"};
    }
    return {missing, "there is no fusermount3 in $PATH: install the package fuse3"};
}

Answer check_place(const Arguments& arguments) {
    const std::string& place = arguments.mountpoint;
    struct stat found{};
    // Whoever looks at a mount may wait for its daemon: nobody knows here whether it is a live one.
    if (os::procfs::mount_at(place)) {
        return {arguments.is_check ? less : missing,
                fmt::format("something is mounted at {}; if nobody serves it: fusermount3 -u -z {}",
                            place, place)};
    }
    if (::stat(place.c_str(), &found) != 0)
        return {missing, fmt::format("{}: {}; mkdir {}", place, error_text(errno), place)};
    if (!S_ISDIR(found.st_mode)) return {missing, place + " is no directory"};
    if (::geteuid() != 0 && (found.st_uid != ::geteuid() || ::access(place.c_str(), W_OK) != 0))
        return {missing, fmt::format("{} is not yours: fusermount3 refuses it", place)};
    if (holds_directories(place))
        return {missing,
                place + " holds directories, which would be hidden: an empty one is wanted"};
    return {ok, place};
}

Answer check_users(const Arguments& arguments) {
    if (arguments.allow_other && ::geteuid() != 0)
        return {missing, "--allow-other is for root: a user cannot make processes for others"};
    if (::geteuid() == 0)
        return {ok, arguments.allow_other ? "all users are served"
                                          : "root is; --allow-other serves all"};
    return {less, fmt::format("user {} is served, and nobody else", ::geteuid())};
}

Answer check_tracing(const Arguments& /*arguments*/) {
    const int problem = try_in_child([] {
        const pid_t child = ::fork();
        if (child == 0) return ::pause(), 0;
        const int refused = ::ptrace(PTRACE_SEIZE, child, nullptr, nullptr) == 0 ? 0 : errno;
        ::kill(child, SIGKILL);
        return refused;
    });
    if (problem == 0) return {ok, "ptrace(2) of one's own children"};
    const auto scope = number_in("/proc/sys/kernel/yama/ptrace_scope").value_or(0);
    return {missing, fmt::format("ptrace(2): {}; {}", error_text(problem),
                                 scope >= 2 ? "as root: sysctl kernel.yama.ptrace_scope=1"
                                            : "a seccomp filter or a security module forbids it")};
}

Answer check_calls(const Arguments& /*arguments*/) {
    const os::UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, ::getpid(), 0)));
    if (!pidfd) return {missing, "pidfd_open(2): " + error_text(errno) + "; Linux 5.3 is needed"};
    if (::close_range(~0U, ~0U, 0) != 0)
        return {missing, "close_range(2): " + error_text(errno) + "; Linux 5.9 is needed"};
    const os::UniqueFd memory(::memfd_create("check", MFD_CLOEXEC));
    if (!memory) return {missing, "memfd_create(2): " + error_text(errno)};
    if (number_in("/proc/sys/vm/memfd_noexec").value_or(0) >= 2)
        return {
            less,
            "vm.memfd_noexec is 2: memory that was written through mem/ cannot be made executable"};
    return {ok, "pidfd_open, close_range, memfd_create"};
}

Answer check_filter(const Arguments& /*arguments*/) {
    if (own_status("Seccomp") == "2")
        return {less, "the daemon is under a seccomp filter, and so is what it makes"};
    return {ok, "no filter"};
}

Answer check_passthrough(const Arguments& /*arguments*/) {
    const utsname kernel = kernel_of_this();
    int major = 0;
    int minor = 0;
    const std::string_view release = kernel.release;
    const auto [end, _] = std::from_chars(release.begin(), release.end(), major);
    if (end != release.end()) std::from_chars(end + 1, release.end(), minor);
    const bool is_new = major > 6 || (major == 6 && minor >= 9);
    if (is_new && has_capability(CAP_SYS_ADMIN)) return {ok, fmt::format("Linux {}", release)};
    return {less, fmt::format("{}: mem/ADDR are links to memory",
                              is_new ? "without CAP_SYS_ADMIN" : "before Linux 6.9")};
}

Answer check_descriptors(const Arguments& /*arguments*/) {
    rlimit limit{};
    ::getrlimit(RLIMIT_NOFILE, &limit);
    constexpr rlim_t own = 64;
    constexpr rlim_t of_an_embryo = 2;
    const auto room = limit.rlim_max > own ? (limit.rlim_max - own) / of_an_embryo : 0;
    const std::string text =
        fmt::format("hard limit {}: about {} embryos at once", limit.rlim_max, room);
    return {room < 16 ? missing : room < 1000 ? less : ok, text};
}

Answer check_processes(const Arguments& arguments) {
    std::uint64_t room = number_in("/proc/sys/kernel/pid_max").value_or(32768);
    std::string_view which = "kernel.pid_max";
    rlimit limit{};
    ::getrlimit(RLIMIT_NPROC, &limit);
    if (::geteuid() != 0 && limit.rlim_cur < room) room = limit.rlim_cur, which = "ulimit -u";
    std::istringstream groups(contents("/proc/self/cgroup"));
    for (std::string line; std::getline(groups, line);) {
        if (!line.starts_with("0::")) continue;
        const auto most = number_in("/sys/fs/cgroup" + line.substr(3) + "/pids.max");
        if (most && *most < room) room = *most, which = "pids.max of the control group";
    }
    const int problem = try_in_child([] { return 0; });
    if (problem != 0)
        return {missing, fmt::format("fork(2): {} ({} is {})", error_text(problem), which, room)};
    return {room < arguments.pool + 16 ? less : ok, fmt::format("at most {}: {}", room, which)};
}

Answer check_namespaces(const Arguments& /*arguments*/) {
    const int problem = try_in_child([] { return ::unshare(CLONE_NEWUSER) == 0 ? 0 : errno; });
    if (problem == 0) return {ok, "user namespaces can be made"};
    return {less,
            fmt::format("unshare(CLONE_NEWUSER): {}: ns user is refused", error_text(problem))};
}

struct Row {
    std::string_view what;
    Answer (*answer)(const Arguments&);
};

constexpr auto rows = std::to_array<Row>({
    {"machine", check_kind},
    {"fuse", check_fuse},
    {"mounting", check_mounting},
    {"place", check_place},
    {"users", check_users},
    {"tracing", check_tracing},
    {"calls", check_calls},
    {"filter", check_filter},
    {"passthrough", check_passthrough},
    {"descriptors", check_descriptors},
    {"processes", check_processes},
    {"namespaces", check_namespaces},
});

}  // namespace

bool holds_directories(const std::string& place) {
    std::error_code problem;
    const std::filesystem::directory_iterator entries(place, problem);
    return std::any_of(begin(entries), end(entries),
                       [&](const auto& entry) { return entry.is_directory(problem); });
}

std::vector<Finding> check(const Arguments& arguments) {
    std::vector<Finding> findings;
    for (const auto& row : rows) {
        auto answer = row.answer(arguments);
        findings.push_back({answer.grade, row.what, std::move(answer.text)});
    }
    return findings;
}

void log_what_is_missing(const Arguments& arguments) {
    for (const auto& finding : check(arguments)) {
        if (finding.is_missing())
            core::log(core::Severity::error, "{}: {}", finding.what, finding.text);
    }
}

}  // namespace proc9
