// The files that are always there, one row each.
#pragma once

#include <span>

#include "fs/ctl/command.hpp"
#include "fs/node/access.hpp"
#include "fs/node/node.hpp"

namespace proc9::node {

using Text = core::Task<core::Result<std::string>>;

struct FileRow {
    Kind kind;
    std::string_view name;
    Type type;
    std::uint32_t mode;
    // What a read gives, or where a link points; none: it cannot be read.
    Text (*text)(Access access, core::ProcessRef process);
    // What a written line does; none: it cannot be written.
    ctl::Outcome (*line)(Access access, core::ProcessRef process, std::string line);
    std::string_view summary;
    std::uint32_t pages = 1;  // the size that is reported while there is no text to measure
};

std::span<const FileRow> root_files();
std::span<const FileRow> process_files();
std::span<const FileRow> thread_files();
const FileRow* file_row(Kind kind);
// All commands and files as one JSON object, from which the manual is made.
std::string tables_json();

Attributes attributes_of(const FileRow& row, const core::Process* process, Access access);
// The row with that name as an entry; ENOENT.
core::Result<Attributes> find_row(std::span<const FileRow> rows, const std::string& name,
                                  const core::Process* process, Access access);

// A file that an image restores; the others only tell.
[[nodiscard]] bool is_state(const FileRow& row);

// The row's file, if its mode permits it (which root is asked for too).
core::Result<OpenFileRef> open_permitted(Access access, const FileRow& row,
                                         core::ProcessRef process, OpenFlags flags);
OpenFileRef open_row(Access access, const FileRow& row, core::ProcessRef process, OpenFlags flags);

}  // namespace proc9::node
