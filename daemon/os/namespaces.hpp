// The kinds of namespaces, by the names that /proc/PID/ns gives them.
#pragma once

#include <cstdint>

#include "fs/core/text.hpp"

namespace proc9::os {

// CLONE_NEW* of each, or'ed. EINVAL.
core::Result<std::uint64_t> namespace_flags(const core::Words& kinds);

// The flags of clone(2) that share these with a child: mem fd fs sig. EINVAL: no such context.
core::Result<std::uint64_t> context_flags(const core::Words& contexts);

}  // namespace proc9::os
