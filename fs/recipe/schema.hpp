// The shape of a recipe, checked against process.schema.json.
#pragma once

#include <nlohmann/json.hpp>

#include "fs/core/result.hpp"

namespace proc9::recipe {

// EINVAL, the JSON pointer of what is wrong and why.
core::Result<> check_shape(nlohmann::json recipe);

}  // namespace proc9::recipe
