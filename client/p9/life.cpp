// p9 efork, fork, apply, tell, kill and wait.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <fstream>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <sstream>

#include "client/p9/building.hpp"
#include "client/p9/command.hpp"
#include "client/p9/ending.hpp"
#include "client/p9/follow.hpp"
#include "client/p9/mount.hpp"
#include "client/p9/output.hpp"

namespace proc9::p9 {
namespace {

std::string read_whole(std::istream& stream) {
    return {std::istreambuf_iterator<char>(stream), {}};
}

std::string read_input(const std::string& name) {
    if (name == "-") return read_whole(std::cin);
    std::ifstream file(name);
    if (!file) throw Problem(fmt::format("cannot read {}", name));
    return read_whole(file);
}

// `PID UTIME STIME RTIME 'STATUS'`
nlohmann::ordered_json json_of_wait(const std::string& line) {
    std::istringstream words(line);
    std::uint64_t pid = 0;
    std::uint64_t user = 0;
    std::uint64_t system = 0;
    std::uint64_t real = 0;
    words >> pid >> user >> system >> real;
    const Ending ending = parse_wait(line);
    return {{"id", pid},       {"user_ms", user},     {"system_ms", system},
            {"real_ms", real}, {"exit", ending.code}, {"signal", ending.signal}};
}

}  // namespace

int efork(const Arguments& given) {
    fmt::print("{}\n", Ctl::efork(fmt::format("{}", fmt::join(given.operands, " "))).directory());
    return 0;
}

int fork(const Arguments& given) {
    const Ctl ctl(given.operands[0]);
    ctl.tell("fork " + (given.operands.size() > 1 ? quoted(given.operands[1]) : "") + '\n');
    fmt::print("{}\n", ctl.answer().back());
    return 0;
}

int apply(const Arguments& given) {
    const std::string recipe = read_input(given.operands[0]);
    if (given.operands.size() > 1)
        return write_file(given.operands[1] + "/process.json", recipe), 0;
    const Ctl ctl = Ctl::efork("");
    try {
        write_file(ctl.directory() + "/process.json", recipe);
    } catch (const Problem&) {
        ctl.tell("kill\n");
        throw;
    }
    fmt::print("{}\n", ctl.directory());
    return 0;
}

// What a command chose, such as the address of an `any` mapping, ctl reads back behind id and state.
int tell(const Arguments& given) {
    const Ctl ctl(given.operands[0]);
    const auto before = ctl.answer();
    std::string lines;
    for (std::size_t i = 1; i < given.operands.size(); ++i) lines += given.operands[i] + '\n';
    ctl.tell(given.operands.size() > 1 ? lines : read_whole(std::cin));
    const auto answer = ctl.answer();
    if (answer.size() > 2 && answer != before) fmt::print("{}\n", answer[2]);
    return 0;
}

int kill(const Arguments& given) {
    const std::string line = "kill " + given.value("signal").value_or("") + '\n';
    for (const auto& process : given.operands) Ctl(process).tell(line);
    return 0;
}

int wait(const Arguments& given) {
    std::string line;
    auto all = nlohmann::ordered_json::array();
    for (const auto& process : given.operands) {
        await(process);
        line = read_file(process + "/wait");
        all.push_back(json_of_wait(line));
    }
    if (given.has("json")) return print(all), 0;
    return end_as(parse_wait(line));
}

}  // namespace proc9::p9
