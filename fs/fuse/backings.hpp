// Memory that the kernel serves by itself (passthrough): one backing id per node, shared by all who
// have it open.
#pragma once

#include <cstdint>
#include <map>

#include "fs/node/node.hpp"

namespace proc9::fuse {

class Backings {
public:
    // Whether this kernel lets this daemon do it, found out by trying once.
    bool probe(core::Host& host);
    void use(int fuse_descriptor) { fuse_descriptor_ = fuse_descriptor; }

    // The id for an open of `node`; 0 if it must be served another way.
    int open(node::NodeId node, const core::Memory& memory);
    void close(node::NodeId node);

    [[nodiscard]] core::Saved save() const;
    void restore(const core::Saved& saved);

private:
    struct Backing {
        int id = 0;
        int opens = 0;
    };
    int register_file(int descriptor) const;  // an id, or -1
    void forget_file(int id) const;

    int fuse_descriptor_ = -1;
    bool possible_ = false;
    std::map<std::uint64_t, Backing> by_node_;
};

}  // namespace proc9::fuse
