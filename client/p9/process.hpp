// A process of the mount, as status.json and the kernel tell of it.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace proc9::p9 {

struct Process {
    std::string id;
    std::string name;
    std::string state;  // ? if it is somebody else's
    std::string owner;
    std::string parent;
    std::string command;
    std::string status;  // how it ended
    std::uint64_t cpu_ms = 0;
    std::uint64_t resident = 0;  // bytes
};

// All, by id; or those named. A process that goes meanwhile is left out, one that was named is a Problem.
std::vector<Process> all_processes();
std::vector<Process> processes(const std::vector<std::string>& names);

nlohmann::ordered_json to_json(const Process& process);

}  // namespace proc9::p9
