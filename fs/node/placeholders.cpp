#include "fs/node/placeholders.hpp"

#include "fs/node/open_files.hpp"

namespace proc9::node {
namespace {

Attributes attributes_of(const core::Process& process, std::uint32_t id) {
    Attributes attributes;
    attributes.id = {process.serial, Kind::placeholder, id};
    attributes.owner = process.owner;
    return attributes;
}

}  // namespace

core::Result<Created> make_placeholder(core::Process& process, const std::string& path) {
    constexpr std::size_t most = 1U << 16U;
    auto& all = process.extraction.placeholders;
    if (all.size() >= most)
        return core::fail(std::errc::no_space_on_device, "too many files wait for their link");
    const std::uint32_t id = ++process.extraction.last_placeholder;
    all[path] = {id, true};
    return Created{attributes_of(process, id), open_told()};
}

std::optional<Attributes> find_placeholder(const core::Process& process, const std::string& path) {
    const auto found = process.extraction.placeholders.find(path);
    if (found == process.extraction.placeholders.end() || !found->second.stands)
        return std::nullopt;
    return attributes_of(process, found->second.id);
}

bool remove_placeholder(core::Process& process, const std::string& path) {
    const auto found = process.extraction.placeholders.find(path);
    if (found == process.extraction.placeholders.end()) return false;
    return std::exchange(found->second.stands, false);
}

bool take_placeholder(core::Process& process, const std::string& path) {
    return process.extraction.placeholders.erase(path) != 0;
}

}  // namespace proc9::node
