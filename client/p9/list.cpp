// p9 ps and p9 tree.
#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "client/p9/command.hpp"
#include "client/p9/host.hpp"
#include "client/p9/output.hpp"
#include "client/p9/process.hpp"

namespace proc9::p9 {
namespace {

using Json = nlohmann::ordered_json;

const std::map<std::string, Colour> colours = {{"embryo", Colour::blue},
                                               {"running", Colour::green},
                                               {"stopped", Colour::yellow},
                                               {"exited", Colour::dim}};

Colour colour_of(const Process& process) {
    const auto found = colours.find(process.state);
    return found == colours.end() ? Colour::none : found->second;
}

std::string state_of(const Process& process) {
    return process.status.empty() ? process.state : process.state + ": " + process.status;
}

Row row_of(const Process& process) {
    return {{process.id, process.name, state_of(process), process.owner, human_time(process.cpu_ms),
             process.command},
            colour_of(process)};
}

// Whose parent is none of the processes stands below that parent, which the kernel knows.
using Children = std::map<std::string, std::vector<Process>>;

Children by_parent(const std::vector<Process>& all) {
    Children children;
    for (const auto& process : all) children[process.parent].push_back(process);
    return children;
}

std::vector<std::string> parents_outside(const std::vector<Process>& all,
                                         const Children& children) {
    std::vector<std::string> outside;
    for (const auto& [parent, of_it] : children) {
        if (std::none_of(all.begin(), all.end(),
                         [&](const Process& one) { return one.id == parent; }))
            outside.push_back(parent);
    }
    return outside;
}

std::string comm_of(const std::string& pid) {
    std::string comm = "?";
    if (!host().empty()) return comm;
    std::ifstream file("/proc/" + pid + "/comm");
    std::getline(file, comm);
    return comm;
}

void print_branch(const Children& children, const std::string& parent, const std::string& margin) {
    const auto found = children.find(parent);
    if (found == children.end()) return;
    for (std::size_t i = 0; i < found->second.size(); ++i) {
        const auto& process = found->second[i];
        const bool is_last = i + 1 == found->second.size();
        const std::string label =
            fmt::format("{}{}{} {}", process.id, process.name.empty() ? "" : " ", process.name,
                        process.command);
        fmt::print("{}{}{} ({})\n", margin, is_last ? "└─ " : "├─ ",
                   painted(label, colour_of(process)), state_of(process));
        print_branch(children, process.id, margin + (is_last ? "   " : "│  "));
    }
}

Json json_branch(const Children& children, const std::string& parent) {
    Json branch = Json::array();
    const auto found = children.find(parent);
    if (found == children.end()) return branch;
    for (const auto& process : found->second) {
        branch.push_back(to_json(process));
        branch.back()["children"] = json_branch(children, process.id);
    }
    return branch;
}

}  // namespace

int ps(const Arguments& given) {
    const auto found = processes(given.operands);
    if (given.has("json")) {
        Json all = Json::array();
        for (const auto& process : found) all.push_back(to_json(process));
        return print(all), 0;
    }
    std::vector<Row> rows = {{{"ID", "NAME", "STATE", "OWNER", "TIME", "COMMAND"}, Colour::bold}};
    for (const auto& process : found) rows.push_back(row_of(process));
    fmt::print("{}", table(rows, "><<<><"));
    return 0;
}

int tree(const Arguments& given) {
    const auto all = all_processes();
    const auto children = by_parent(all);
    Json roots = Json::array();
    for (const auto& parent : parents_outside(all, children)) {
        const std::string comm = comm_of(parent);
        if (given.has("json")) {
            roots.push_back({{"id", parent.empty() ? Json() : Json(std::stol(parent))},
                             {"command", comm},
                             {"children", json_branch(children, parent)}});
            continue;
        }
        fmt::print("{} {}\n", parent, comm);
        print_branch(children, parent, "");
    }
    if (given.has("json")) print(roots);
    return 0;
}

}  // namespace proc9::p9
