// What every function of a node is given.
#pragma once

#include <string>

#include "fs/core/registry.hpp"
#include "fs/node/node.hpp"

namespace proc9::node {

struct Options {
    std::string mountpoint;  // where users see the tree; none: nowhere
    // Where the daemon's own descriptors can be opened, "/proc/42/fd/", if the kernel cannot be
    // given memory to serve itself: then files of memory are links to there.
    std::string memory_links;
    // Figures of the operating system's side for stats.json, as members of a JSON object.
    std::function<std::string()> figures;
};

struct Access {
    core::Request& request;
    core::Registry& registry;
    const Options& options;
    std::uint32_t item = 0;                // which one of its kind: of a thread's files
    bool is_image = false;                 // what is written comes from an image
    core::Restoring* restoring = nullptr;  // while what another daemon had open is
};

}  // namespace proc9::node
