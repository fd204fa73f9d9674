// A directory of the tree. Each kind is one class without state; what it does not know to do is
// refused.
#pragma once

#include "fs/node/access.hpp"
#include "fs/node/node.hpp"

namespace proc9::node {

struct Created {
    Attributes attributes;
    OpenFileRef file;
};

class Directory {
public:
    Directory() = default;
    virtual ~Directory() = default;
    Directory(const Directory&) = delete;
    Directory& operator=(const Directory&) = delete;

    // `process` is the one that the directory belongs to; none in the root.
    using ProcessRef = core::ProcessRef;
    template <class T = void>
    using Answer = core::Task<core::Result<T>>;

    virtual core::Result<std::vector<DirectoryEntry>> list(Access access, ProcessRef process) = 0;
    virtual core::Result<Attributes> find(Access access, ProcessRef process,
                                          const std::string& name) = 0;

    virtual Answer<Created> create(Access access, ProcessRef process, std::string name,
                                   std::uint32_t mode, OpenFlags flags);
    virtual Answer<Attributes> make_directory(Access access, ProcessRef process, std::string name);
    virtual Answer<Attributes> make_link(Access access, ProcessRef process, std::string name,
                                         std::string target);
    // A second name for `node`, which may be another process's.
    virtual Answer<Attributes> add(Access access, ProcessRef process, std::string name,
                                   NodeId node);
    virtual Answer<> remove(Access access, ProcessRef process, std::string name);
    virtual Answer<> remove_directory(Access access, ProcessRef process, std::string name);
    // From here, `process`'s `name`, to the same kind of directory of `other`.
    virtual Answer<> rename(Access access, ProcessRef process, std::string name, ProcessRef other,
                            std::string new_name, bool replace);
};

// The directory of that kind; none if it is a file.
Directory* directory(Kind kind);
Directory& root_directory();
Directory& process_directory();
Directory& memory_directory();
Directory& descriptor_directory();
Directory& environment_directory();
Directory& namespace_directory();
Directory& threads_directory();
Directory& thread_directory();
Directory& told_thread_directory();

// A symbolic link that is to be renamed over another one: how ln -f replaces a link. It has a name
// like CuXXXXXX; whatever else is called so is an `otherwise`.
core::Result<Attributes> make_pending_link(core::Process& process, const std::string& name,
                                           std::string target, core::Error otherwise);
core::Result<Attributes> find_pending_link(const core::Process& process, const std::string& name);
const std::string* pending_target(const core::Process& process, const std::string& name);
std::optional<std::string> take_pending_link(core::Process& process, const std::string& name);

}  // namespace proc9::node
