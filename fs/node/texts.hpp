// What the files of the table say and do.
#pragma once

#include "fs/node/file_table.hpp"

namespace proc9::node {

// root_texts.cpp
Text help_text(Access access, core::ProcessRef process);
Text self_target(Access access, core::ProcessRef process);
Text stats_text(Access access, core::ProcessRef process);
Text root_error_text(Access access, core::ProcessRef process);

// status.cpp
Text status_text(Access access, core::ProcessRef process);
Text status_json_text(Access access, core::ProcessRef process);
std::string state_text(const core::Process& process);  // embryo, running, stopped, exited

// process_texts.cpp
Text maps_text(Access access, core::ProcessRef process);
Text arguments_text(Access access, core::ProcessRef process);
Text cwd_target(Access access, core::ProcessRef process);
Text root_target(Access access, core::ProcessRef process);
Text exe_target(Access access, core::ProcessRef process);
Text registers_text(Access access, core::ProcessRef process);
Text limits_text(Access access, core::ProcessRef process);
Text thread_status_text(Access access, core::ProcessRef process);
Text error_text(Access access, core::ProcessRef process);

Text note_text(Access access, core::ProcessRef process);  // nothing

// line_file.cpp, recipe_file.cpp
Text ctl_text(Access access, core::ProcessRef process);
Text recipe_text(Access access, core::ProcessRef process);

// namespace_directory.cpp
core::Result<std::string> namespace_target(const core::Process& process, std::uint32_t index);

ctl::Outcome maps_line(Access access, core::ProcessRef process, std::string line);
ctl::Outcome arguments_line(Access access, core::ProcessRef process, std::string line);
ctl::Outcome limits_line(Access access, core::ProcessRef process, std::string line);
ctl::Outcome registers_line(Access access, core::ProcessRef process, std::string line);
ctl::Outcome note_line(Access access, core::ProcessRef process, std::string line);

}  // namespace proc9::node
