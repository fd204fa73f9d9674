// ns/: a link per namespace; replaced by a link to another process's, it is joined.
#include <algorithm>
#include <array>

#include "fs/node/replacing_directory.hpp"
#include "fs/node/texts.hpp"

namespace proc9::node {
namespace {

constexpr std::array<std::string_view, 8> kinds = {"cgroup", "ipc",  "mnt",  "net",
                                                   "pid",    "time", "user", "uts"};

Attributes attributes_of(const core::Process& process, std::size_t index) {
    Attributes attributes;
    attributes.id = {process.serial, Kind::namespace_link, static_cast<std::uint32_t>(index)};
    attributes.type = Type::link;
    attributes.mode = 0777;
    attributes.owner = process.owner;
    return attributes;
}

class NamespaceDirectory : public ReplacingDirectory {
public:
    core::Result<std::vector<DirectoryEntry>> list(Access, ProcessRef process) override {
        std::vector<DirectoryEntry> entries;
        entries.reserve(kinds.size());
        for (std::size_t i = 0; i < kinds.size(); ++i)
            entries.push_back({std::string(kinds.at(i)), attributes_of(*process, i)});
        return entries;
    }

    core::Result<Attributes> find(Access, ProcessRef process, const std::string& name) override {
        if (auto found = find_replaceable(*process, name)) return std::move(*found);
        const auto* const kind = std::find(kinds.begin(), kinds.end(), name);
        if (kind == kinds.end())
            return core::fail(std::errc::no_such_file_or_directory, "no namespace {}",
                              core::requote(name));
        return attributes_of(*process, static_cast<std::size_t>(kind - kinds.begin()));
    }

protected:
    [[nodiscard]] Place place(const std::string& name) const override {
        return std::find(kinds.begin(), kinds.end(), name) == kinds.end() ? Place::none
                                                                          : Place::link;
    }
    [[nodiscard]] std::string path_of(const std::string& name) const override {
        return "ns/" + name;
    }

    Answer<Changes> changes(Access, ProcessRef process, std::string name, std::string target,
                            bool) const override {
        co_return wanted(*process, name, target);
    }

private:
    // `net:[4026531840]` is how a namespace is told, and an image has nothing else of it.
    core::Result<Changes> wanted(core::Process& process, const std::string& name,
                                 const std::string& target) const {
        if (!target.starts_with(name + ":[")) return Changes{{"ns", {"join", name, target}}};
        process.removed.erase(path_of(name));
        if (TRY(process.body->link(path_of(name))) == target) return Changes{};
        return core::fail(std::errc::no_such_device_or_address,
                          "the process is not in {}, and can join it only by a path", target);
    }
};

}  // namespace

Directory& namespace_directory() {
    static NamespaceDirectory directory;
    return directory;
}

core::Result<std::string> namespace_target(const core::Process& process, std::uint32_t index) {
    return process.body->link(fmt::format("ns/{}", kinds.at(index % kinds.size())));
}

}  // namespace proc9::node
