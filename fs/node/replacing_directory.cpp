#include "fs/node/replacing_directory.hpp"

#include "fs/ctl/descriptors.hpp"

namespace proc9::node {

using core::done;
using core::fail;

core::Error ReplacingDirectory::not_replaceable() const {
    return fail(std::errc::operation_not_permitted, "only its links can be replaced, by a link");
}

std::optional<core::Result<Attributes>>
ReplacingDirectory::find_replaceable(const core::Process& process, const std::string& name) {
    if (auto pending = find_pending_link(process, name)) return pending;
    if (process.removed_links.contains(name))
        return fail(std::errc::no_such_file_or_directory, "no file {}", name);
    return std::nullopt;
}

ReplacingDirectory::Answer<> ReplacingDirectory::replace_link(Access access, ProcessRef process,
                                                              std::string name,
                                                              std::string target) {
    auto change = setting(name, target);
    if (!change) co_return not_replaceable();
    if (const auto source = ctl::callers_descriptor(target); source && change->name == "chdir") {
        core::Host& host = access.registry.host();
        const core::Pid caller = co_await host.process_of_thread(access.request.thread);
        change->directory = co_await host.take_descriptor(access.request.who, caller, *source);
    }
    const auto turn = co_await process->turn(access.request);
    co_await process->body->apply(std::move(*change));
    process->removed_links.erase(name);
    co_return done();
}

ReplacingDirectory::Answer<Attributes> ReplacingDirectory::make_link(Access access,
                                                                     ProcessRef process,
                                                                     std::string name,
                                                                     std::string target) {
    co_await process->check_embryo();
    if (!setting(name, target))
        co_return make_pending_link(*process, name, std::move(target), not_replaceable());
    co_await replace_link(access, process, name, std::move(target));
    co_return co_await find(access, process, name);
}

ReplacingDirectory::Answer<> ReplacingDirectory::remove(Access, ProcessRef process,
                                                        std::string name) {
    co_await process->check_embryo();
    if (take_pending_link(*process, name)) co_return done();
    if (!setting(name, ""))
        co_return fail(std::errc::operation_not_permitted, "{} belongs to the directory", name);
    process->removed_links.insert(std::move(name));
    co_return done();
}

ReplacingDirectory::Answer<> ReplacingDirectory::rename(Access access, ProcessRef process,
                                                        std::string name, ProcessRef other,
                                                        std::string new_name, bool) {
    if (process != other || !setting(new_name, "")) co_return not_replaceable();
    auto target = take_pending_link(*process, name);
    if (!target) co_return not_replaceable();
    co_await replace_link(access, process, std::move(new_name), std::move(*target));
    co_return done();
}

}  // namespace proc9::node
