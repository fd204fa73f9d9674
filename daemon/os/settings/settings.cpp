#include "daemon/os/settings/settings.hpp"

#include <algorithm>
#include <array>

namespace proc9::os {
namespace {

using core::Result;
using core::Task;

constexpr std::array groups = {identity_settings, resource_settings, session_settings,
                               namespace_settings, confinement_settings};

// What a new process has not got from the one that it is a copy of (fork(2), clone(2), sched(7)).
constexpr std::array<std::string_view, 5> not_inherited = {"session", "pgrp", "tty", "prctl",
                                                           "sched"};

const SettingRow* row_of(std::string_view name) {
    for (const auto group : groups) {
        for (const auto& row : group()) {
            if (row.name == name) return &row;
        }
    }
    return nullptr;
}

bool is_missing(const SettingRow& row, std::errc code) {
    return code == std::errc::operation_not_permitted ||
           (row.or_access && code == std::errc::permission_denied);
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

std::vector<const SettingRow*> rows_to_read() {
    std::vector<const SettingRow*> rows;
    for (const auto group : groups) {
        for (const auto& row : group()) {
            if (row.read) rows.push_back(&row);
        }
    }
    std::stable_sort(rows.begin(), rows.end(),
                     [](const SettingRow* a, const SettingRow* b) { return a->turn < b->turn; });
    return rows;
}

}  // namespace

Task<Result<>> apply_setting(Child& child, core::Setting setting) {
    const SettingRow* const row = row_of(setting.name);
    if (!row)
        co_return core::fail(std::errc::no_such_file_or_directory, "no setting {}", setting.name);
    auto outcome = co_await run(*row, child, setting).result();
    if (!outcome && !row->needs.empty() && is_missing(*row, outcome.error().code))
        outcome.error().why += fmt::format(" (needs {})", row->needs);
    const bool is_lost =
        std::find(not_inherited.begin(), not_inherited.end(), setting.name) != not_inherited.end();
    if (outcome && is_lost) child.not_inherited.push_back(std::move(setting));
    co_return std::move(outcome);
}

Task<Result<std::vector<core::Setting>>> read_settings(Child& child) {
    const Facts facts = co_await gather(child);
    std::vector<core::Setting> found;
    for (const SettingRow* row : rows_to_read()) {
        for (auto& words : row->read(facts))
            found.push_back(core::Setting{std::string(row->name), std::move(words)});
    }
    co_return std::move(found);
}

}  // namespace proc9::os
