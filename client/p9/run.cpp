// p9 run: a program as the shell starts it, built by way of the mount.
#include <fcntl.h>
#include <fmt/core.h>
#include <fmt/ranges.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <map>
#include <utility>

#include "client/p9/building.hpp"
#include "client/p9/command.hpp"
#include "client/p9/follow.hpp"
#include "client/p9/host.hpp"
#include "client/p9/host_output.hpp"
#include "client/p9/mount.hpp"
#include "client/p9/output.hpp"
#include "client/proc9.h"

namespace proc9::p9 {
namespace {

constexpr int not_found = 127;
constexpr int not_executable = 126;

std::string numbers(const std::vector<int>& list) {
    return fmt::format("{}", fmt::join(list, " "));
}

template <typename Predicate>
std::string signals_that(Predicate holds) {
    std::vector<int> found;
    for (int signal = 1; signal <= SIGRTMAX; ++signal) {
        if (holds(signal)) found.push_back(signal);
    }
    return numbers(found);
}

std::string blocked_signals() {
    sigset_t mask;
    ::sigprocmask(SIG_BLOCK, nullptr, &mask);
    return signals_that([&](int signal) { return sigismember(&mask, signal) == 1; });
}

std::string ignored_signals() {
    return signals_that([](int signal) {
        struct sigaction action{};
        return ::sigaction(signal, nullptr, &action) == 0 && action.sa_handler == SIG_IGN;
    });
}

mode_t current_umask() {
    const mode_t mask = ::umask(0);
    ::umask(mask);
    return mask;
}

// All that a program gets from the shell that starts it. The other settings are those of its parent, p9.
void inherit(const Ctl& child) {
    child.tell(fmt::format("inherit all\numask {:#o}\nsigmask {}\nsigignore {}\n", current_umask(),
                           blocked_signals(), ignored_signals()));
}

// What the parent leaves to its child, a blank process has no reason to keep.
void inherit_standard_descriptors(const Ctl& child) {
    child.tell("chdir /\nsigmask\nsigignore\n");
    for (const int standard : {0, 1, 2}) {
        if ((::fcntl(standard, F_GETFD) & FD_CLOEXEC) == 0)
            child.tell(fmt::format("fd {0} self:{0}\n", standard));
    }
}

// Until it is started it goes with p9, and so does the zygote that it came from.
class Embryo {
public:
    explicit Embryo(Ctl ctl) : ctl_(std::move(ctl)) {}
    Embryo(const Embryo&) = delete;
    Embryo& operator=(const Embryo&) = delete;
    ~Embryo() {
        if (is_started_) return;
        (void)::proc9_tell(ctl_.get(), "kill\n");
        close_from(STDERR_FILENO + 1, -1);
    }
    const Ctl& ctl() const { return ctl_; }
    void has_started() { is_started_ = true; }

private:
    Ctl ctl_;
    bool is_started_ = false;
};

Ctl child_of_p9() {
    const int context = ::proc9_efork();
    if (context < 0 && (errno == ENOENT || errno == ENOTCONN)) fail_to_open("ctl", errno);
    if (context < 0) throw Problem("efork: " + refusal("", errno));
    return {context, std::to_string(::proc9_pid(context))};
}

// Only the mount's own children are still there when p9 has ended, and only they can be born in other namespaces.
bool is_of_mount(const Arguments& given) {
    return given.has("background") || given.has("efork") || !host().empty();
}

Ctl make(const Arguments& given) {
    return is_of_mount(given) ? Ctl::efork(given.value("efork").value_or("")) : child_of_p9();
}

void redirect(const Ctl& child, const Arguments& given) {
    const std::string mode = given.has("append") ? "a" : "w";
    const std::map<std::string, std::pair<int, std::string>> streams = {
        {"stdin", {0, "r"}}, {"stdout", {1, mode}}, {"stderr", {2, mode}}};
    for (const auto& [name, stream] : streams) {
        if (const auto file = given.value(name))
            child.tell(
                fmt::format("fd {} open {} {}\n", stream.first, quoted(*file), stream.second));
    }
}

// On another host nothing of ours is there: what ssh would give it, and it ends when the connection does.
void settle_there(const Ctl& child, const Arguments& given) {
    child.tell("fd 0 open /dev/null r\n");
    if (given.has("background")) child.tell("fd 1 open /dev/null w\nfd 2 dup 1\n");
    if (!given.has("blank"))
        child.tell("env PATH=/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin\n");
    if (!given.has("background")) child.tell("pdeathsig kill-on-close\n");
}

bool is_own(const std::string& option) {
    const auto& own = find_command("run")->options;
    return std::any_of(own.begin(), own.end(),
                       [&](const Option& row) { return row.name == option; });
}

void build(const Ctl& child, const Arguments& given) {
    if (!host().empty()) {
        settle_there(child, given);
    } else {
        given.has("blank") ? inherit_standard_descriptors(child) : inherit(child);
    }
    if (!is_of_mount(given))
        child.tell("pdeathsig KILL\n");  // kill -9 of p9 is meant for the program
    redirect(child, given);
    for (const auto& option : given.options) {
        if (!is_own(option.option)) child.tell(building_line(option));
    }
}

int exec(const Ctl& child, const std::string& path, std::vector<std::string> words) {
    std::vector<char*> argv;
    argv.reserve(words.size() + 1);
    for (auto& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    return ::proc9_exec(child.get(), path.c_str(), argv.data(), nullptr) == 0 ? 0 : errno;
}

// A file that is no program is a script of the shell, as execvp(3) has it.
int start(const Ctl& child, const std::vector<std::string>& words) {
    const int problem = words.front().empty() ? ENOENT : exec(child, words.front(), words);
    if (problem != ENOEXEC) return problem;
    std::vector<std::string> script = words;
    script.insert(script.begin(), "sh");
    return exec(child, "/bin/sh", script);
}

std::string reason(const std::string& program, int problem) {
    struct stat info{};
    if (program.find('/') == std::string::npos)
        return problem == ENOENT ? "command not found" : std::strerror(problem);
    if (::stat(program.c_str(), &info) != 0) return std::strerror(problem);
    if (S_ISDIR(info.st_mode)) return std::strerror(EISDIR);
    return problem == ENOENT ? "the interpreter that it names is not there"
                             : std::strerror(problem);
}

int say_why_not(const std::string& program, int problem) {
    complain(program + ": " + reason(program, problem));
    return problem == ENOENT ? not_found : not_executable;
}

std::optional<Seconds> timeout_of(const Arguments& given) {
    const auto text = given.value("timeout");
    if (!text) return std::nullopt;
    char* end = nullptr;
    const double seconds = std::strtod(text->c_str(), &end);
    if (*end != '\0' || end == text->c_str() || seconds < 0)
        throw Misuse("--timeout takes a number of seconds, not " + *text);
    return Seconds(seconds);
}

// One command: of more, sftp does not say which was refused, nor why; its reason stands in `error`.
int start_there(const Ctl& child, const std::vector<std::string>& words) {
    std::string line = "exec";
    for (const auto& word : words) line += ' ' + quoted(word);
    try {
        child.tell(line + '\n');
        return 0;
    } catch (const Problem& problem) {
        complain(problem.what());
        const bool is_missing = std::strstr(problem.what(), std::strerror(ENOENT)) != nullptr;
        return is_missing ? not_found : not_executable;
    }
}

int print_id(const Ctl& child) {
    fmt::print("{}\n", child.directory());
    return 0;
}

// What it writes comes back, unless the options say where to.
int run_there(Embryo& embryo, const Arguments& given) {
    std::vector<int> returned{STDOUT_FILENO, STDERR_FILENO};
    if (given.has("background")) returned.clear();
    HostOutput output(embryo.ctl(), returned);
    build(embryo.ctl(), given);
    hold_signals();
    if (const int status = start_there(embryo.ctl(), given.operands); status != 0) return status;
    embryo.has_started();
    if (given.has("background")) return print_id(embryo.ctl());
    return end_as(
        follow(embryo.ctl().directory(), timeout_of(given), [&output] { output.copy(); }));
}

}  // namespace

int run(const Arguments& given) {
    const auto timeout = timeout_of(given);
    Embryo embryo(make(given));
    const Ctl& child = embryo.ctl();
    if (!host().empty()) return run_there(embryo, given);
    build(child, given);
    hold_signals();
    if (const int problem = start(child, given.operands); problem != 0) {
        release_signals();
        return say_why_not(given.operands.front(), problem);
    }
    embryo.has_started();
    if (given.has("background")) return print_id(child);
    if (is_of_mount(given)) return end_as(follow(child.directory(), timeout));
    return end_as(follow(static_cast<pid_t>(std::stol(child.directory())), timeout));
}

}  // namespace proc9::p9
