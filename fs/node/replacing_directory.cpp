#include "fs/node/replacing_directory.hpp"

#include "fs/node/open_files.hpp"

namespace proc9::node {

using core::done;
using core::fail;

core::Error ReplacingDirectory::not_replaceable() {
    return fail(std::errc::operation_not_permitted, "only its links can be replaced, by a link");
}

std::optional<core::Result<Attributes>>
ReplacingDirectory::find_replaceable(const core::Process& process, const std::string& name) const {
    if (auto pending = find_pending_link(process, name)) return pending;
    if (auto placeholder = find_placeholder(process, path_of(name)))
        return core::Result<Attributes>(*placeholder);
    if (process.removed.contains(path_of(name)))
        return fail(std::errc::no_such_file_or_directory, "no file {}", name);
    return std::nullopt;
}

core::Result<Created> make_again(Access access, core::ProcessRef process, const FileRow& row,
                                 bool is_state, OpenFlags flags) {
    Created created;
    created.attributes = attributes_of(row, process.get(), access);
    if (!flags.exclusive) {
        created.file = TRY(open_permitted(access, row, std::move(process), flags));
    } else {
        created.file = is_state ? open_image(access, row, std::move(process)) : open_told();
    }
    return created;
}

ReplacingDirectory::Answer<Created> ReplacingDirectory::create(Access access, ProcessRef process,
                                                               std::string name, std::uint32_t mode,
                                                               OpenFlags flags) {
    co_await process->check_embryo();
    const Place here = place(name);
    const bool is_link = here == Place::link || here == Place::told_link;
    if (is_link && is_placeholder(flags, mode)) co_return make_placeholder(*process, path_of(name));
    if (here != Place::file || process->removed.erase(path_of(name)) == 0)
        co_return not_replaceable();
    for (const auto& row : process_files()) {
        if (row.name == name) co_return make_again(access, process, row, is_state(row), flags);
    }
    co_return not_replaceable();
}

ReplacingDirectory::Answer<> ReplacingDirectory::replace_link(Access access, ProcessRef process,
                                                              std::string name, std::string target,
                                                              bool is_image) {
    const auto turn = co_await process->turn(access.request);
    auto wanted = co_await changes(access, process, name, target, is_image).result();
    for (auto& change : co_await std::move(wanted))
        co_await process->body->apply(std::move(change));
    process->removed.erase(path_of(name));
    co_return done();
}

ReplacingDirectory::Answer<Attributes> ReplacingDirectory::make_link(Access access,
                                                                     ProcessRef process,
                                                                     std::string name,
                                                                     std::string target) {
    co_await process->check_embryo();
    const bool is_image = take_placeholder(*process, path_of(name));
    const Place here = place(name);
    const bool is_link = here == Place::link || (here == Place::told_link && is_image);
    if (!is_link) co_return make_pending_link(*process, name, std::move(target), not_replaceable());
    auto made = co_await replace_link(access, process, name, std::move(target), is_image).result();
    if (is_image) process->removed.erase(path_of(name));  // also if it stays as it was
    co_await std::move(made);
    co_return co_await find(access, process, name);
}

ReplacingDirectory::Answer<> ReplacingDirectory::remove(Access, ProcessRef process,
                                                        std::string name) {
    co_await process->check_embryo();
    if (take_pending_link(*process, name)) co_return done();
    if (remove_placeholder(*process, path_of(name))) co_return done();
    if (place(name) == Place::none)
        co_return fail(std::errc::operation_not_permitted, "{} belongs to the directory", name);
    process->removed.insert(path_of(name));
    co_return done();
}

ReplacingDirectory::Answer<> ReplacingDirectory::rename(Access access, ProcessRef process,
                                                        std::string name, ProcessRef other,
                                                        std::string new_name, bool) {
    if (process != other || place(new_name) != Place::link) co_return not_replaceable();
    auto target = take_pending_link(*process, name);
    if (!target) co_return not_replaceable();
    co_await replace_link(access, process, std::move(new_name), std::move(*target), false);
    co_return done();
}

}  // namespace proc9::node
