// Where a recipe was read. Its `from: "PID:N"` mean that very process, and never a later one that
// has got the number.
#pragma once

#include "fs/core/registry.hpp"
#include "fs/recipe/fields.hpp"

namespace proc9::recipe {

// {"pid": 4242, "key": "..."}: the key is never used again, nor by another daemon.
Json source_of(const core::Registry& registry, const core::Process& process);

// What of a recipe in the flat form refers to a process that has gone: descriptors are opened by their
// paths instead, and ENOENT names what has none.
core::Result<> settle_source(const core::Registry& registry, Json& recipe);

// What of it an image takes. Memory, environment, arguments and namespaces have their own files there;
// nothing is taken from another process.
void keep_of_image(Json& recipe);

}  // namespace proc9::recipe
