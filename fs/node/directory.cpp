#include "fs/node/directory.hpp"

#include <algorithm>
#include <cctype>

namespace proc9::node {
namespace {

core::Error not_here() {
    return core::fail(std::errc::operation_not_permitted, "this directory cannot do that");
}

bool is_temporary(std::string_view name) {
    constexpr std::size_t length = 8;
    return name.size() == length && name.starts_with("Cu") &&
           std::all_of(name.begin(), name.end(), [](unsigned char c) { return std::isalnum(c); });
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
        case Kind::namespaces: return &namespace_directory();
        case Kind::threads: return &threads_directory();
        case Kind::thread: return &thread_directory();
        case Kind::told_thread: return &told_thread_directory();
        default: return nullptr;
    }
}

core::Result<Attributes> make_pending_link(core::Process& process, const std::string& name,
                                           std::string target, core::Error otherwise) {
    constexpr std::size_t most = 64;
    if (!is_temporary(name)) return otherwise;
    if (process.pending_links.size() >= most)
        return core::fail(std::errc::no_space_on_device, "too many links wait for their rename");
    process.pending_links[name] = std::move(target);
    return find_pending_link(process, name);
}

core::Result<Attributes> find_pending_link(const core::Process& process, const std::string& name) {
    const std::string* const target = pending_target(process, name);
    if (!target)
        return core::fail(std::errc::no_such_file_or_directory, "no link {}", core::requote(name));
    Attributes attributes;
    attributes.id = {process.serial, Kind::pending_link, 0};
    attributes.type = Type::link;
    attributes.mode = 0777;
    attributes.size = target->size();
    attributes.owner = process.owner;
    return attributes;
}

const std::string* pending_target(const core::Process& process, const std::string& name) {
    const auto found = process.pending_links.find(name);
    return found == process.pending_links.end() ? nullptr : &found->second;
}

std::optional<std::string> take_pending_link(core::Process& process, const std::string& name) {
    auto taken = process.pending_links.extract(name);
    if (!taken) return std::nullopt;
    return std::move(taken.mapped());
}

}  // namespace proc9::node
