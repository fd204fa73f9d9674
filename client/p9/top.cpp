// p9 top: the processes and what they use.
#include <fmt/format.h>
#include <poll.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>

#include "client/p9/command.hpp"
#include "client/p9/mount.hpp"
#include "client/p9/output.hpp"
#include "client/p9/process.hpp"

namespace proc9::p9 {
namespace {

using Json = nlohmann::ordered_json;
using Clock = std::chrono::steady_clock;

volatile std::sig_atomic_t is_over = 0;

// The other screen of the terminal, keys at once and unseen; all as before when it goes, also by a signal.
class Screen {
public:
    Screen() {
        if (::tcgetattr(STDIN_FILENO, &before_) != 0) return;
        termios raw = before_;
        raw.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
        ::tcsetattr(STDIN_FILENO, TCSANOW, &raw);
        for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGQUIT})
            ::signal(signal, [](int) { is_over = 1; });
        fmt::print("\033[?1049h\033[?25l");
        is_terminal_ = true;
    }
    Screen(const Screen&) = delete;
    Screen& operator=(const Screen&) = delete;
    ~Screen() {
        if (!is_terminal_) return;
        fmt::print("\033[?25h\033[?1049l");
        std::fflush(stdout);
        ::tcsetattr(STDIN_FILENO, TCSANOW, &before_);
    }

private:
    termios before_{};
    bool is_terminal_ = false;
};

// Two looks at the same process make its share of a processor.
class Shares {
public:
    std::map<std::string, double> of(const std::vector<Process>& processes) {
        const auto now = Clock::now();
        const double passed = std::chrono::duration<double, std::milli>(now - then_).count();
        std::map<std::string, double> shares;
        std::map<std::string, std::uint64_t> used;
        for (const auto& process : processes) {
            used[process.id] = process.cpu_ms;
            const auto before = before_.find(process.id);
            if (before != before_.end() && process.cpu_ms >= before->second)
                shares[process.id] =
                    100.0 * static_cast<double>(process.cpu_ms - before->second) / passed;
        }
        before_ = std::move(used);
        then_ = now;
        return shares;
    }

private:
    std::map<std::string, std::uint64_t> before_;
    Clock::time_point then_ = Clock::now();
};

struct Look {
    Json counters;
    std::vector<Process> processes;
    std::map<std::string, double> shares;
};

Look look(Shares& shares) {
    Look now{Json::parse(read_file("stats.json")), all_processes(), {}};
    now.shares = shares.of(now.processes);
    std::stable_sort(now.processes.begin(), now.processes.end(),
                     [&](const Process& left, const Process& right) {
                         return now.shares[left.id] > now.shares[right.id];
                     });
    return now;
}

std::string heading(const Json& counters) {
    std::string text = "proc9 at " + path_of("");
    text.pop_back();
    for (const auto& [state, number] : counters["processes"].items())
        text += fmt::format("  {} {}", number.get<int>(), state);
    for (const auto* const name : {"eforks", "starts", "exits", "requests"})
        text += fmt::format("  {} {}", name, counters[name].get<std::uint64_t>());
    return text;
}

std::string text_of(Look& now) {
    std::vector<Row> rows = {
        {{"ID", "NAME", "STATE", "OWNER", "%CPU", "MEMORY", "TIME", "COMMAND"}, Colour::bold}};
    for (const auto& process : now.processes)
        rows.push_back(
            {{process.id, process.name, process.state, process.owner,
              fmt::format("{:.1f}", now.shares[process.id]), human_size(process.resident),
              human_time(process.cpu_ms), process.command}});
    return heading(now.counters) + "\n\n" + table(rows, "><<<>>><");
}

Json json_of(Look& now) {
    Json processes = Json::array();
    for (const auto& process : now.processes) processes.push_back(to_json(process));
    return {{"counters", now.counters}, {"processes", processes}};
}

// Whether q was typed, or there is nobody to type it any more.
bool wants_to_quit(int milliseconds) {
    pollfd keyboard{STDIN_FILENO, POLLIN, 0};
    char key = 0;
    if (::poll(&keyboard, 1, milliseconds) <= 0) return false;
    return ::read(STDIN_FILENO, &key, 1) <= 0 || key == 'q';
}

int watch(int milliseconds) {
    const Screen screen;
    Shares shares;
    do {
        Look now = look(shares);
        fmt::print("\033[H\033[J{}", text_of(now));
        std::fflush(stdout);
    } while (is_over == 0 && !wants_to_quit(milliseconds) && is_over == 0);
    return 0;
}

int once(bool as_json) {
    Shares shares;
    Look now = look(shares);
    as_json ? print(json_of(now)) : fmt::print("{}", text_of(now));
    return 0;
}

}  // namespace

int top(const Arguments& given) {
    if (given.has("once") || given.has("json")) return once(given.has("json"));
    if (::isatty(STDIN_FILENO) == 0 || ::isatty(STDOUT_FILENO) == 0)
        throw Misuse("top needs a terminal: p9 top --once prints it once");
    const double seconds = std::strtod(given.value("delay").value_or("1").c_str(), nullptr);
    if (seconds < 0.05) throw Misuse("--delay takes a number of seconds, at least 0.05");
    return watch(static_cast<int>(seconds * 1000));
}

}  // namespace proc9::p9
