#include <nlohmann/json.hpp>
#include <sstream>

#include "fs/core/shortage.hpp"
#include "fs/node/texts.hpp"

namespace proc9::node {
namespace {

using Json = nlohmann::ordered_json;
using Fields = std::map<std::string, std::string>;

std::string field(const Fields& fields, const std::string& name) {
    const auto found = fields.find(name);
    return found == fields.end() ? std::string{} : found->second;
}

std::string exit_text(const core::Process& process) {
    return process.exit_status() ? fmt::format("'{}'", process.exit_status()->text) : "";
}

Json numbers(const std::string& text) {
    Json list = Json::array();
    std::istringstream words(text);
    for (std::uint64_t number = 0; words >> number;) list.push_back(number);
    return list;
}

core::Result<std::string> link_text(core::Process& process, std::string_view name) {
    return core::or_nothing(process.body->link(name));
}

}  // namespace

std::string state_text(const core::Process& process) {
    switch (process.state()) {
        case core::Process::State::exited: return "exited";
        case core::Process::State::embryo: return "embryo";
        case core::Process::State::running: break;
    }
    return process.body->is_stopped() ? "stopped" : "running";
}

Text status_text(Access access, core::ProcessRef process) {
    co_await process->settle(access.request);
    const Fields kernel = co_await core::or_nothing(process->body->status());
    const auto regions = co_await core::or_nothing(process->body->maps());
    const auto descriptors = co_await core::or_nothing(process->body->descriptors());
    const std::string name = process->name.empty() ? field(kernel, "Name") : process->name;
    std::string text;
    const auto add = [&text](std::string_view key, const auto& value) {
        text += fmt::format("{}:\t{}\n", key, value);
    };
    add("Name", name);
    add("Id", process->id());
    add("State", state_text(*process));
    add("Pid", process->id());
    add("PPid", field(kernel, "PPid"));
    add("Creator", process->creator);
    add("Uid", field(kernel, "Uid"));
    add("Gid", field(kernel, "Gid"));
    add("Groups", field(kernel, "Groups"));
    add("Exit", exit_text(*process));
    add("Threads", process->exit_status() ? "0" : field(kernel, "Threads"));
    add("Regions", regions.size());
    add("Fds", descriptors.size());
    co_return text;
}

Text status_json_text(Access access, core::ProcessRef process) {
    co_await process->settle(access.request);
    const Fields kernel = co_await core::or_nothing(process->body->status());
    Json object;
    object["name"] = process->name;
    object["comm"] = field(kernel, "Name");
    object["id"] = process->id();
    object["state"] = state_text(*process);
    object["pid"] = process->id();
    object["ppid"] =
        numbers(field(kernel, "PPid")).empty() ? Json() : numbers(field(kernel, "PPid"))[0];
    object["creator"] = process->creator;
    object["owner"] = {{"uid", process->owner.uid}, {"gid", process->owner.gid}};
    for (const auto* const key : {"Uid", "Gid", "Groups"}) {
        std::string lower(key);
        lower[0] = static_cast<char>(lower[0] - 'A' + 'a');
        object[lower] = numbers(field(kernel, key));
    }
    object["threads"] = process->exit_status() ? Json(0)
                        : numbers(field(kernel, "Threads")).empty()
                            ? Json(0)
                            : numbers(field(kernel, "Threads"))[0];
    const auto regions = co_await core::or_nothing(process->body->maps());
    const auto descriptors = co_await core::or_nothing(process->body->descriptors());
    object["regions"] = regions.size();
    object["fds"] = descriptors.size();
    object["args"] = process->arguments;
    object["cwd"] = co_await link_text(*process, "cwd");
    object["root"] = co_await link_text(*process, "root");
    object["exe"] = co_await link_text(*process, "exe");
    object["exit"] = nullptr;
    if (const auto& ended = process->exit_status()) {
        object["exit"] = {{"status", ended->text},
                          {"user_ms", ended->user_ms},
                          {"system_ms", ended->system_ms},
                          {"real_ms", process->real_ms()}};
    }
    // Arguments may be any bytes; JSON may not.
    co_return object.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace proc9::node
