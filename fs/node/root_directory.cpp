// The root: the files of the table, a directory per process, a link per name.
#include "fs/node/directory.hpp"
#include "fs/node/file_table.hpp"

namespace proc9::node {
namespace {

using core::done;
using core::fail;

Attributes attributes_of_process(const core::Process& process) {
    Attributes attributes;
    attributes.id = {process.serial, Kind::process, 0};
    attributes.type = Type::directory;
    attributes.mode = 0555;
    attributes.owner = process.owner;
    return attributes;
}

Attributes attributes_of_name(const core::Process& process) {
    Attributes attributes;
    attributes.id = {process.serial, Kind::name_link, 0};
    attributes.type = Type::link;
    attributes.mode = 0777;
    attributes.size = std::to_string(process.id()).size();
    attributes.owner = process.owner;
    return attributes;
}

class RootDirectory : public Directory {
public:
    core::Result<std::vector<DirectoryEntry>> list(Access access, ProcessRef) override {
        std::vector<DirectoryEntry> entries;
        for (const auto& row : root_files()) {
            if (row.kind == Kind::self && !maker_of(access)) continue;
            entries.push_back({std::string(row.name), attributes_of(row, nullptr, access)});
        }
        for (const auto& [id, process] : access.registry.all()) {
            entries.push_back({std::to_string(id), attributes_of_process(*process)});
            if (!process->name.empty())
                entries.push_back({process->name, attributes_of_name(*process)});
        }
        return entries;
    }

    core::Result<Attributes> find(Access access, ProcessRef, const std::string& name) override {
        if (auto row = find_row(root_files(), name, nullptr, access)) {
            if (row->id.kind == Kind::self) TRY(maker_of(access));
            return row;
        }
        if (const auto named = access.registry.by_name(name)) return attributes_of_name(*named);
        const auto process = TRY(access.registry.find(name));
        if (std::to_string(process->id()) != name)
            return fail(std::errc::no_such_file_or_directory, "no process {}", core::requote(name));
        return attributes_of_process(*process);
    }

    Answer<Created> create(Access, ProcessRef, std::string name, std::uint32_t,
                           OpenFlags) override {
        co_return fail(std::errc::operation_not_permitted,
                       "a process is made by `mkdir {0}` or by `efork {0}` in ctl", name);
    }

    Answer<Attributes> make_directory(Access access, ProcessRef, std::string name) override {
        const auto process = co_await access.registry.efork(access.request, std::move(name));
        co_return attributes_of_process(*process);
    }

    Answer<> remove_directory(Access access, ProcessRef, std::string name) override {
        const auto process = co_await access.registry.find(name);
        co_await core::Registry::check_owner(access.request.who, *process);
        if (process->state() == core::Process::State::running)
            co_return fail(std::errc::device_or_resource_busy, "process {} is running",
                           process->id());
        access.registry.remove(process);
        co_return done();
    }

    // Of a name: the process stays, without it.
    Answer<> remove(Access access, ProcessRef, std::string name) override {
        const auto process = access.registry.by_name(name);
        if (!process)
            co_return fail(std::errc::operation_not_permitted, "{} belongs to the tree", name);
        co_await core::Registry::check_owner(access.request.who, *process);
        access.registry.drop_name(*process);
        co_return done();
    }

    Answer<> rename(Access access, ProcessRef, std::string name, ProcessRef, std::string new_name,
                    bool) override {
        const auto process = access.registry.by_name(name);
        if (!process)
            co_return fail(std::errc::operation_not_permitted, "only a name can be changed");
        co_await core::Registry::check_owner(access.request.who, *process);
        co_await access.registry.rename(*process, std::move(new_name));
        co_return done();
    }

private:
    static core::Result<> maker_of(Access access) {
        const auto caller = access.registry.host().process_of_thread(access.request.thread);
        if (caller && access.registry.by_id(*caller)) return {};
        return fail(std::errc::no_such_file_or_directory, "the caller was not made here");
    }
};

}  // namespace

Directory& root_directory() {
    static RootDirectory directory;
    return directory;
}

}  // namespace proc9::node
