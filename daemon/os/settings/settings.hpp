// The settings of a process: a row each, named as the command that sets it. What the words of a
// command mean to Linux is known here and nowhere else.
#pragma once

#include <span>
#include <string_view>

#include "daemon/os/batch.hpp"
#include "daemon/os/child.hpp"

namespace proc9::os {

struct SettingRow {
    std::string_view name;
    // One of the two: the system calls that the child makes, or more than those.
    core::Result<> (*encode)(Batch& batch, const core::Words& words) = nullptr;
    core::Task<core::Result<>> (*apply)(Child& child, const core::Setting& setting) = nullptr;
    std::string_view needs = {};  // what is missing when the kernel says EPERM
};

std::span<const SettingRow> identity_settings();
std::span<const SettingRow> resource_settings();
std::span<const SettingRow> session_settings();
std::span<const SettingRow> namespace_settings();
std::span<const SettingRow> confinement_settings();

std::vector<std::string> setting_names();
core::Task<core::Result<>> apply_setting(Child& child, core::Setting setting);

}  // namespace proc9::os
