// task/ and task/TID/: the threads.
#include "fs/node/directory.hpp"
#include "fs/node/file_table.hpp"

namespace proc9::node {
namespace {

Attributes attributes_of(const core::Process& process, core::Pid thread) {
    Attributes attributes;
    attributes.id = {process.serial, Kind::thread, static_cast<std::uint32_t>(thread)};
    attributes.type = Type::directory;
    attributes.mode = 0555;
    attributes.owner = process.owner;
    return attributes;
}

class ThreadsDirectory : public Directory {
public:
    core::Result<std::vector<DirectoryEntry>> list(Access, ProcessRef process) override {
        std::vector<DirectoryEntry> entries;
        if (process->exit_status()) return entries;
        for (const auto thread : TRY(process->body->threads()))
            entries.push_back({std::to_string(thread), attributes_of(*process, thread)});
        return entries;
    }

    core::Result<Attributes> find(Access access, ProcessRef process,
                                  const std::string& name) override {
        for (auto& entry : TRY(list(access, process))) {
            if (entry.name == name) return entry.attributes;
        }
        return core::fail(std::errc::no_such_file_or_directory, "no thread {}",
                          core::requote(name));
    }
};

class ThreadDirectory : public Directory {
public:
    core::Result<std::vector<DirectoryEntry>> list(Access access, ProcessRef process) override {
        std::vector<DirectoryEntry> entries;
        for (const auto& row : thread_files())
            entries.push_back(
                {std::string(row.name), node::attributes_of(row, process.get(), access)});
        return entries;
    }

    core::Result<Attributes> find(Access access, ProcessRef process,
                                  const std::string& name) override {
        return find_row(thread_files(), name, process.get(), access);
    }
};

}  // namespace

Directory& threads_directory() {
    static ThreadsDirectory directory;
    return directory;
}

Directory& thread_directory() {
    static ThreadDirectory directory;
    return directory;
}

}  // namespace proc9::node
