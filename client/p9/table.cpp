// All commands on one screen.
#include <algorithm>
#include <limits>

#include "client/p9/building.hpp"
#include "client/p9/command.hpp"

namespace proc9::p9 {
namespace {

constexpr std::size_t any = std::numeric_limits<std::size_t>::max();

const Option json{"json", 'j', "", "print JSON"};
const Option help_option{"help", 'h', "", "what it does and takes"};

// clang-format off
const std::vector<Option> run_options = {
    {"stdin",      '\0', "FILE",    "its standard input"},
    {"stdout",     '\0', "FILE",    "its standard output"},
    {"stderr",     '\0', "FILE",    "its standard error"},
    {"append",     '\0', "",        "write behind what is in these files"},
    {"blank",      '\0', "",        "inherit nothing but descriptors 0, 1 and 2"},
    {"background", 'b',  "",        "print its id and do not wait; its end is kept for p9 wait"},
    {"timeout",    '\0', "SECONDS", "then it gets TERM, two seconds later KILL; the exit status is 124"},
    {"efork",      '\0', "ARGS",    "words for efork, as ns=pid,net; it is then a child of the mount"},
};

const std::vector<Command> table = {
    {"apply",      "FILE|- [N]",                       "furnish N, or a new process, as a process.json says",    1, 2,   Operand::file,      false, {}, apply},
    {"completion", "bash|zsh|fish",                    "print the completion for a shell",                       1, any, Operand::shell,     false, {}, completion},
    {"efork",      "[NAME] [ARGS...]",                 "make a blank process and print its id",                  0, any, Operand::nothing,   false, {}, efork},
    {"fork",       "N [NAME]",                         "make a process equal to N and print its id",             1, 2,   Operand::process,   false, {}, fork},
    {"help",       "[COMMAND]",                        "say what p9, or a command of it, does and takes",        0, 1,   Operand::command,   false, {}, help},
    {"kill",       "[-SIG] N...",                      "send a signal, KILL if none is named",                   1, any, Operand::processes, false, {{"signal", 's', "SIG", "its name or number"}}, kill},
    {"load",       "[--hold] [--plan] N PROGRAM [ARG...]", "start a program in N without exec",                   2, any, Operand::process,   false, {{"hold", '\0', "", "do not start it: entry in its ctl does"}, {"plan", '\0', "", "print what would be told to its ctl, and change nothing"}}, load},
    {"metrics",    "",                                 "the counters of the mount in the text format of Prometheus", 0, 0, Operand::nothing, false, {}, metrics},
    {"ps",         "[N...]",                           "list the processes of the mount",                        0, any, Operand::processes, false, {json}, ps},
    {"run",        "[OPTIONS] [--] PROGRAM [ARG...]",  "run a program as the shell does, built as the options say", 1, any, Operand::program, true, run_options, run},
    {"show",       "N",                                "draw the address space to scale",                        1, 1,   Operand::process,   false, {json, {"svg", '\0', "", "print it as an SVG image"}}, show},
    {"tell",       "N [LINE...]",                      "commands for the ctl of N; without a LINE those of standard input", 1, any, Operand::process, false, {}, tell},
    {"top",        "",                                 "the processes and what they use, refreshed; q quits",    0, 0,   Operand::nothing,   false, {json, {"once", '1', "", "print it once"}, {"delay", 'd', "SECONDS", "between two looks; 1"}}, top},
    {"tree",       "",                                 "show who is whose child",                                0, 0,   Operand::nothing,   false, {json}, tree},
    {"wait",       "N...",                             "wait for their exit and exit like the last",             1, any, Operand::processes, false, {json}, wait},
};

const Command p9{"", "[-m MOUNT | -H HOST] COMMAND [ARGUMENT...]",   "processes built with files", 0, any, Operand::command, false, {{"", 'm', "MOUNT", "the mount; else $PROC9, else one's own, else /proc9"}, {"host", 'H', "HOST[:PATH]", "the mount at PATH (else /proc9) of another host, by sshfs"}, {"version", 'V', "", "print the version"}}, help};
// clang-format on

}  // namespace

const std::vector<Command>& commands() { return table; }
const Command& program() { return p9; }

const Command* find_command(const std::string& name) {
    const auto found = std::find_if(table.begin(), table.end(),
                                    [&](const Command& command) { return command.name == name; });
    return found == table.end() ? nullptr : &*found;
}

std::vector<Option> options_of(const Command& command) {
    std::vector<Option> options = command.options;
    options.push_back(help_option);
    if (command.builds) {
        for (const auto& option : building_options()) {
            if (!std::any_of(options.begin(), options.end(),
                             [&](const Option& own) { return own.name == option.name; }))
                options.push_back(option);
        }
    }
    return options;
}

}  // namespace proc9::p9
