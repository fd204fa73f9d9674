#include "fs/fuse/backings.hpp"

#include <linux/fuse.h>
#include <sys/ioctl.h>

#ifndef FUSE_DEV_IOC_BACKING_OPEN  // headers older than Linux 6.9
struct fuse_backing_map {
    int32_t fd;
    uint32_t flags;
    uint64_t padding;
};
#define FUSE_DEV_IOC_BACKING_OPEN _IOW(FUSE_DEV_IOC_MAGIC, 1, struct fuse_backing_map)
#define FUSE_DEV_IOC_BACKING_CLOSE _IOW(FUSE_DEV_IOC_MAGIC, 2, uint32_t)
#endif
#ifndef FUSE_DEV_IOC_MAGIC
#define FUSE_DEV_IOC_MAGIC 229
#endif

namespace proc9::fuse {

// Not libfuse's functions for this: they want a request, and an open that nobody took has none left.
int Backings::register_file(int descriptor) const {
    fuse_backing_map map{};
    map.fd = descriptor;
    return ::ioctl(fuse_descriptor_, FUSE_DEV_IOC_BACKING_OPEN, &map);
}

void Backings::forget_file(int id) const {
    ::ioctl(fuse_descriptor_, FUSE_DEV_IOC_BACKING_CLOSE, &id);
}

bool Backings::probe(core::Host& host) {
    const auto memory = host.make_memory();
    const int id = memory ? register_file((*memory)->number()) : -1;
    possible_ = id > 0;
    if (possible_) forget_file(id);
    return possible_;
}

int Backings::open(node::NodeId node, const core::Memory& memory) {
    if (!possible_) return 0;
    Backing& backing = by_node_[node.pack()];
    if (backing.opens == 0) backing.id = register_file(memory.number());
    if (backing.id <= 0) {
        by_node_.erase(node.pack());
        return 0;
    }
    ++backing.opens;
    return backing.id;
}

void Backings::close(node::NodeId node) {
    const auto found = by_node_.find(node.pack());
    if (found == by_node_.end() || --found->second.opens > 0) return;
    forget_file(found->second.id);
    by_node_.erase(found);
}

core::Saved Backings::save() const {
    core::Saved all = core::Saved::array();
    for (const auto& [node, backing] : by_node_) all.push_back({node, backing.id, backing.opens});
    return all;
}

void Backings::restore(const core::Saved& saved) {
    for (const auto& told : saved) by_node_[told.at(0)] = {told.at(1), told.at(2)};
}

}  // namespace proc9::fuse
