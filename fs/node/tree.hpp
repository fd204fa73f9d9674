// The tree as a whole: every operation that a file system is asked for, without saying who asks how.
// Errors that a user should read about are written to `error`.
#pragma once

#include <type_traits>

#include "fs/node/access.hpp"
#include "fs/node/directory.hpp"

namespace proc9::node {

class Tree {
public:
    Tree(core::Registry& registry, Options options)
        : registry_(registry), options_(std::move(options)) {}

    template <class T = void>
    using Answer = core::Task<core::Result<T>>;
    using Request = core::Request;

    Answer<Attributes> find(Request& request, NodeId directory, std::string name);
    Answer<Attributes> attributes(Request& request, NodeId id);
    core::Result<std::vector<DirectoryEntry>> list(Request& request, NodeId directory);

    Answer<Attributes> change(Request& request, NodeId id, Change change);
    Answer<std::string> link_target(Request& request, NodeId id);
    Answer<OpenFileRef> open(Request& request, NodeId id, OpenFlags flags);

    Answer<Created> create(Request& request, NodeId directory, const std::string& name,
                           std::uint32_t mode, OpenFlags flags);
    Answer<Attributes> make_directory(Request& request, NodeId directory, const std::string& name);
    Answer<Attributes> make_link(Request& request, NodeId directory, std::string name,
                                 std::string target);
    Answer<Attributes> add(Request& request, NodeId directory, const std::string& name,
                           NodeId node);
    Answer<> remove(Request& request, NodeId directory, const std::string& name);
    Answer<> remove_directory(Request& request, NodeId directory, const std::string& name);
    Answer<> rename(Request& request, NodeId directory, std::string name, NodeId new_directory,
                    std::string new_name, bool replace);

    // An open file that another daemon had saved.
    OpenFileRef restore(const core::Saved& saved, core::Restoring& restoring);

    // The kernel takes memory from us and serves it itself: no links to the daemon's descriptors.
    void serve_memory_itself() { options_.memory_links.clear(); }

    [[nodiscard]] core::Registry& registry() const { return registry_; }

private:
    [[nodiscard]] Access access(Request& request, NodeId id) const {
        return {request, registry_, options_, id.item};
    }
    core::Result<core::ProcessRef> process_of(NodeId id) const;
    core::Task<std::uint64_t> size_of(Request& request, const core::ProcessRef& process, NodeId id);
    static Attributes with_region(Attributes found, const core::Region& region);
    core::Result<Attributes> item_attributes(Request& request, const core::ProcessRef& process,
                                             NodeId id);
    [[nodiscard]] core::Result<> check_no_loop(NodeId directory, const std::string& target) const;
    Answer<Attributes> change_region(Request& request, const core::ProcessRef& process, NodeId id,
                                     Change change);
    template <class Step>
    auto modify(Request& request, NodeId directory, std::string_view what, std::string detail,
                Step step) -> std::invoke_result_t<Step, Directory&, core::ProcessRef>;
    core::Error refused(Request& request, NodeId directory, std::string_view what,
                        std::string_view detail, core::Error error);

    core::Registry& registry_;
    Options options_;
};

}  // namespace proc9::node
