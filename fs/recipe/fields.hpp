// The fields of a recipe, in the order in which they must be applied: identity before what it may
// still do, confinement last.
#pragma once

#include <nlohmann/json.hpp>
#include <span>

#include "fs/core/host.hpp"

namespace proc9::recipe {

using Json = nlohmann::ordered_json;
using Settings = std::vector<core::Setting>;

// One command, and the field that asks for it.
struct Step {
    core::Words words;
    std::string pointer;
    bool is_tried = true;       // on the copy first
    std::string contents = {};  // of the region that it maps: PROCESS:ADDR
    // Of the thread with that number, which is made if it is not there.
    std::size_t thread = 0;
    std::vector<core::Words> registers = {};
};
using Steps = std::vector<Step>;

// A field that can be shown has the settings of its command; the others are asked of the process.
struct Field {
    std::string_view pointer;  // in the flat form
    std::string_view command;  // of the settings in it
    // Adds the commands that a value asks for.
    core::Result<> (*tell)(const Field& field, const Json& value, const Json& recipe, Steps& steps);
    // The value that describes these settings, all of that command; null: nothing to say.
    Json (*show)(const Field& field, const Settings& settings) = nullptr;
};

std::span<const Field> fields();

}  // namespace proc9::recipe
