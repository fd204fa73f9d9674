// N/: the files of the table; cwd and root are replaced to change them.
#include <array>

#include "fs/node/directory.hpp"
#include "fs/node/file_table.hpp"

namespace proc9::node {
namespace {

using core::done;
using core::fail;

struct Replaceable {
    std::string_view name;
    Kind kind;
    core::Setting (*setting)(std::string target);
};
constexpr std::array<Replaceable, 2> replaceables = {{
    {"cwd", Kind::cwd,
     [](std::string target) -> core::Setting { return core::ChangeDirectory{std::move(target)}; }},
    {"root", Kind::root_link,
     [](std::string target) -> core::Setting { return core::ChangeRoot{std::move(target)}; }},
}};

const Replaceable* replaceable(const std::string& name) {
    for (const auto& row : replaceables) {
        if (row.name == name) return &row;
    }
    return nullptr;
}

core::Error not_replaceable() {
    return fail(std::errc::operation_not_permitted, "only cwd and root can be replaced, by a link");
}

Directory::Answer<> replace_link(Access access, core::ProcessRef process, const Replaceable& row,
                                 std::string target) {
    const auto turn = co_await process->turn(access.request);
    core::Setting setting = row.setting(std::move(target));
    co_await process->body->apply(std::move(setting));
    process->removed_links.erase(std::string(row.name));
    co_return done();
}

class ProcessDirectory : public Directory {
public:
    core::Result<std::vector<DirectoryEntry>> list(Access access, ProcessRef process) override {
        std::vector<DirectoryEntry> entries;
        for (const auto& row : process_files()) {
            if (!process->removed_links.contains(std::string(row.name)))
                entries.push_back(
                    {std::string(row.name), attributes_of(row, process.get(), access)});
        }
        return entries;
    }

    core::Result<Attributes> find(Access access, ProcessRef process,
                                  const std::string& name) override {
        if (auto pending = find_pending_link(*process, name)) return pending;
        if (process->removed_links.contains(name))
            return fail(std::errc::no_such_file_or_directory, "no file {}", name);
        return find_row(process_files(), name, process.get(), access);
    }

    Answer<Attributes> make_link(Access access, ProcessRef process, std::string name,
                                 std::string target) override {
        co_await process->check_embryo();
        const Replaceable* const row = replaceable(name);
        if (!row) co_return make_pending_link(*process, name, std::move(target), not_replaceable());
        co_await replace_link(access, process, *row, std::move(target));
        co_return co_await find(access, process, name);
    }

    Answer<> remove(Access, ProcessRef process, std::string name) override {
        co_await process->check_embryo();
        if (take_pending_link(*process, name)) co_return done();
        if (!replaceable(name))
            co_return fail(std::errc::operation_not_permitted, "{} belongs to the directory", name);
        process->removed_links[name] = true;
        co_return done();
    }

    Answer<> rename(Access access, ProcessRef process, std::string name, ProcessRef other,
                    std::string new_name, bool) override {
        const Replaceable* const row = replaceable(new_name);
        if (!row || process != other) co_return not_replaceable();
        auto target = take_pending_link(*process, name);
        if (!target) co_return not_replaceable();
        co_await replace_link(access, process, *row, std::move(*target));
        co_return done();
    }
};

}  // namespace

Directory& process_directory() {
    static ProcessDirectory directory;
    return directory;
}

}  // namespace proc9::node
