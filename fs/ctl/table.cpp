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
    {"adopt",    {word("FD"), optional("NAME")},                    root,     adopt,             "make a child of the writer a process that can be built; FD is the writer's end of its link", "adopt 5 copy"},
    {"affinity", {word("LIST")},                                    building, set,               "the processors it may run on",                      "affinity 0-1,3"},
    {"args",     {rest("WORD")},                                    building, set_arguments,     "set the argument vector",                          "args sh -c 'echo hi'"},
    {"caps",     {word("SET"), rest("+CAP|-CAP")},                  building, set,               "change capability sets: effective permitted inheritable bounding ambient all", "caps bounding -all +net_bind_service"},
    {"cgroup",   {word("PATH")},                                    building, set,               "enter a control group",                             "cgroup /sys/fs/cgroup/job"},
    {"chdir",    {word("PATH")},                                    building, set,               "change the working directory",                      "chdir /tmp"},
    {"chroot",   {word("PATH")},                                    building, set,               "change the root directory, and go there",           "chroot /srv/root"},
    {"clearenv", {},                                                building, clear_environment, "remove every variable",                            "clearenv"},
    {"comm",     {word("NAME")},                                    building, set,               "the name that ps shows (exec sets its own)",        "comm worker"},
    {"copy",     {word("FROM"), optional("ADDR")},                  building, copy,              "copy mappings of a process: PID, PID:ADDR or PID:ADDR-END; to ADDR", "copy 4242:0x600000 0x700000"},
    {"coredump", {word("MASK")},                                    building, set,               "which memory a core dump holds, as core(5) says",   "coredump 0x33"},
    {"domainname",{word("NAME")},                                   building, set,               "the NIS domain name of its uts namespace",          "domainname example"},
    {"efork",    {optional("NAME"), assign("ns", "KIND,..."), assign("share", "ID:CTX,..."), assign("pid", "N"), assign("from", "ID")},root,     efork,             "make a blank process; this file is then its ctl",   "efork hello"},
    {"entry",    {optional("ADDR"), assign("sp", "ADDR"), assign("arg0", "V"), assign("arg1", "V"), assign("arg2", "V"), assign("arg3", "V"), assign("arg4", "V"), assign("arg5", "V")},
                                                                    building, enter,             "start at an address (none: as the registers say) with the memory as built", "entry 0x600000 sp=0x700000"},
    {"env",      {word("NAME=VALUE")},                              building, set_variable,      "set an environment variable",                      "env HOME=/root"},
    {"exe",      {word("PATH")},                                    building, set,               "what /proc/PID/exe shows of a process started by entry", "exe /bin/true"},
    {"exec",     {optional("PATH"), rest("ARG")},                   building, exec,              "start a program (no PATH: args as set)",           "exec /bin/echo hello"},
    {"fd",       {word("N"), literal("close")},                     building, close_descriptor,  "close descriptor N",                               "fd 1 close"},
    {"fd",       {word("N"), literal("cloexec"), word("SWITCH")},   building, close_on_exec,     "close descriptor N at exec: on or off",            "fd 1 cloexec on"},
    {"fd",       {word("N"), literal("dup"), word("M")},            building, duplicate,         "make N a duplicate of descriptor M",               "fd 2 dup 1"},
    {"fd",       {word("N"), literal("mem"), word("ADDR")},         building, memory_descriptor, "make N a descriptor of the region at ADDR, shared", "fd 3 mem 0x600000"},
    {"fd",       {word("N"), literal("open"), word("PATH"), word("MODE"), optional("PERM")},
                                                                    building, open_descriptor,   "open a file as N; MODE as in fopen(3), with x n k", "fd 0 open /dev/null r"},
    {"fd",       {word("N"), literal("seek"), word("OFFSET")},      building, seek,              "where N reads and writes next",                    "fd 1 seek 4096"},
    {"fd",       {word("N"), word("FROM")},                         building, take_descriptor,   "hand over a descriptor: self:M, PID:M or NAME:M",  "fd 0 self:0"},
    {"fork",     {optional("NAME")},                                building, fork,              "make an equal process: memory copy-on-write, descriptors, settings", "fork second"},
    {"gid",      {word("GID"), optional("EGID"), optional("SGID")}, building, set,               "real, effective and saved group",                   "gid 1000"},
    {"groups",   {rest("GID")},                                     building, set,               "the supplementary groups; none: no groups",         "groups 4 24"},
    {"hang",     {},                                                building, set,               "be stopped before the first instruction",           "hang"},
    {"hostname", {word("NAME")},                                    building, set,               "the host name of its uts namespace",                "hostname box"},
    {"idmap",    {word("KIND"), rest("IN OUT LEN")},                building, set,               "map ids (KIND uid or gid) of its new user namespace", "idmap uid 0 1000 1"},
    {"inherit",  {word("WHAT")},                                    building, inherit,           "take over the writer's fd, env, cwd, all of these, or settings",  "inherit env"},
    {"ioprio",   {word("CLASS"), optional("LEVEL")},                building, set,               "I/O priority: none, realtime, best-effort, idle; 0 is the highest level", "ioprio best-effort 7"},
    {"keyring",  {word("NAME")},                                    building, set,               "join a session keyring, or make it",                "keyring job"},
    {"kill",     {optional("SIG")},                                 always,   kill,              "send a signal (default KILL); an embryo goes",     "kill TERM"},
    {"label",    {word("LABEL")},                                   building, set,               "the security module's label at exec",               "label unconfined"},
    {"landlock", {rest("RIGHTS WHERE")},                            building, set,               "allow nothing but this of files and ports",         "landlock ro /usr rw /tmp connect 443"},
    {"limit",    {word("NAME"), word("SOFT[:HARD]")},               building, set,               "a resource limit: a number, with K M G, or unlimited", "limit NOFILE 1024:4096"},
    {"map",      {literal("vdso"), optional("ADDR")},               building, map_vdso,          "map the kernel's vdso and its data",               "map vdso"},
    {"map",      {word("ADDR"), word("LEN"), word("PROT"), flag("shared"), keyword("file", "PATH"), optional("OFFSET")},
                                                                    building, map,               "map memory; ADDR may be any",                      "map 0x600000 64K rw-"},
    {"mempolicy",{word("MODE"), optional("NODES")},                 building, set,               "where its memory is allocated",                     "mempolicy bind 0"},
    {"mount",    {word("SRC"), word("DST"), optional("TYPE"), optional("OPTS")},building, set,               "mount; TYPE may be bind or rbind",                  "mount proc /proc proc nosuid,nodev"},
    {"move",     {word("ADDR"), word("NEW")},                       building, move,              "move the region at ADDR",                          "move 0x600000 0x800000"},
    {"name",     {word("NAME")},                                    always,   rename,            "give the process a name",                          "name server"},
    {"nice",     {word("N")},                                       building, set,               "the nice value, -20 to 19",                         "nice 10"},
    {"nonewprivs",{},                                               building, set,               "no exec grants privileges any more",                "nonewprivs"},
    {"note",     {word("SIG")},                                     always,   note,              "send a signal",                                    "note HUP"},
    {"ns",       {literal("join"), word("KIND"), word("PATH")},     building, set,               "join a namespace",                                  "ns join net /run/netns/lab"},
    {"ns",       {literal("new"), word("KINDS")},                   building, set,               "new namespaces (pid: efork ns=pid)",                "ns new user,mnt,net"},
    {"oom",      {word("N")},                                       building, set,               "the out-of-memory score adjustment, -1000 to 1000", "oom 500"},
    {"pdeathsig",{literal("kill-on-close")},                        building, die_on_close,      "die when this open ctl file is closed",             "pdeathsig kill-on-close"},
    {"pdeathsig",{word("SIG")},                                     building, set,               "the signal it gets when its parent dies; 0: none",  "pdeathsig TERM"},
    {"persist",  {},                                                always,   persist,           "outlive the open clone file",                      "persist"},
    {"personality",{rest("FLAG")},                                  building, set,               "the execution domain",                              "personality addr-no-randomize"},
    {"pgrp",     {word("N")},                                       building, set,               "join process group N, or make a new one",           "pgrp new"},
    {"pipe",     {rest("A FD B FD")},                               root,     pipe,              "connect A's descriptor to B's with a pipe",        "pipe ls 1 sort 0"},
    {"pivot",    {word("PATH")},                                    building, set,               "make PATH the root of its mount namespace",         "pivot /srv/root"},
    {"prctl",    {word("NAME"), word("VALUE")},                     building, set,               "dumpable thp mdwe ksm timerslack tsc subreaper",    "prctl thp off"},
    {"protect",  {word("ADDR"), word("LEN"), word("PROT")},         building, protect,           "change the protection of memory",                  "protect 0x600000 4K r-x"},
    {"reg",      {word("NAME"), word("VALUE")},                     building, set_register,      "set an initial register for entry",                "reg rdi 42"},
    {"resume",   {},                                                building, resume,            "an adopted process goes on where it was",          "resume"},
    {"sched",    {word("POLICY"), optional("PRIO"), flag("reset-on-fork"), assign("runtime", "NS"), assign("deadline", "NS"), assign("period", "NS")},building, set,               "scheduling policy: other batch idle fifo rr deadline", "sched fifo 10"},
    {"seccomp",  {literal("allow"), rest("NAME")},                  building, set,               "from the start on, allow these system calls only",  "seccomp allow read write exit_group execveat"},
    {"seccomp",  {literal("deny"), rest("NAME")},                   building, set,               "from the start on, answer these system calls with EPERM", "seccomp deny ptrace mount"},
    {"seccomp",  {word("FILE")},                                    building, set,               "from the start on, filter with this compiled BPF program", "seccomp filter.bpf"},
    {"securebits",{rest("FLAG")},                                   building, set,               "how capabilities follow ids; none: all off",        "securebits noroot noroot-locked"},
    {"session",  {},                                                building, set,               "lead a new session",                                "session"},
    {"sigignore",{rest("SIG")},                                     building, set,               "ignore these signals, and no others",               "sigignore HUP PIPE"},
    {"sigmask",  {rest("SIG")},                                     building, set,               "block these signals, and no others",                "sigmask USR1 RTMIN+2"},
    {"start",    {},                                                always,   start,             "continue a stopped process",                       "start"},
    {"stop",     {},                                                always,   stop,              "stop the process",                                 "stop"},
    {"thread",   {word("ADDR"), assign("sp", "ADDR"), assign("tls", "ADDR"), assign("arg0", "V"), assign("arg1", "V"), assign("arg2", "V"), assign("arg3", "V"), assign("arg4", "V"), assign("arg5", "V")},
                                                                    building, thread,            "one more thread, started with the first by entry",  "thread 0x600000 sp=0x700000"},
    {"tty",      {word("PATH"), flag("foreground")},                building, set,               "take a controlling terminal (session first)",       "tty /dev/pts/3 foreground"},
    {"uid",      {word("UID"), optional("EUID"), optional("SUID")}, building, set,               "real, effective and saved user",                    "uid 1000"},
    {"umask",    {word("OCTAL")},                                   building, set,               "set the file mode creation mask",                   "umask 022"},
    {"umount",   {word("PATH")},                                    building, set,               "unmount",                                           "umount /mnt"},
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

bool is_setting(const Command& command) { return command.run == set; }

std::string usage(const Command& command) {
    std::string text(command.name);
    for (const auto& parameter : command.parameters) {
        if (parameter.kind != Parameter::Kind::none) text += ' ' + describe(parameter);
    }
    return text;
}

}  // namespace proc9::ctl
