#include "fs/node/file_table.hpp"

#include <algorithm>
#include <array>

#include "fs/node/texts.hpp"

namespace proc9::node {
namespace {

// clang-format off
constexpr auto root_table = std::to_array<FileRow>({
    {Kind::root_ctl,    "ctl",         Type::file,      0666, nullptr,          nullptr,    "commands; reads as the id of the process made through this open file"},
    {Kind::clone,       "clone",       Type::file,      0666, nullptr,          nullptr,    "opening it makes a process: the open file is its ctl, reads as its id, and takes it along when closed"},
    {Kind::help,        "help",        Type::file,      0444, help_text,        nullptr,    "every command and every file, a line each"},
    {Kind::self,        "self",        Type::link,      0777, self_target,      nullptr,    "the directory of the calling process, if it was made here"},
    {Kind::stats,       "stats.json",  Type::file,      0444, stats_text,       nullptr,    "counters of the daemon"},
    {Kind::root_error,  "error",       Type::file,      0444, root_error_text,  nullptr,    "why your last command on ctl was refused"},
});

constexpr auto process_table = std::to_array<FileRow>({
    {Kind::ctl,         "ctl",         Type::file,      0600, ctl_text,         nullptr,    "commands; reads as id and state"},
    {Kind::status,      "status",      Type::file,      0400, status_text,      nullptr,    "Key:<tab>value lines"},
    {Kind::status_json, "status.json", Type::file,      0400, status_json_text, nullptr,    "the same and more as JSON"},
    {Kind::recipe,      "process.json", Type::file,     0600, recipe_text,      nullptr,    "all that it is made of, in the words of the OCI runtime specification; writing one makes it so, or changes nothing", 64},
    {Kind::maps,        "maps",        Type::file,      0600, maps_text,        maps_line,  "the mappings; a line written in this format maps it"},
    {Kind::memory,      "mem",         Type::directory, 0700, nullptr,          nullptr,    "a file per region, named by its address"},
    {Kind::descriptors, "fd",          Type::directory, 0700, nullptr,          nullptr,    "a link per descriptor"},
    {Kind::environment, "env",         Type::directory, 0700, nullptr,          nullptr,    "a file per environment variable"},
    {Kind::arguments,   "args",        Type::file,      0600, arguments_text,   arguments_line, "the argument vector as quoted words"},
    {Kind::cwd,         "cwd",         Type::link,      0777, cwd_target,       nullptr,    "the working directory; ln -sfn changes it"},
    {Kind::root_link,   "root",        Type::link,      0777, root_target,      nullptr,    "the root directory; ln -sfn changes it"},
    {Kind::exe,         "exe",         Type::link,      0777, exe_target,       nullptr,    "the program, once there is one"},
    {Kind::namespaces,  "ns",          Type::directory, 0700, nullptr,          nullptr,    "a link per namespace; ln -sfn joins another one"},
    {Kind::limits,      "limits",      Type::file,      0600, limits_text,      limits_line, "resource limits; write lines NAME SOFT[:HARD]"},
    {Kind::threads,     "task",        Type::directory, 0700, nullptr,          nullptr,    "a directory per thread"},
    {Kind::registers,   "regs",        Type::file,      0600, registers_text,   registers_line, "initial registers for entry: name 0xvalue"},
    {Kind::note,        "note",        Type::file,      0600, note_text,        note_line,  "a signal's name or number sends it"},
    {Kind::wait,        "wait",        Type::file,      0400, nullptr,          nullptr,    "waits for the exit: PID UTIME STIME RTIME 'STATUS'"},
    {Kind::error,       "error",       Type::file,      0400, error_text,       nullptr,    "why the last command was refused"},
});

constexpr auto thread_table = std::to_array<FileRow>({
    {Kind::thread_registers, "regs",   Type::file,      0600, registers_text,   registers_line, "its initial registers"},
    {Kind::thread_status,    "status", Type::file,      0400, thread_status_text, nullptr,  "what the kernel's own task/TID/status says"},
});
// clang-format on

consteval bool documented(std::span<const FileRow> rows) {
    return std::all_of(rows.begin(), rows.end(),
                       [](const auto& row) { return !row.summary.empty(); });
}
static_assert(documented(root_table) && documented(process_table) && documented(thread_table));

}  // namespace

std::span<const FileRow> root_files() { return root_table; }
std::span<const FileRow> process_files() { return process_table; }
std::span<const FileRow> thread_files() { return thread_table; }

bool is_state(const FileRow& row) {
    return row.kind == Kind::recipe || (row.line && row.kind != Kind::note);
}

core::Result<OpenFileRef> open_permitted(Access access, const FileRow& row,
                                         core::ProcessRef process, OpenFlags flags) {
    const bool can_read = (row.mode & 0444U) != 0;
    const bool can_write = (row.mode & 0222U) != 0;
    if ((flags.read && !can_read) || (flags.write && !can_write))
        return core::fail(std::errc::permission_denied, "{} cannot be {}", row.name,
                          flags.write ? "written" : "read");
    return open_row(access, row, std::move(process), flags);
}

const FileRow* file_row(Kind kind) {
    for (const auto rows : {root_files(), process_files(), thread_files()}) {
        for (const auto& row : rows) {
            if (row.kind == kind) return &row;
        }
    }
    return nullptr;
}

Attributes attributes_of(const FileRow& row, const core::Process* process, Access access) {
    Attributes attributes;
    attributes.id = {process ? process->serial : 0, row.kind, 0};
    attributes.type = row.type;
    attributes.mode = row.mode;
    attributes.lasting = row.type == Type::directory;
    if (process) attributes.owner = process->owner;
    if (row.kind == Kind::thread_registers || row.kind == Kind::thread_status)
        attributes.id.item = access.item;
    if (row.kind == Kind::ctl || row.kind == Kind::root_ctl || row.kind == Kind::clone) {
        // The kernel lets one writer at a time into an inode, and a command may wait for long: each
        // caller gets an inode of its own.
        attributes.id.item = static_cast<std::uint32_t>(access.request.thread);
    }
    return attributes;
}

core::Result<Attributes> find_row(std::span<const FileRow> rows, const std::string& name,
                                  const core::Process* process, Access access) {
    for (const auto& row : rows) {
        if (row.name == name) return attributes_of(row, process, access);
    }
    return core::fail(std::errc::no_such_file_or_directory, "no file {}", core::requote(name));
}

}  // namespace proc9::node
