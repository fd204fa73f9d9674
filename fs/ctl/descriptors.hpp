// What the fd commands and the files in fd/ have in common.
#pragma once

#include "fs/core/process.hpp"
#include "fs/core/registry.hpp"

namespace proc9::ctl {

core::Result<core::OpenMode> parse_open_mode(std::string_view word);  // "r+", "wxn"

// Whose descriptor a symbolic link's target means: /dev/stdout, /dev/fd/M and /proc/self/fd/M are
// the caller's own M.
std::optional<int> callers_descriptor(std::string_view target);

// What /proc/PID/fd and its likes show of things that no path leads to: a pipe, a deleted file.
bool has_no_path(std::string_view target);
core::Error cannot_restore(std::string_view target);  // ENXIO

// Descriptor `number` of the embryo becomes the caller's `source`, the very same open file.
core::Task<core::Result<>> hand_over(core::Registry& registry, core::Request& request,
                                     core::Process& process, int number, core::Pid from,
                                     int source);

// What `ln -s TARGET fd/N` does: hands over a descriptor of the caller, or opens TARGET in the child,
// 0 for reading, 1 and 2 for appending, others as the file permits.
core::Task<core::Result<>> open_target(core::Registry& registry, core::Request& request,
                                       core::Process& process, int number, std::string target);

}  // namespace proc9::ctl
