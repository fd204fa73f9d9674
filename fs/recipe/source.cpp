#include "fs/recipe/source.hpp"

#include <algorithm>

#include "fs/ctl/descriptors.hpp"

namespace proc9::recipe {
namespace {

using core::fail;
using core::Result;

std::string key_of(const core::Registry& registry, const core::Process& process) {
    return fmt::format("{}-{}", process.serial, registry.instance());
}

bool is_alive(const core::Registry& registry, const Json& source) {
    const auto process = registry.by_id(source["pid"].get<core::Pid>());
    return process && !process->exit_status() &&
           key_of(registry, *process) == source["key"].get<std::string>();
}

Json* list_at(Json& recipe, const char* pointer) {
    const Json::json_pointer place(pointer);
    return recipe.contains(place) ? &recipe[place] : nullptr;
}

bool begins_with(const Json& item, const char* key, const std::string& prefix) {
    return item.contains(key) && item[key].get<std::string>().starts_with(prefix);
}

Result<> gone(const char* pointer, const Json& source, const std::string& what) {
    return fail(std::errc::no_such_file_or_directory,
                "{}: {} is of process {}, which has gone since the recipe was read", pointer, what,
                source["pid"].get<core::Pid>());
}

}  // namespace

Json source_of(const core::Registry& registry, const core::Process& process) {
    return {{"pid", process.id()}, {"key", key_of(registry, process)}};
}

Result<> settle_source(const core::Registry& registry, Json& recipe) {
    const Json* const source = list_at(recipe, "/proc9/source");
    if (!source || is_alive(registry, *source)) return {};
    const std::string number = std::to_string((*source)["pid"].get<core::Pid>());
    if (const Json* const list = list_at(recipe, "/proc9/namespaces")) {
        for (const auto& item : *list) {
            if (begins_with(item, "path", "/proc/" + number + "/"))
                return gone("/proc9/namespaces", *source, item["path"]);
        }
    }
    if (const Json* const list = list_at(recipe, "/proc9/regions")) {
        for (const auto& item : *list) {
            if (begins_with(item, "from", number + ":"))
                return gone("/proc9/regions", *source, item["from"]);
        }
    }
    Json* const files = list_at(recipe, "/proc9/fds");
    for (std::size_t i = 0; files && i < files->size(); ++i) {
        Json& item = (*files)[i];
        if (!begins_with(item, "from", number + ":")) continue;
        if (!item.contains("path") || ctl::has_no_path(item["path"].get<std::string>()))
            return gone("/proc9/fds", *source, item["from"]);
        item.erase("from");
    }
    return {};
}

void keep_of_image(Json& recipe) {
    recipe.erase("args");
    if (recipe.contains("env")) {  // a name with a slash cannot be one of a file
        Json& list = recipe["env"];
        list.erase(std::remove_if(list.begin(), list.end(),
                                  [](const Json& item) {
                                      const auto word = item.get<std::string>();
                                      return word.find('/') >= word.find('=');
                                  }),
                   list.end());
    }
    if (!recipe.contains("proc9")) return;
    recipe["proc9"].erase("namespaces");
    for (const auto* const key : {"regions", "fds"}) {
        Json kept = Json::array();
        for (auto& item : recipe["proc9"].value(key, Json::array())) {
            item.erase("from");
            const bool is_file = item.contains("fd") && item.contains("path") &&
                                 !ctl::has_no_path(item["path"].get<std::string>());
            if (is_file || item.contains("vdso")) kept.push_back(std::move(item));
        }
        recipe["proc9"][key] = std::move(kept);
    }
}

}  // namespace proc9::recipe
