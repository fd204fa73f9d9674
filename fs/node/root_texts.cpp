#include <nlohmann/json.hpp>

#include "fs/node/texts.hpp"

namespace proc9::node {
namespace {

std::string describe(std::span<const FileRow> rows, std::string_view prefix) {
    std::string text;
    for (const auto& row : rows)
        text += fmt::format("  {:<46} {}\n", fmt::format("{}{}", prefix, row.name), row.summary);
    return text;
}

std::string describe_commands(bool of_root) {
    std::string text;
    for (const auto& command : ctl::commands()) {
        if ((command.when == ctl::When::root) == of_root)
            text += fmt::format("  {:<46} {}\n", ctl::usage(command), command.summary);
    }
    return text;
}

nlohmann::ordered_json listed(std::span<const FileRow> rows, std::string_view prefix) {
    auto list = nlohmann::ordered_json::array();
    for (const auto& row : rows)
        list.push_back({{"name", fmt::format("{}{}", prefix, row.name)},
                        {"mode", fmt::format("{:04o}", row.mode)},
                        {"summary", row.summary}});
    return list;
}

}  // namespace

std::string tables_json() {
    auto commands = nlohmann::ordered_json::array();
    for (const auto& command : ctl::commands())
        commands.push_back({{"name", command.name},
                            {"usage", ctl::usage(command)},
                            {"of_root", command.when == ctl::When::root},
                            {"building", command.when == ctl::When::building},
                            {"setting", ctl::is_setting(command)},
                            {"summary", command.summary},
                            {"example", command.example}});
    auto files = listed(root_files(), "");
    for (const auto& more : {listed(process_files(), "N/"), listed(thread_files(), "N/task/TID/")})
        files.insert(files.end(), more.begin(), more.end());
    return nlohmann::ordered_json{{"commands", commands}, {"files", files}}.dump(2);
}

Text help_text(Access, core::ProcessRef) {
    co_return fmt::format("Commands of ctl, one a line, words or JSON:\n{}"
                          "Commands of N/ctl, and of the ctl through which N was made:\n{}"
                          "Files:\n{}{}{}",
                          describe_commands(true), describe_commands(false),
                          describe(root_files(), ""), describe(process_files(), "N/"),
                          describe(thread_files(), "N/task/TID/"));
}

Text self_target(Access access, core::ProcessRef) {
    const core::Pid caller =
        co_await access.registry.host().process_of_thread(access.request.thread);
    if (!access.registry.by_id(caller))
        co_return core::fail(std::errc::no_such_file_or_directory, "process {} was not made here",
                             caller);
    co_return std::to_string(caller);
}

Text stats_text(Access access, core::ProcessRef) {
    const core::Statistics& counted = access.registry.statistics;
    nlohmann::ordered_json object = {
        {"requests", counted.requests}, {"commands", counted.commands},
        {"refusals", counted.refusals}, {"eforks", counted.eforks},
        {"starts", counted.starts},     {"exits", counted.exits},
    };
    std::map<std::string, std::uint64_t> by_state;
    for (const auto& [id, process] : access.registry.all()) ++by_state[state_text(*process)];
    object["processes"] = by_state;
    if (access.options.figures)
        object.update(nlohmann::ordered_json::parse(access.options.figures(), nullptr, false));
    co_return object.dump(2) + "\n";
}

Text root_error_text(Access access, core::ProcessRef) {
    co_return access.registry.error_of(access.request.who);
}

}  // namespace proc9::node
