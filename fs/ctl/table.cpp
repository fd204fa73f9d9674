// All commands on one screen.
#include <algorithm>

#include "fs/ctl/command.hpp"
#include "fs/ctl/verbs.hpp"

namespace proc9::ctl {
namespace {

constexpr Parameter word(std::string_view name) { return {Parameter::Kind::word, name, {}}; }
constexpr Parameter optional(std::string_view name) {
    return {Parameter::Kind::optional, name, {}};
}
constexpr Parameter literal(std::string_view name) { return {Parameter::Kind::literal, name, {}}; }
constexpr Parameter flag(std::string_view name) { return {Parameter::Kind::flag, name, {}}; }
constexpr Parameter rest(std::string_view name) { return {Parameter::Kind::rest, name, {}}; }
constexpr Parameter keyword(std::string_view name, std::string_view value) {
    return {Parameter::Kind::keyword, name, value};
}
constexpr Parameter assign(std::string_view name, std::string_view value) {
    return {Parameter::Kind::assign, name, value};
}

using enum When;

// clang-format off
constexpr auto table = std::to_array<Command>({
    {"args",     {rest("WORD")},                                    building, set_arguments,     "set the argument vector",                          "args sh -c 'echo hi'"},
    {"chdir",    {word("PATH")},                                    building, change_directory,  "change the working directory",                     "chdir /tmp"},
    {"chroot",   {word("PATH")},                                    building, change_root,       "change the root directory, and go there",          "chroot /srv/root"},
    {"clearenv", {},                                                building, clear_environment, "remove every variable",                            "clearenv"},
    {"efork",    {optional("NAME")},                                root,     efork,             "make a blank process; this file is then its ctl",  "efork hello"},
    {"entry",    {word("ADDR"), assign("sp", "ADDR"), assign("arg0", "V"), assign("arg1", "V"), assign("arg2", "V"), assign("arg3", "V"), assign("arg4", "V"), assign("arg5", "V")},
                                                                    building, enter,             "start at an address with the memory as built",     "entry 0x600000 sp=0x700000"},
    {"env",      {word("NAME=VALUE")},                              building, set_variable,      "set an environment variable",                      "env HOME=/root"},
    {"exec",     {optional("PATH"), rest("ARG")},                   building, exec,              "start a program (no PATH: args as set)",           "exec /bin/echo hello"},
    {"fd",       {word("N"), literal("close")},                     building, close_descriptor,  "close descriptor N",                               "fd 1 close"},
    {"fd",       {word("N"), literal("cloexec"), word("SWITCH")},   building, close_on_exec,     "close descriptor N at exec: on or off",            "fd 1 cloexec on"},
    {"fd",       {word("N"), literal("dup"), word("M")},            building, duplicate,         "make N a duplicate of descriptor M",               "fd 2 dup 1"},
    {"fd",       {word("N"), literal("mem"), word("ADDR")},         building, memory_descriptor, "make N a descriptor of the region at ADDR, shared", "fd 3 mem 0x600000"},
    {"fd",       {word("N"), literal("open"), word("PATH"), word("MODE"), optional("PERM")},
                                                                    building, open_descriptor,   "open a file as N; MODE as in fopen(3), with x n",  "fd 0 open /dev/null r"},
    {"fd",       {word("N"), word("FROM")},                         building, take_descriptor,   "hand over a descriptor: self:M or PID:M",          "fd 1 self:1"},
    {"inherit",  {word("WHAT")},                                    building, inherit,           "take over the writer's fd, env, cwd or all",       "inherit env"},
    {"kill",     {optional("SIG")},                                 always,   kill,              "send a signal (default KILL); an embryo goes",     "kill TERM"},
    {"map",      {literal("vdso"), optional("ADDR")},               building, map_vdso,          "map the kernel's vdso and its data",               "map vdso"},
    {"map",      {word("ADDR"), word("LEN"), word("PROT"), flag("shared"), keyword("file", "PATH"), optional("OFFSET")},
                                                                    building, map,               "map memory; ADDR may be any",                      "map 0x600000 64K rw-"},
    {"move",     {word("ADDR"), word("NEW")},                       building, move,              "move the region at ADDR",                          "move 0x600000 0x800000"},
    {"name",     {word("NAME")},                                    always,   rename,            "give the process a name",                          "name server"},
    {"note",     {word("SIG")},                                     always,   note,              "send a signal",                                    "note HUP"},
    {"persist",  {},                                                always,   persist,           "outlive the open clone file",                      "persist"},
    {"pipe",     {rest("A FD B FD")},                               root,     pipe,              "connect A's descriptor to B's with a pipe",        "pipe ls 1 sort 0"},
    {"protect",  {word("ADDR"), word("LEN"), word("PROT")},         building, protect,           "change the protection of memory",                  "protect 0x600000 4K r-x"},
    {"reg",      {word("NAME"), word("VALUE")},                     building, set_register,      "set an initial register for entry",                "reg rdi 42"},
    {"start",    {},                                                always,   start,             "continue a stopped process",                       "start"},
    {"stop",     {},                                                always,   stop,              "stop the process",                                 "stop"},
    {"umask",    {word("OCTAL")},                                   building, change_umask,      "set the file mode creation mask",                  "umask 022"},
    {"unmap",    {word("ADDR"), optional("LEN")},                   building, unmap,             "unmap memory (no LEN: the region at ADDR)",        "unmap 0x600000"},
    {"unset",    {word("NAME")},                                    building, unset_variable,    "remove an environment variable",                   "unset HOME"},
});
// clang-format on

consteval bool is_well_formed() {
    for (std::size_t i = 0; i < table.size(); ++i) {
        if (i > 0 && table[i].name < table[i - 1].name) return false;
        if (table[i].summary.empty() || !table[i].example.starts_with(table[i].name)) return false;
    }
    return true;
}
static_assert(is_well_formed(), "sorted, documented, and the example begins with the name");

std::string describe(const Parameter& parameter) {
    switch (parameter.kind) {
        case Parameter::Kind::none: return "";
        case Parameter::Kind::word:
        case Parameter::Kind::literal: return std::string(parameter.name);
        case Parameter::Kind::optional:
        case Parameter::Kind::flag: return fmt::format("[{}]", parameter.name);
        case Parameter::Kind::keyword:
            return fmt::format("[{} {}]", parameter.name, parameter.value);
        case Parameter::Kind::assign:
            return fmt::format("[{}={}]", parameter.name, parameter.value);
        case Parameter::Kind::rest: return fmt::format("[{}...]", parameter.name);
    }
    return "";
}

}  // namespace

std::span<const Command> commands() { return table; }

std::string usage(const Command& command) {
    std::string text(command.name);
    for (const auto& parameter : command.parameters) {
        if (parameter.kind != Parameter::Kind::none) text += ' ' + describe(parameter);
    }
    return text;
}

}  // namespace proc9::ctl
