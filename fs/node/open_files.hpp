// What opening a file gives.
#pragma once

#include "fs/core/turnstile.hpp"
#include "fs/node/access.hpp"
#include "fs/node/file_table.hpp"

namespace proc9::node {

// `made_here`: the process that goes when this file is closed (clone); none otherwise.
OpenFileRef open_ctl(Access access, ctl::Session session, bool owns_process);
OpenFileRef open_recipe(Access access, core::ProcessRef process);
// What an image holds of a file that only tells: accepted, and dropped.
OpenFileRef open_told();
// What an image holds of a state: taken when the file is closed, as far as it can be done.
OpenFileRef open_image(Access access, const FileRow& row, core::ProcessRef process);
OpenFileRef open_wait(Access access, core::ProcessRef process, bool non_blocking);
core::Task<core::Result<OpenFileRef>> open_region(Access access, core::ProcessRef process,
                                                  std::uint32_t id, OpenFlags flags);
core::Result<OpenFileRef> open_variable(Access access, core::ProcessRef process,
                                        const std::string& name, OpenFlags flags);

// Each as save() has told it.
OpenFileRef restore_ctl(Access access, core::ProcessRef process, const core::Saved& saved);
OpenFileRef restore_table_file(Access access, core::ProcessRef process, const core::Saved& saved);
OpenFileRef restore_wait(Access access, core::ProcessRef process, const core::Saved& saved);
OpenFileRef restore_recipe_file(Access access, core::ProcessRef process, const core::Saved& saved);
OpenFileRef restore_told(Access access, core::ProcessRef process, const core::Saved& saved);
OpenFileRef restore_image(Access access, core::ProcessRef process, const core::Saved& saved);
OpenFileRef restore_region_file(Access access, core::ProcessRef process, const core::Saved& saved);
OpenFileRef restore_variable(Access access, core::ProcessRef process, const core::Saved& saved);

}  // namespace proc9::node
