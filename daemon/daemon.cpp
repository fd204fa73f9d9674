#include "daemon/daemon.hpp"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <new>
#include <nlohmann/json.hpp>

#include "daemon/check.hpp"
#include "daemon/keeper/keeper.hpp"
#include "daemon/notify.hpp"
#include "fs/core/log.hpp"

namespace proc9 {
namespace {

using core::Severity;

constexpr auto patience_with_commands = std::chrono::seconds(3);
constexpr auto patience_with_programs = std::chrono::seconds(5);

std::string figures_of(const os::LinuxHost& host) {
    const auto figures = host.figures();
    return nlohmann::json{{"pooled", figures.pooled},
                          {"batches", figures.batches},
                          {"remote_calls", figures.remote_calls},
                          {"kills", keeper::kills()}}
        .dump();
}

// By the keeper, if there is one: a daemon that is killed has lost its children. Answers the status that waitpid(2) tells, or -1.
int run_program(const std::vector<const char*>& words, std::chrono::milliseconds patience) {
    posix_spawn_file_actions_t silent;
    ::posix_spawn_file_actions_init(&silent);
    ::posix_spawn_file_actions_addopen(&silent, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    int status = -1;
    keeper::do_by_parent([&] {
        pid_t pid = 0;
        if (::posix_spawnp(&pid, words[0], &silent, nullptr, const_cast<char**>(words.data()),
                           environ) != 0)
            return;
        const int pidfd = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
        pollfd ended{pidfd, POLLIN, 0};
        if (::poll(&ended, 1, static_cast<int>(patience.count())) == 0) ::kill(pid, SIGKILL);
        (void)::waitpid(pid, &status, 0);
        ::close(pidfd);
    });
    ::posix_spawn_file_actions_destroy(&silent);
    return status;
}

// Where it is nobody may look: its daemon would wait for itself.
void detach(const std::string& mountpoint) {
    if (::geteuid() == 0) {
        (void)::umount2(mountpoint.c_str(), MNT_DETACH);
    } else {
        (void)run_program({"fusermount3", "-u", "-q", "-z", "--", mountpoint.c_str(), nullptr},
                          patience_with_programs);
    }
}

// A new file may be one of another machine, or want a library that is not there.
bool starts(const std::string& program) {
    return run_program({program.c_str(), "--version", nullptr}, patience_with_programs) == 0;
}

// RLIMIT_NOFILE of new processes, as it was before the first daemon raised its own.
std::optional<rlimit> limit_in(const core::Saved& saved) {
    if (saved.is_null()) return std::nullopt;
    const auto& told = saved.at("descriptors");
    return rlimit{told.at(0), told.at(1)};
}

}  // namespace

Daemon::Daemon(const Arguments& arguments, const core::Saved& saved)
    : arguments_(arguments),
      host_(loop_, {arguments.pool, arguments.allow_other, arguments.limits, limit_in(saved)}),
      registry_(host_),
      server_(registry_, options()) {}

node::Options Daemon::options() {
    node::Options options;
    options.mountpoint = arguments_.mountpoint;
    options.memory_links = fmt::format("/proc/{}/fd/", keeper::parent());
    options.figures = [this] { return figures_of(host_); };
    return options;
}

core::Result<> Daemon::begin(const core::Saved& saved) {
    const fuse::MountOptions options{arguments_.mountpoint, arguments_.allow_other,
                                     [this] { detach(arguments_.mountpoint); }};
    if (saved.is_null()) return server_.mount(options);
    core::Restoring restoring;
    registry_.restore(saved.at("registry"), restoring);
    return server_.resume(options, saved.at("server"), restoring);
}

void Daemon::receive() {
    if (!server_.receive()) loop_.stop();
    if (!server_.is_behind() || std::exchange(is_posted_, true)) return;
    loop_.post([this] {
        is_posted_ = false;
        if (requests_) receive();
    });
}

void Daemon::watch() {
    requests_ = loop_.on_readable(server_.descriptor(), [this] { receive(); });
}

void Daemon::watch_again() {
    notify("READY=1");
    watch();
}

void Daemon::give_sign_of_life() {
    const auto interval = watchdog_interval();
    if (interval.count() == 0) return;
    notify("WATCHDOG=1");
    next_sign_ = loop_.after(std::chrono::duration_cast<std::chrono::milliseconds>(interval),
                             [this] { give_sign_of_life(); });
}

bool Daemon::is_quiet() const { return server_.is_quiet() && host_.is_quiet(); }

// After everything that has come by now.
void Daemon::soon(void (Daemon::*step)()) {
    pause_ = loop_.after(std::chrono::milliseconds(1),
                         [this, step] { loop_.post([this, step] { (this->*step)(); }); });
}

// Nothing new is begun, and what is under way is waited for: a while.
void Daemon::prepare_replacement() {
    using std::chrono::steady_clock;
    if (requests_) {
        patience_ends_ = steady_clock::now() + patience_with_commands;
        notify_reloading();
    }
    requests_.reset();
    server_.serve_waiting();
    if (is_quiet()) {
        keeper::hold_signals();  // one that has come already may end it all
        return soon(&Daemon::replace);
    }
    if (steady_clock::now() < patience_ends_) return soon(&Daemon::prepare_replacement);
    core::log(Severity::warn, "not replaced: {}", server_.what_is_under_way());
    watch_again();
}

void Daemon::replace() {
    if (!is_quiet()) {
        keeper::let_signals_come();
        return prepare_replacement();
    }
    try {
        if (starts(arguments_.program)) {
            hand_over();
        } else {
            core::log(Severity::error, "not replaced: {} does not start", arguments_.program);
        }
    } catch (const std::bad_alloc&) {
        core::log(Severity::error, "not replaced: there is no memory for its state");
    }
    keeper::let_signals_come();
    watch_again();
}

// Comes back if it cannot be done.
void Daemon::hand_over() {
    host_.rest();
    // Open files may refer to processes that are not in the tree any more: they name them first. Then processes are
    // told before files, as they are restored.
    core::Saving first;
    (void)server_.save(first);
    core::Saving saving(first.processes());
    const auto limit = host_.descriptor_limit();
    auto registry = registry_.save(saving);
    const core::Saved saved{{"version", PROC9_VERSION},
                            {"mountpoint", arguments_.mountpoint},
                            {"descriptors", {limit.rlim_cur, limit.rlim_max}},
                            {"registry", std::move(registry)},
                            {"server", server_.save(saving)}};
    const auto bytes = core::Saved::to_cbor(saved);
    const int file = ::memfd_create("proc9-state", 0);
    if (file < 0 ||
        ::write(file, bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size())) {
        core::log(Severity::error, "not replaced: its state cannot be written down");
        ::close(file);
        return;
    }
    for (const int descriptor : saving.descriptors()) ::fcntl(descriptor, F_SETFD, 0);
    ::setenv(state_variable, std::to_string(file).c_str(), 1);
    std::vector<std::string> command{arguments_.program};
    command.insert(command.end(), arguments_.words.begin(), arguments_.words.end());
    core::log(Severity::notice, "process {} is replaced by {}", ::getpid(), arguments_.program);
    keeper::replace(command);
}

int Daemon::run(const std::function<void()>& ready, const core::Saved& saved) {
    host_.mounted_at(arguments_.mountpoint);
    const auto interrupted = loop_.on_signal(SIGINT, [this] { loop_.stop(); });
    const auto terminated = loop_.on_signal(SIGTERM, [this] { loop_.stop(); });
    const auto outdated = loop_.on_signal(SIGHUP, [this] { prepare_replacement(); });
    keeper::settle();
    server_.on_ready([this, &ready, is_renewed = !saved.is_null()] {
        notify(fmt::format("READY=1\nSTATUS=serves {}", arguments_.mountpoint));
        give_sign_of_life();
        ready();
        core::log(is_renewed ? Severity::notice : Severity::info,
                  PROC9_VERSION " serves {}, process {}", arguments_.mountpoint, ::getpid());
    });
    if (const auto begun = begin(saved); !begun) {
        core::log(Severity::error, "{}", begun.error().why);
        log_what_is_missing(arguments_);
        return 1;
    }
    host_.mounted_at(arguments_.mountpoint);
    watch();
    loop_.run();
    notify("STOPPING=1");
    core::log(Severity::info, "{} is no longer served", arguments_.mountpoint);
    return 0;
}

}  // namespace proc9
