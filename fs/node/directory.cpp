#include "fs/node/directory.hpp"

namespace proc9::node {
namespace {

core::Error not_here() {
    return core::fail(std::errc::operation_not_permitted, "this directory cannot do that");
}

}  // namespace

Directory::Answer<Created> Directory::create(Access, ProcessRef, std::string, std::uint32_t,
                                             OpenFlags) {
    co_return not_here();
}
Directory::Answer<Attributes> Directory::make_directory(Access, ProcessRef, std::string) {
    co_return not_here();
}
Directory::Answer<Attributes> Directory::make_link(Access, ProcessRef, std::string, std::string) {
    co_return not_here();
}
Directory::Answer<Attributes> Directory::add(Access, ProcessRef, std::string, NodeId) {
    co_return not_here();
}
Directory::Answer<> Directory::remove(Access, ProcessRef, std::string) { co_return not_here(); }
Directory::Answer<> Directory::remove_directory(Access, ProcessRef, std::string) {
    co_return not_here();
}
Directory::Answer<> Directory::rename(Access, ProcessRef, std::string, ProcessRef, std::string,
                                      bool) {
    co_return not_here();
}

Directory* directory(Kind kind) {
    switch (kind) {
        case Kind::root: return &root_directory();
        case Kind::process: return &process_directory();
        case Kind::memory: return &memory_directory();
        case Kind::descriptors: return &descriptor_directory();
        case Kind::environment: return &environment_directory();
        default: return nullptr;
    }
}

Attributes pending_link(core::Process& process, const std::string& name, std::string target) {
    Attributes attributes;
    attributes.id = {process.serial, Kind::pending_link, 0};
    attributes.type = Type::link;
    attributes.mode = 0777;
    attributes.size = target.size();
    attributes.owner = process.owner;
    process.pending_links[name] = std::move(target);
    return attributes;
}

}  // namespace proc9::node
