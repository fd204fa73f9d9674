#include "daemon/os/settings/settings.hpp"

#include <array>

namespace proc9::os {
namespace {

using core::Result;
using core::Task;

constexpr std::array groups = {identity_settings, resource_settings, session_settings,
                               namespace_settings, confinement_settings};

const SettingRow* row_of(std::string_view name) {
    for (const auto group : groups) {
        for (const auto& row : group()) {
            if (row.name == name) return &row;
        }
    }
    return nullptr;
}

Task<Result<>> run(const SettingRow& row, Child& child, const core::Setting& setting) {
    if (row.apply) {
        co_await row.apply(child, setting);
    } else {
        Batch batch = child.batch();
        co_await row.encode(batch, setting.words);
        co_await child.run_checked(std::move(batch));
    }
    co_return core::done();
}

}  // namespace

std::vector<std::string> setting_names() {
    std::vector<std::string> names;
    for (const auto group : groups) {
        for (const auto& row : group()) names.emplace_back(row.name);
    }
    return names;
}

Task<Result<>> apply_setting(Child& child, core::Setting setting) {
    const SettingRow* const row = row_of(setting.name);
    if (!row)
        co_return core::fail(std::errc::no_such_file_or_directory, "no setting {}", setting.name);
    auto outcome = co_await run(*row, child, setting).result();
    if (!outcome && outcome.error().code == std::errc::operation_not_permitted &&
        !row->needs.empty())
        outcome.error().why += fmt::format(" (needs {})", row->needs);
    co_return std::move(outcome);
}

}  // namespace proc9::os
