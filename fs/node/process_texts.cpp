#include <algorithm>
#include <charconv>
#include <sstream>

#include "fs/ctl/dispatch.hpp"
#include "fs/node/texts.hpp"

namespace proc9::node {
namespace {

using core::done;
using core::fail;

std::optional<std::uint64_t> hexadecimal(std::string_view text) {
    std::uint64_t value = 0;
    const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
    if (text.empty() || problem != std::errc{} || end != text.data() + text.size())
        return std::nullopt;
    return value;
}

// A line of /proc/PID/maps, as it is to be mapped.
struct MapsLine {
    core::Mapping mapping;
    std::string name;
};

core::Result<MapsLine> parse_maps_line(const std::string& text) {
    std::istringstream words(text);
    std::string range;
    std::string permissions;
    std::string offset;
    std::string device;
    std::string inode;
    words >> range >> permissions >> offset >> device >> inode >> std::ws;
    MapsLine line;
    std::getline(words, line.name);
    const auto dash = range.find('-');
    const auto start = hexadecimal(range.substr(0, dash));
    const auto end = hexadecimal(dash == std::string::npos ? "" : range.substr(dash + 1));
    const auto where = hexadecimal(offset.empty() ? "0" : offset);
    const bool has_sharing =
        permissions.size() == 4 && (permissions[3] == 'p' || permissions[3] == 's');
    if (!start || !end || *end <= *start || !where || !has_sharing)
        return fail(std::errc::invalid_argument, "not a line of a maps file");
    const auto size = *end - *start;
    line.mapping.at = TRY(core::parse_address(fmt::format("{:#x}", *start)));
    if (size % core::page_size != 0 || *where % core::page_size != 0)
        return fail(std::errc::invalid_argument,
                    "length or offset is not a multiple of the page size {}", core::page_size);
    line.mapping.length = TRY(core::checked_range(*line.mapping.at, size)).length;
    line.mapping.protection = TRY(core::parse_protection(permissions.substr(0, 3)));
    line.mapping.shared = permissions[3] == 's';
    const bool has_file = line.name.starts_with('/') && !line.name.starts_with("/memfd:");
    if (has_file) line.mapping.source = core::Mapping::File{line.name, *where};
    return line;
}

// Mapped so already: the same file if both have one.
core::Result<bool> is_mapped(core::Process& process, const MapsLine& wanted) {
    const core::Mapping& mapping = wanted.mapping;
    const auto* const file = std::get_if<core::Mapping::File>(&mapping.source);
    for (const auto& line : TRY(process.body->maps())) {
        const bool is_same = line.range == core::Range{*mapping.at, mapping.length} &&
                             line.protection == *mapping.protection &&
                             line.shared == mapping.shared;
        if (!is_same) continue;
        const bool has_file = line.name.starts_with('/') && !line.name.starts_with("/memfd:");
        return !file || !has_file || (line.name == file->path && line.offset == file->offset);
    }
    return false;
}

// Whose file it is: of the process, or of one of its threads.
core::Pid thread_of(Access access, const core::Process& process) {
    return access.item == 0 ? process.id() : static_cast<core::Pid>(access.item);
}

Text target(core::ProcessRef process, std::string_view name) {
    co_return process->body->link(name);
}

// Files whose lines are what a command takes.
ctl::Outcome command_line(const char* command, Access access, core::ProcessRef process,
                          std::string line) {
    if (line.find_first_not_of(" \t") == std::string::npos) co_return done();
    ctl::Session session{std::move(process), false};
    ctl::Outcome run =
        ctl::execute(access.registry, access.request, session, fmt::format("{} {}", command, line));
    co_await std::move(run);
    co_return done();
}

}  // namespace

Text maps_text(Access access, core::ProcessRef process) {
    co_await process->settle(access.request);
    std::string text;
    for (const auto& line : co_await process->body->maps()) text += line.text + "\n";
    co_return text;
}

// The kernel's own pages are mapped once, where the first line of theirs says.
ctl::Outcome maps_line(Access access, core::ProcessRef process, std::string text) {
    MapsLine line = co_await parse_maps_line(text);
    if (line.name == "[vsyscall]") co_return done();
    const bool is_kernels = line.name == "[vdso]" || line.name.starts_with("[vvar");
    if (access.is_image && !is_kernels) co_return done();  // which has it in mem/, with its bytes
    const auto turn = co_await process->turn(access.request);
    if (is_kernels) {
        const auto& regions = process->memory.regions();
        const bool is_there = std::any_of(regions.begin(), regions.end(), [&](const auto& item) {
            return item.second.kind == core::Region::Kind::kernel &&
                   item.second.range.start == *line.mapping.at;
        });
        if (!is_there) co_await process->memory.map_vdso(line.mapping.at);
        co_return done();
    }
    const bool is_there = co_await is_mapped(*process, line);
    if (!is_there) co_await process->memory.map(std::move(line.mapping));
    co_return done();
}

Text arguments_text(Access, core::ProcessRef process) {
    co_return process->arguments.empty() ? std::string{}
                                         : core::join_words(process->arguments) + "\n";
}

ctl::Outcome arguments_line(Access access, core::ProcessRef process, std::string line) {
    const auto turn = co_await process->turn(access.request);
    process->arguments = co_await core::split_words(line);
    co_return done();
}

Text cwd_target(Access, core::ProcessRef process) { return target(std::move(process), "cwd"); }
Text root_target(Access, core::ProcessRef process) { return target(std::move(process), "root"); }
Text exe_target(Access, core::ProcessRef process) { return target(std::move(process), "exe"); }

Text registers_text(Access access, core::ProcessRef process) {
    const core::Registers registers = *co_await process->registers_of(thread_of(access, *process));
    std::string text;
    for (const auto& name : access.registry.host().register_names()) {
        const auto found = registers.find(name);
        text += fmt::format("{} {:#x}\n", name, found == registers.end() ? 0 : found->second);
    }
    co_return text;
}

Text limits_text(Access, core::ProcessRef process) { co_return process->body->text("limits"); }

Text thread_status_text(Access access, core::ProcessRef process) {
    co_return process->body->text(fmt::format("task/{}/status", access.item));
}

// A line of /proc/PID/limits: `Max open files            1024                 4096                 files`.
ctl::Outcome limits_line(Access access, core::ProcessRef process, std::string line) {
    constexpr std::string_view heading = "Limit  ";
    if (line.starts_with(heading)) co_return done();
    const auto end = line.starts_with("Max ") ? line.find("  ") : std::string::npos;
    if (end != std::string::npos) {
        const std::string now = co_await process->body->text("limits");
        co_await process->check_embryo();
        if (("\n" + now).find("\n" + line + "\n") != std::string::npos) co_return done();
        std::istringstream numbers(line.substr(end));
        std::string soft;
        std::string hard;
        numbers >> soft >> hard;
        line = core::join_words(core::Words{line.substr(0, end), soft + ":" + hard});
    }
    auto run = co_await command_line("limit", access, std::move(process), std::move(line)).result();
    co_return run;
}
ctl::Outcome registers_line(Access access, core::ProcessRef process, std::string line) {
    const core::Words words = co_await core::split_words(line);
    if (words.empty()) co_return done();
    const auto turn = co_await process->turn(access.request);
    core::Registers* const registers = co_await process->registers_of(thread_of(access, *process));
    co_return ctl::set_register(access.registry.host(), *registers, words);
}
ctl::Outcome note_line(Access access, core::ProcessRef process, std::string line) {
    return command_line("note", access, std::move(process), std::move(line));
}

Text note_text(Access, core::ProcessRef) { co_return std::string{}; }

Text error_text(Access, core::ProcessRef process) { co_return process->error; }

}  // namespace proc9::node
