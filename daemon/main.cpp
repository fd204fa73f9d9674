// proc9d: puts the rooms together, mounts, and serves until it is told to end or is unmounted.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <array>
#include <csignal>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <optional>

#include "daemon/os/linux_host.hpp"
#include "daemon/os/loop.hpp"
#include "fs/core/log.hpp"
#include "fs/core/registry.hpp"
#include "fs/fuse/server.hpp"
#include "fs/node/file_table.hpp"

namespace {

using proc9::core::Severity;

struct Arguments {
    bool foreground = false;
    bool allow_other = false;
    std::size_t pool = 16;
    std::string log = "/dev/null";
    std::string mountpoint;
};

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

std::string figures_of(const proc9::os::LinuxHost& host) {
    const auto figures = host.figures();
    return nlohmann::json{{"pooled", figures.pooled},
                          {"batches", figures.batches},
                          {"remote_calls", figures.remote_calls}}
        .dump();
}

int serve(const Arguments& arguments, Background& background) {
    proc9::os::Loop loop;
    proc9::os::LinuxHost host(loop, arguments.pool);
    proc9::core::Registry registry(host);
    proc9::node::Options options;
    options.memory_links = fmt::format("/proc/{}/fd/", ::getpid());
    options.figures = [&host] { return figures_of(host); };
    proc9::fuse::Server server(registry, std::move(options));
    if (const auto mounted = server.mount({arguments.mountpoint, arguments.allow_other});
        !mounted) {
        proc9::core::log(Severity::error, "{}", mounted.error().why);
        return 1;
    }
    host.mounted_at(arguments.mountpoint);
    server.on_ready([&background] { background.report(0); });
    const auto requests = loop.on_readable(server.descriptor(), [&] {
        if (!server.receive()) loop.stop();
    });
    const auto interrupted = loop.on_signal(SIGINT, [&loop] { loop.stop(); });
    const auto terminated = loop.on_signal(SIGTERM, [&loop] { loop.stop(); });
    proc9::core::log(Severity::info, PROC9_VERSION " serves {}, process {}", arguments.mountpoint,
                     ::getpid());
    loop.run();
    proc9::core::log(Severity::info, "{} is no longer served", arguments.mountpoint);
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    Arguments arguments;
    arguments.mountpoint = default_mountpoint();
    CLI::App app("The proc9 daemon: mounts a file system in which processes are built with files.",
                 "proc9d");
    app.add_flag("-f,--foreground", arguments.foreground, "stay in the foreground");
    app.add_flag("--allow-other", arguments.allow_other, "let all users in (root only)");
    app.add_option("--log", arguments.log, "in the background: where its messages are appended")
        ->capture_default_str();
    app.add_option("--pool", arguments.pool, "how many blank processes to keep warm")
        ->capture_default_str();
    app.add_option("mountpoint", arguments.mountpoint, "an empty directory")->capture_default_str();
    app.set_version_flag("-V,--version", PROC9_VERSION);
    app.add_flag_callback(
        "--tables",
        [] {
            fmt::print("{}\n", proc9::node::tables_json());
            throw CLI::Success();
        },
        "print the tables of commands and files as JSON, and exit");
    CLI11_PARSE(app, argc, argv);

    const std::unique_ptr<char, decltype(&std::free)> full(
        ::realpath(arguments.mountpoint.c_str(), nullptr), &std::free);
    if (!full) {
        proc9::core::log(Severity::error, "{}: {}", arguments.mountpoint,
                         std::generic_category().message(errno));
        return 1;
    }
    arguments.mountpoint = full.get();

    ::close_range(3, ~0U,
                  0);  // whatever the caller left open would be held as long as the daemon lives
    const int log = ::open(arguments.log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (log < 0) {
        proc9::core::log(Severity::error, "{}: {}", arguments.log,
                         std::generic_category().message(errno));
        return 1;
    }
    Background background(log);
    if (!arguments.foreground) background.detach();
    ::umask(022);
    if (::chdir("/") != 0) return 1;
    ::signal(SIGPIPE, SIG_IGN);
    const int status = serve(arguments, background);
    background.report(static_cast<char>(status));
    return status;
}
