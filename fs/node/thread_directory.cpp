// task/ and task/TID/: the threads. An image's own are only told, in directories that can be made for
// them: their numbers mean nothing any more, and process.json has their registers.
#include <algorithm>

#include "fs/node/open_files.hpp"
#include "fs/node/replacing_directory.hpp"

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

Attributes told_thread(const core::Process& process, std::uint32_t index) {
    Attributes attributes;
    attributes.id = {process.serial, Kind::told_thread, index};
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
        const auto& told = process->extraction.threads;
        const auto found = std::find(told.begin(), told.end(), name);
        if (found != told.end())
            return told_thread(*process, static_cast<std::uint32_t>(found - told.begin()));
        return core::fail(std::errc::no_such_file_or_directory, "no thread {}",
                          core::requote(name));
    }

    Answer<Attributes> make_directory(Access, ProcessRef process, std::string name) override {
        constexpr std::size_t most = 1U << 16U;
        co_await process->check_embryo();
        auto& told = process->extraction.threads;
        if (told.size() >= most)
            co_return core::fail(std::errc::no_space_on_device, "more than {} threads", most);
        told.push_back(std::move(name));
        co_return told_thread(*process, static_cast<std::uint32_t>(told.size() - 1));
    }
};

const FileRow* row_named(const std::string& name) {
    for (const auto& row : thread_files()) {
        if (row.name == name) return &row;
    }
    return nullptr;
}

class ToldThreadDirectory : public Directory {
public:
    core::Result<std::vector<DirectoryEntry>> list(Access, ProcessRef) override {
        return std::vector<DirectoryEntry>{};
    }
    core::Result<Attributes> find(Access, ProcessRef, const std::string& name) override {
        return core::fail(std::errc::no_such_file_or_directory, "no file {}", core::requote(name));
    }
    Answer<Created> create(Access access, ProcessRef process, std::string name, std::uint32_t,
                           OpenFlags flags) override {
        co_await process->check_embryo();
        if (!row_named(name) || !flags.exclusive)
            co_return core::fail(std::errc::operation_not_permitted,
                                 "this stands for a thread of an image: `thread` makes one");
        Created created;
        created.attributes.id = {process->serial, Kind::told_file, access.item};
        created.attributes.owner = process->owner;
        created.file = open_told();
        co_return std::move(created);
    }
};

class ThreadDirectory : public Directory {
public:
    core::Result<std::vector<DirectoryEntry>> list(Access access, ProcessRef process) override {
        std::vector<DirectoryEntry> entries;
        for (const auto& row : thread_files()) {
            std::string name(row.name);
            if (!process->removed.contains(path_of(access, name)))
                entries.push_back(
                    {std::move(name), node::attributes_of(row, process.get(), access)});
        }
        return entries;
    }

    core::Result<Attributes> find(Access access, ProcessRef process,
                                  const std::string& name) override {
        if (process->removed.contains(path_of(access, name)))
            return core::fail(std::errc::no_such_file_or_directory, "no file {}", name);
        return find_row(thread_files(), name, process.get(), access);
    }

    Answer<> remove(Access access, ProcessRef process, std::string name) override {
        co_await process->check_embryo();
        process->removed.insert(path_of(access, name));
        co_return core::done();
    }

    Answer<Created> create(Access access, ProcessRef process, std::string name, std::uint32_t,
                           OpenFlags flags) override {
        co_await process->check_embryo();
        const FileRow* const row = row_named(name);
        if (!row || process->removed.erase(path_of(access, name)) == 0)
            co_return core::fail(std::errc::operation_not_permitted,
                                 "this directory cannot do that");
        co_return make_again(access, process, *row, false, flags);
    }

private:
    static std::string path_of(Access access, const std::string& name) {
        return fmt::format("task/{}/{}", access.item, name);
    }
};

}  // namespace

Directory& threads_directory() {
    static ThreadsDirectory directory;
    return directory;
}

Directory& told_thread_directory() {
    static ToldThreadDirectory directory;
    return directory;
}

Directory& thread_directory() {
    static ThreadDirectory directory;
    return directory;
}

}  // namespace proc9::node
