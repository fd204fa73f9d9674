#include "client/p9/process.hpp"

#include <fmt/format.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>

#include "client/p9/host.hpp"
#include "client/p9/mount.hpp"

namespace proc9::p9 {
namespace {

using Json = nlohmann::ordered_json;

bool is_id(const std::string& name) {
    return !name.empty() && name.find_first_not_of("0123456789") == std::string::npos;
}

std::string user_name(uid_t uid) {
    const passwd* const user = ::getpwuid(uid);
    return user ? user->pw_name : std::to_string(uid);
}

// What the mount does not tell of a living process: fields 14, 15 and 24 of /proc/PID/stat. Of another host it is not here.
void ask_kernel(Process& process) {
    if (!host().empty()) return;
    std::ifstream file("/proc/" + process.id + "/stat");
    std::string text;
    if (!std::getline(file, text)) return;
    std::istringstream rest(text.substr(text.rfind(')') + 2));
    const std::vector<std::string> fields{std::istream_iterator<std::string>(rest), {}};
    if (fields.size() < 22) return;
    const auto number = [&](std::size_t field) { return std::stoull(fields[field - 3]); };
    process.cpu_ms =
        (number(14) + number(15)) * 1000 / static_cast<std::uint64_t>(::sysconf(_SC_CLK_TCK));
    process.resident = number(24) * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

std::string command_of(const Json& status) {
    std::string words;
    for (const auto& word : status["args"])
        words += (words.empty() ? "" : " ") + word.get<std::string>();
    return words.empty() ? fmt::format("[{}]", status["comm"].get<std::string>()) : words;
}

void read_status(Process& process, const Json& status) {
    process.id = std::to_string(status["id"].get<int>());
    process.name = status["name"];
    process.state = status["state"];
    process.command = command_of(status);
    process.parent = status["ppid"].is_number() ? status["ppid"].dump() : "";
    if (const auto& exit = status["exit"]; exit.is_object()) {
        process.status = exit["status"];
        process.cpu_ms =
            exit["user_ms"].get<std::uint64_t>() + exit["system_ms"].get<std::uint64_t>();
    } else {
        ask_kernel(process);
    }
}

// Nothing if it has gone; of somebody else's only what everybody may know.
std::optional<Process> look(const std::string& name) {
    struct stat info{};
    if (::stat(path_of(name).c_str(), &info) != 0) return std::nullopt;
    Process process{name, "", "?", user_name(info.st_uid), "", "", "", 0, 0};
    const auto text = try_read(name + "/status.json");
    if (const Json status = Json::parse(text.value_or(""), nullptr, false); status.is_object())
        read_status(process, status);
    return process;
}

}  // namespace

std::vector<Process> all_processes() {
    std::vector<Process> found;
    for (const auto& name : list("")) {
        if (!is_id(name)) continue;
        if (auto process = look(name)) found.push_back(std::move(*process));
    }
    std::sort(found.begin(), found.end(), [](const Process& left, const Process& right) {
        return std::stol(left.id) < std::stol(right.id);
    });
    return found;
}

std::vector<Process> processes(const std::vector<std::string>& names) {
    if (names.empty()) return all_processes();
    std::vector<Process> found;
    for (const auto& name : names) {
        auto process = look(name);
        if (!process) fail_to_open(name + "/status.json", ENOENT);
        found.push_back(std::move(*process));
    }
    return found;
}

Json to_json(const Process& process) {
    return {{"id", std::stol(process.id)},
            {"name", process.name},
            {"state", process.state},
            {"owner", process.owner},
            {"parent", process.parent.empty() ? Json() : Json(std::stol(process.parent))},
            {"cpu_ms", process.cpu_ms},
            {"resident", process.resident},
            {"status", process.state == "exited" ? Json(process.status) : Json()},
            {"command", process.command}};
}

}  // namespace proc9::p9
