#include "client/p9/host.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <vector>

#include "client/p9/command.hpp"
#include "client/p9/ending.hpp"
#include "client/p9/follow.hpp"
#include "client/p9/output.hpp"

namespace proc9::p9 {
namespace {

constexpr int not_found = 127;
constexpr int moment = 10;      // milliseconds
constexpr int patience = 3000;  // then the mount is taken away by force

// What is asked is asked there, each time; a write is answered when it was done there; and where memory is a link to
// the daemon's descriptor, it is followed there.
constexpr const char* options = "direct_io,dir_cache=no,entry_timeout=0,attr_timeout=0,sshfs_sync,"
                                "follow_symlinks,ServerAliveInterval=15";

std::string& source() {
    static std::string source;
    return source;
}

std::string make_directory() {
    const char* const place = std::getenv("TMPDIR");
    std::string name = fmt::format("{}/p9-XXXXXX", place && *place ? place : "/tmp");
    if (!::mkdtemp(name.data())) throw Problem(fmt::format("{}: {}", name, std::strerror(errno)));
    return name;
}

// What the keyboard sends is for the command: neither sshfs nor its ssh takes it. If p9 is killed sshfs unmounts.
[[noreturn]] void become_sshfs(const std::string& directory) {
    for (const int signal : {SIGINT, SIGQUIT, SIGTSTP, SIGHUP}) ::signal(signal, SIG_IGN);
    ::prctl(PR_SET_PDEATHSIG, SIGTERM);
    std::vector<const char*> words{"sshfs", "-f", "-o", options};
    if (const char* const file = std::getenv("PROC9_SSH"); file && *file)
        words.insert(words.end(), {"-F", file});
    words.insert(words.end(), {"--", source().c_str(), directory.c_str(), nullptr});
    ::execvp(words[0], const_cast<char* const*>(words.data()));  // NOLINT: it does not change them
    complain("-H needs sshfs, which is not here (Debian: apt-get install sshfs)");
    ::_exit(not_found);
}

// Of what it can see of it.
std::optional<dev_t> device_of(const std::string& path) {
    struct stat info{};
    return ::stat(path.c_str(), &info) == 0 ? std::optional(info.st_dev) : std::nullopt;
}

// A tree of another host, as long as this exists. Signals are held meanwhile.
class Import {
public:
    Import() : directory_(make_directory()), here_(device_of(directory_)) {
        hold_signals();
        sshfs_ = ::fork();
        if (sshfs_ == 0) {
            release_signals();
            become_sshfs(directory_);
        }
        is_over_ = static_cast<int>(::syscall(SYS_pidfd_open, sshfs_, 0));
    }
    Import(const Import&) = delete;
    Import& operator=(const Import&) = delete;
    ~Import() {
        // If it is mounted still: sshfs hangs, or was killed.
        if (!ends_by(SIGTERM) || ::rmdir(directory_.c_str()) != 0) take_by_force();
        release_signals();
    }

    const std::string& directory() const { return directory_; }

    // Until the other host has answered, or sshfs has given up. ssh may ask for a password meanwhile.
    void wait() const {
        for (;;) {
            const auto device = device_of(directory_);  // waits once it is mounted
            if (device && device != here_) return;
            pollfd over{is_over_, POLLIN, 0};
            if (::poll(&over, 1, moment) > 0) return;
        }
    }

private:
    bool ends_by(int signal) const {
        ::kill(sshfs_, signal);
        for (int left = patience; left > 0; left -= moment) {
            if (::waitpid(sshfs_, nullptr, WNOHANG) == sshfs_) return true;
            ::poll(nullptr, 0, moment);
        }
        return false;
    }
    // It waits for an answer that does not come.
    void take_by_force() const {
        (void)ends_by(SIGKILL);
        const pid_t tool = ::fork();
        if (tool == 0) {
            ::execlp("fusermount3", "fusermount3", "-u", "-z", directory_.c_str(), nullptr);
            ::_exit(not_found);
        }
        ::waitpid(tool, nullptr, 0);
        ::rmdir(directory_.c_str());
    }

    std::string directory_;
    std::optional<dev_t> here_;
    pid_t sshfs_ = -1;
    int is_over_ = -1;  // a descriptor; p9's own are closed when it follows the command
};

// If there is no tree it finds out by itself.
[[noreturn]] void run_in_child(const Import& tree, const std::function<int()>& command) {
    ::prctl(PR_SET_PDEATHSIG, SIGTERM);
    ::setenv("PROC9", tree.directory().c_str(), 1);
    release_signals();
    tree.wait();
    std::exit(command());  // NOLINT: the only thread
}

Ending follow_in(const std::function<int()>& command) {
    const Import tree;
    const pid_t child = ::fork();
    if (child == 0) run_in_child(tree, command);
    return follow(child, std::nullopt);
}

}  // namespace

const std::string& host() { return source(); }

int on_host(const std::string& host, const std::function<int()>& command) {
    source() = host.find(':') == std::string::npos ? host + ":/proc9" : host;
    return end_as(follow_in(command));
}

}  // namespace proc9::p9
