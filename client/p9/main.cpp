// p9: the command line of proc9. It knows the files of the mount and libproc9, nothing else.
#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "client/p9/command.hpp"
#include "client/p9/host.hpp"
#include "client/p9/output.hpp"

namespace {

using namespace proc9::p9;

constexpr int could_not = 1;
constexpr int misused = 2;
constexpr int could_not_run = 125;  // as env(1) and timeout(1): other numbers are the program's

// What is closed stays closed for a program, and no file of ours gets its number.
void reserve_standard_descriptors() {
    for (const int standard : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
        if (::fcntl(standard, F_GETFD) < 0)
            (void)::open("/dev/null", (standard == STDIN_FILENO ? O_WRONLY : O_RDONLY) | O_CLOEXEC);
    }
}

int report(const Command& command, const std::exception& problem, int status) {
    complain(problem.what());
    return command.builds ? could_not_run : status;
}

int run_command(const Command& command, const std::vector<std::string>& words) {
    try {
        const Arguments given = parse(command, words);
        return given.has("help") ? help({{}, {command.name}}) : command.run(given);
    } catch (const Misuse& misuse) {
        return report(command, misuse, misused);
    } catch (const std::exception& problem) {
        return report(command, problem, could_not);
    }
}

int finish(int status) {
    if (std::fflush(stdout) == 0) return status;
    std::perror("p9: standard output");
    return could_not;
}

int run_on_host(const std::string& host, const Command& command,
                const std::vector<std::string>& words) {
    try {
        return on_host(host, [&] { return finish(run_command(command, words)); });
    } catch (const std::exception& problem) {
        return report(command, problem, could_not);
    }
}

int choose_command(const Arguments& given) {
    if (const auto mount = given.value("m")) ::setenv("PROC9", mount->c_str(), 1);
    if (given.has("version")) return fmt::print("p9 {}\n", PROC9_VERSION), 0;
    if (given.has("help")) return help({});
    if (given.operands.empty()) return help({}), misused;
    const Command* const command = find_command(given.operands[0]);
    if (!command)
        throw Misuse(fmt::format("there is no command {}: p9 help lists them", given.operands[0]));
    const std::vector<std::string> words(given.operands.begin() + 1, given.operands.end());
    const auto host = given.value("host");
    return host ? run_on_host(*host, *command, words) : run_command(*command, words);
}

int run_program(const std::vector<std::string>& words) {
    try {
        return choose_command(parse(program(), words));
    } catch (const Misuse& misuse) {
        return report(program(), misuse, misused);
    }
}

}  // namespace

int main(int argc, char** argv) {
    reserve_standard_descriptors();
    return finish(run_program({argv + 1, argv + argc}));
}
