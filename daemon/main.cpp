// proc9d: what it is told, where it is started, and how it goes into the background.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <climits>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "daemon/check.hpp"
#include "daemon/daemon.hpp"
#include "daemon/keeper/keeper.hpp"
#include "daemon/os/machine.hpp"
#include "daemon/os/procfs.hpp"
#include "fs/core/log.hpp"
#include "fs/node/file_table.hpp"

namespace {

using proc9::Arguments;
using proc9::core::Severity;

std::string default_mountpoint() {
    const auto from = [](const char* name) -> std::string {
        const char* const value = std::getenv(name);
        return value ? value : "";
    };
    if (!from("PROC9").empty()) return from("PROC9");
    if (::geteuid() == 0) return "/proc9";
    const std::string runtime = from("XDG_RUNTIME_DIR");
    if (!runtime.empty() && ::access(runtime.c_str(), X_OK) == 0) return runtime + "/proc9";
    return from("HOME") + "/proc9";
}

// The parent waits until the mount answers, and exits with what the daemon has to say.
class Background {
public:
    explicit Background(int log) : log_(log) {}

    void detach() {
        std::array<int, 2> ends{};
        if (::pipe2(ends.data(), O_CLOEXEC) != 0) return;
        const pid_t child = ::fork();
        if (child != 0) {
            ::close(ends[1]);
            char status = 1;
            const bool answered = child > 0 && ::read(ends[0], &status, 1) == 1;
            ::_exit(answered ? status : 1);
        }
        ::close(ends[0]);
        report_ = ends[1];
        ::setsid();
    }
    void report(char status) {
        if (report_ < 0) return;
        (void)!::write(report_, &status, 1);
        ::close(std::exchange(report_, -1));
        ::dup2(::open("/dev/null", O_RDONLY | O_CLOEXEC), STDIN_FILENO);
        for (const int standard : {STDOUT_FILENO, STDERR_FILENO}) ::dup2(log_, standard);
    }

private:
    int log_;
    int report_ = -1;
};

std::string read_all(int descriptor) {
    std::string bytes;
    std::array<char, 65536> piece{};
    for (off_t at = 0;; at = static_cast<off_t>(bytes.size())) {
        const auto got = ::pread(descriptor, piece.data(), piece.size(), at);
        if (got <= 0) return bytes;
        bytes.append(piece.data(), static_cast<std::size_t>(got));
    }
}

int serve(const Arguments& arguments, Background& background, const proc9::core::Saved& saved) {
    try {
        proc9::Daemon daemon(arguments, saved);
        return daemon.run([&background] { background.report(0); }, saved);
    } catch (const proc9::core::Saved::exception& problem) {
        proc9::core::log(Severity::error, "cannot go on where the last daemon was: {}",
                         problem.what());
        return 1;
    }
}

void add_options(CLI::App& app, Arguments& arguments) {
    app.add_flag("-f,--foreground", arguments.foreground, "stay in the foreground");
    app.add_flag("--allow-other", arguments.allow_other,
                 "let all users in (root only): each gets processes of its own kind");
    app.add_flag("--keep", arguments.is_kept,
                 "survive kill -9: another process keeps what is needed to go on");
    app.add_option("--user-processes", arguments.limits.processes,
                   "with --allow-other: how many processes of a user may be in the tree")
        ->capture_default_str();
    app.add_option("--user-regions", arguments.limits.regions,
                   "with --allow-other: how many regions of a user may be files or shared")
        ->capture_default_str();
    app.add_option("--user-bytes", arguments.limits.bytes,
                   "with --allow-other: how long these may be together; 0: half of the memory")
        ->transform(CLI::AsSizeValue(false))
        ->capture_default_str();
    app.add_option("--log", arguments.log, "in the background: where its messages are appended")
        ->capture_default_str();
    app.add_option("--pool", arguments.pool, "how many blank processes to keep warm")
        ->check(CLI::Range(0, 10000))
        ->capture_default_str();
    app.add_option("mountpoint", arguments.mountpoint, "an empty directory")->capture_default_str();
    app.add_flag("--check", arguments.is_check,
                 "say what this machine can do for it, and exit: 1 if that is not enough");
    app.set_version_flag("-V,--version", PROC9_VERSION);
    app.add_flag_callback(
        "--tables",
        [] {
            fmt::print("{}\n", proc9::node::tables_json());
            throw CLI::Success();
        },
        "print the tables of commands and files as JSON, and exit");
}

// For this daemon does not stay where it is. Nothing is looked at: what is mounted there may hang.
std::string absolute(const std::string& path) {
    std::string plain = std::filesystem::absolute(path).lexically_normal();
    if (plain.size() > 1 && plain.back() == '/') plain.pop_back();
    return plain;
}

// False: it said why.
bool find_place(Arguments& arguments) {
    const auto mount = proc9::os::procfs::mount_at(arguments.mountpoint);
    if (mount && mount->type == "fuse.proc9") {
        proc9::log_what_is_missing(arguments);
        return false;
    }
    const std::unique_ptr<char, decltype(&std::free)> full(
        ::realpath(arguments.mountpoint.c_str(), nullptr), &std::free);
    if (full && !proc9::holds_directories(full.get())) {
        arguments.mountpoint = full.get();
        return true;
    }
    if (full) errno = ENOTEMPTY;
    proc9::core::log(Severity::error, "{}: {}", arguments.mountpoint,
                     std::generic_category().message(errno));
    proc9::log_what_is_missing(arguments);
    return false;
}

std::string program_of_this() {
    std::array<char, PATH_MAX> path{};
    const auto size = ::readlink("/proc/self/exe", path.data(), path.size());
    std::string text(path.data(), size > 0 ? static_cast<std::size_t>(size) : 0);
    constexpr std::string_view mark = " (deleted)";  // another file has that name now
    if (text.ends_with(mark)) text.resize(text.size() - mark.size());
    return text;
}

// What another daemon has told, if it made this program follow it.
proc9::core::Saved take_state() {
    const char* const told = std::getenv(proc9::state_variable);
    if (!told) return {};
    const int descriptor = std::atoi(told);
    auto saved = proc9::core::Saved::from_cbor(read_all(descriptor));
    ::close(descriptor);
    ::unsetenv(proc9::state_variable);
    return saved;
}

int print_check(const Arguments& arguments) {
    bool is_enough = true;
    for (const auto& finding : proc9::check(arguments)) {
        fmt::print("{:<8} {:<12} {}\n", finding.grade, finding.what, finding.text);
        is_enough = is_enough && !finding.is_missing();
    }
    return is_enough ? 0 : 1;
}

// Without any memory of the heap: the daemon may have fallen in the midst of taking some.
void say_how_it_ended(int signal) {
    std::array<char, 100> line{};
    const char* const priority = std::getenv("JOURNAL_STREAM") ? "<3>" : "";
    const char* const name = ::sigabbrev_np(signal);
    const auto made =
        fmt::format_to_n(line.data(), line.size(), "{}proc9d: ended by signal {} {}\n", priority,
                         signal, name ? name : "");
    (void)!::write(STDERR_FILENO, line.data(), std::min(made.size, line.size()));
}

}  // namespace

int main(int argc, char** argv) {
    Arguments arguments;
    arguments.mountpoint = default_mountpoint();
    CLI::App app("The proc9 daemon: mounts a file system in which processes are built with files.",
                 "proc9d");
    add_options(app, arguments);
    CLI11_PARSE(app, argc, argv);

    arguments.mountpoint = absolute(arguments.mountpoint);
    if (arguments.is_check) return print_check(arguments);
    if (const auto fits = proc9::os::check_machine(); !fits) {
        proc9::core::log(Severity::error, "{}", fits.error().why);
        return 1;
    }
    const proc9::core::Saved saved = take_state();
    const bool goes_on = !saved.is_null();
    if (goes_on) {
        arguments.mountpoint = saved.at("mountpoint");
    } else if (!find_place(arguments)) {
        return 1;
    }
    arguments.program = program_of_this();
    arguments.words.assign(argv + 1, argv + argc);
    // Whatever the caller left open would be held as long as the daemon lives; what the daemon before this one left open
    // is for nobody else.
    ::close_range(3, ~0U, goes_on ? CLOSE_RANGE_CLOEXEC : 0);
    const int log =
        goes_on ? -1
                : ::open(arguments.log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (log < 0 && !goes_on) {
        proc9::core::log(Severity::error, "{}: {}", arguments.log,
                         std::generic_category().message(errno));
        return 1;
    }
    Background background(log);
    if (!arguments.foreground && !goes_on) background.detach();
    ::umask(022);
    if (::chdir("/") != 0) return 1;
    ::signal(SIGPIPE, SIG_IGN);
    const auto run = [&] {
        if (arguments.is_kept && proc9::keeper::parent() == ::getpid())
            proc9::core::log(Severity::warn, "cannot be kept: it may not trace its own child");
        const int status = serve(arguments, background, saved);
        background.report(static_cast<char>(status));
        return status;
    };
    return arguments.is_kept ? proc9::keeper::keep(run, say_how_it_ended) : run();
}
