#include "daemon/os/settings/settings.hpp"

#include <algorithm>
#include <array>
#include <unordered_map>

namespace proc9::os {
namespace {

using core::Result;
using core::Task;
using core::Words;

constexpr std::array groups = {identity_settings, resource_settings, session_settings,
                               namespace_settings, confinement_settings};

// What a new process has not got from the one that it is a copy of (fork(2), clone(2), sched(7)).
constexpr std::array<std::string_view, 5> not_inherited = {"session", "pgrp", "tty", "prctl",
                                                           "sched"};

// What it has, and others can see. Not the session, its groups and ids, which cannot be had again.
constexpr auto visible = std::to_array<std::string_view>(
    {"limit", "nice", "sched", "affinity", "ioprio", "oom", "coredump", "sigmask", "sigignore",
     "umask", "personality", "nonewprivs"});

// What a process may do, and how the kernel treats it.
constexpr auto of_standing = std::to_array<std::string_view>(
    {"cgroup", "oom", "limit", "nice", "sched", "affinity", "ioprio", "ns", "chroot", "groups",
     "gid", "uid", "caps", "securebits", "umask", "personality", "nonewprivs"});

// The first of each name is the one that sets it.
const SettingRow* row_of(std::string_view name) {
    static const auto rows = [] {
        std::unordered_map<std::string_view, const SettingRow*> found;
        for (const auto group : groups) {
            for (const auto& row : group()) found.emplace(row.name, &row);
        }
        return found;
    }();
    const auto found = rows.find(name);
    return found == rows.end() ? nullptr : found->second;
}

bool is_missing(const SettingRow& row, std::errc code) {
    return code == std::errc::operation_not_permitted ||
           (row.or_access && code == std::errc::permission_denied);
}

// One that is more than calls, or has too many of them.
Task<Result<>> apply_one(Child& child, const core::Setting& setting) {
    const SettingRow* const row = row_of(setting.name);
    if (!row)
        co_return core::fail(std::errc::no_such_file_or_directory, "no setting {}", setting.name);
    if (row->apply) {
        co_await row->apply(child, setting);
    } else {
        Batch batch = child.batch();
        co_await row->encode(batch, Asked{setting, child.pid(), {}});
        co_await child.run_checked(std::move(batch));
    }
    co_return core::done();
}

Result<> explained(std::string_view name, Result<> outcome) {
    const SettingRow* const row = row_of(name);
    if (!outcome && row && !row->needs.empty() && is_missing(*row, outcome.error().code))
        outcome.error().why += fmt::format(" (needs {})", row->needs);
    return outcome;
}

template <class Names>
bool is_one_of(const Names& names, std::string_view name) {
    return std::find(names.begin(), names.end(), name) != names.end();
}

void was_applied(Child& child, std::vector<core::Setting>& settings) {
    const bool is_inherited = !is_one_of(not_inherited, settings.front().name);
    child.was_set(std::move(settings.front()), is_inherited);
    settings.erase(settings.begin());
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

void read_row(const SettingRow& row, const Facts& facts, std::vector<core::Setting>& found) {
    for (auto& words : row.read(facts))
        found.push_back(core::Setting{std::string(row.name), std::move(words)});
}

}  // namespace

std::size_t Encoded::takes_last(std::span<const core::Setting> settings) {
    const auto other = std::find_if(settings.rbegin(), settings.rend(), [](const auto& setting) {
        const SettingRow* const row = row_of(setting.name);
        return !row || !row->encode;
    });
    return static_cast<std::size_t>(other - settings.rbegin());
}

Result<> Encoded::add(Batch& batch, core::Pid pid, std::span<const core::Setting> settings) {
    for (const auto& setting : settings) {
        const SettingRow* const row = row_of(setting.name);
        if (!row || !row->encode) break;
        const auto before = batch.mark();
        auto encoded = row->encode(batch, Asked{setting, pid, settings.first(count())});
        if (!encoded || !batch.fits()) {
            batch.cut(before);
            TRY(std::move(encoded));
            break;
        }
        ends_.push_back(static_cast<std::uint32_t>(batch.count()));
    }
    return {};
}

Result<> Encoded::settle(const Replies& replies, Child& child,
                         std::vector<core::Setting>& settings) const {
    std::uint32_t from = 0;
    for (const auto to : ends_) {
        TRY(explained(settings.front().name, replies.checked(from, to)));
        was_applied(child, settings);
        from = to;
    }
    return {};
}

Task<Result<>> apply_settings(Child& child, std::vector<core::Setting>& settings) {
    while (!settings.empty()) {
        Batch batch = child.batch();
        Encoded calls;
        auto words = calls.add(batch, child.pid(), settings);
        if (calls.count() == 0) {
            co_await std::move(words);
            auto outcome = co_await apply_one(child, settings.front()).result();
            co_await explained(settings.front().name, std::move(outcome));
            was_applied(child, settings);
        } else {
            const Replies replies = co_await child.run(batch);
            co_await calls.settle(replies, child, settings);
        }
    }
    co_return core::done();
}

Task<Result<std::vector<core::Setting>>> read_settings(Child& child) {
    const Facts facts = co_await gather(child);
    std::vector<core::Setting> found;
    for (const SettingRow* row : rows_to_read()) read_row(*row, facts, found);
    co_return std::move(found);
}

// The secure bits of another cannot be seen: one of root's who has less than he could have is taken to have given the
// rest up for good.
bool has_given_up(const Facts& facts) {
    const Words users = facts.fields("Uid");
    const bool is_root = std::find(users.begin(), users.end(), "0") != users.end();
    return is_root && facts.bits("CapPrm") != facts.bits("CapBnd");
}

std::vector<core::Setting> standing(const Facts& facts, const core::DescriptorRef& root) {
    std::vector<core::Setting> found;
    for (const SettingRow* row : rows_to_read()) {
        if (row->name == "chroot") {
            found.push_back({"chroot", {}, root});
        } else if (row->name == "securebits" && row->turn == Turn::secure && has_given_up(facts)) {
            found.push_back({"securebits", {"noroot", "noroot-locked"}});
        } else if (is_one_of(of_standing, row->name)) {
            read_row(*row, facts, found);
        }
    }
    return found;
}

Result<std::vector<core::Setting>> passed_on(core::Pid thread) {
    const Facts facts = TRY(observe(thread));
    std::vector<core::Setting> found;
    for (const SettingRow* row : rows_to_read()) {
        if (is_one_of(visible, row->name)) read_row(*row, facts, found);
    }
    return found;
}

}  // namespace proc9::os
