#include "fs/node/tree.hpp"

#include <algorithm>
#include <array>

#include "fs/ctl/dispatch.hpp"
#include "fs/node/file_table.hpp"
#include "fs/node/open_files.hpp"
#include "fs/node/texts.hpp"

namespace proc9::node {
namespace {

using core::fail;

core::Result<Directory*> directory_of(NodeId id) {
    if (Directory* const found = directory(id.kind)) return found;
    return fail(std::errc::not_a_directory, "not a directory");
}

// Those below N/ are the owner's alone.
core::Result<> may_enter(const core::Request& request, const core::Process* process, Kind kind) {
    if (!process || kind == Kind::process) return {};
    return core::Registry::check_owner(request.who, *process);
}

core::Task<core::Result<OpenFileRef>> open_clone(Access access) {
    ctl::Session session;  // GCC 12 destroys a co_await inside braces twice
    session.process = co_await access.registry.efork(access.request, "");
    session.is_root = true;
    session.process->persistent = false;
    co_return open_ctl(access, std::move(session), true);
}

}  // namespace

core::Result<core::ProcessRef> Tree::process_of(NodeId id) const {
    const bool is_of_root = id.kind <= Kind::root_error;
    if (is_of_root != (id.process == 0))
        return fail(std::errc::no_such_file_or_directory, "there is no such file");
    if (is_of_root) return core::ProcessRef{};
    auto process = registry_.by_serial(id.process);
    if (!process) return fail(std::errc::no_such_file_or_directory, "the process has gone");
    return process;
}

core::Error Tree::refused(Request& request, NodeId directory, std::string_view what,
                          std::string_view detail, core::Error error) {
    ctl::Session session{registry_.by_serial(directory.process), directory.process == 0};
    if (session.is_root) {  // rmdir N is about N as well
        const auto named = registry_.find(detail);
        if (named && core::Registry::check_owner(request.who, **named)) session.process = *named;
    }
    return ctl::refuse(registry_, request, session, what, detail, std::move(error));
}

// The kernel serves sendfile(2) and splice(2), which cat may use, only up to the size that a file had
// when it was looked up: so text files have their true size. What cannot be known before it is read
// has a page, as in sysfs.
core::Task<std::uint64_t> Tree::size_of(Request& request, const core::ProcessRef& process,
                                        NodeId id) {
    const FileRow* const row = file_row(id.kind);
    if (!row || row->type != Type::file) co_return 0;
    // tar reads what has a size, and would wait for the end of what has not begun.
    const bool is_embryo = process && process->state() == core::Process::State::embryo;
    if (row->kind == Kind::wait && is_embryo) co_return 0;
    // The whole recipe is asked of the process itself, which must not make `ls` wait.
    const bool is_known = row->text && (row->kind != Kind::recipe || !process->is_busy());
    if (!is_known) co_return row->line ? 0 : row->pages* core::page_size;
    const auto text = co_await row->text(access(request, id), process).result();
    co_return text ? text->size() : 0;
}

Tree::Answer<Attributes> Tree::find(Request& request, NodeId id, std::string name) {
    const auto process = co_await process_of(id);
    co_await may_enter(request, process.get(), id.kind);
    Directory* const place = co_await directory_of(id);
    Attributes found = co_await place->find(access(request, id), process, name);
    if (found.size == 0) found.size = co_await size_of(request, process, found.id);
    co_return found;
}

core::Result<std::vector<DirectoryEntry>> Tree::list(Request& request, NodeId id) {
    auto process = TRY(process_of(id));
    TRY(may_enter(request, process.get(), id.kind));
    return TRY(directory_of(id))->list(access(request, id), std::move(process));
}

Tree::Answer<Attributes> Tree::attributes(Request& request, NodeId id) {
    const auto process = co_await process_of(id);
    if (const FileRow* const row = file_row(id.kind)) {
        Attributes found = attributes_of(*row, process.get(), access(request, id));
        found.id = id;
        found.size = co_await size_of(request, process, id);
        co_return found;
    }
    co_return item_attributes(request, process, id);
}

Attributes Tree::with_region(Attributes found, const core::Region& region) {
    found.type = Type::file;
    found.mode = region.mode();
    found.size = region.file_size();
    found.allocated = region.allocated();
    found.times = region.times();
    return found;
}

// Of what is not in the table: a directory, or one of the things in it.
core::Result<Attributes> Tree::item_attributes(Request& request, const core::ProcessRef& process,
                                               NodeId id) {
    Attributes found;
    found.id = id;
    found.type = Type::directory;
    found.mode = 0555;
    if (!process) return found;
    found.owner = process->owner;
    if (id.kind == Kind::process || id.kind == Kind::thread || id.kind == Kind::told_thread)
        return found;
    if (id.kind == Kind::region) {  // also one that is a link to those who look it up
        const core::Region* const region = process->memory.by_id(id.item);
        if (!region) return fail(std::errc::no_such_file_or_directory, "the region has gone");
        return with_region(found, *region);
    } else if (id.kind == Kind::variable) {
        const auto name = process->environment.name_of(id.item);
        if (!name) return fail(std::errc::no_such_file_or_directory, "the variable has gone");
        return environment_directory().find(access(request, id), process, *name);
    } else if (id.kind == Kind::placeholder || id.kind == Kind::told_file) {
        found.type = Type::file;
        found.mode = 0;
    } else {
        found.type = Type::link;
        found.mode = 0777;
    }
    return found;
}

Tree::Answer<Attributes> Tree::change_region(Request& request, const core::ProcessRef& process,
                                             NodeId id, Change change) {
    const auto turn = co_await process->turn(request);
    core::Region* const region = process->memory.by_id(id.item);
    if (!region) co_return fail(std::errc::no_such_file_or_directory, "the region has gone");
    core::Result<> outcome;
    if (change.size) outcome = co_await process->memory.resize(*region, *change.size).result();
    if (outcome && change.mode)
        outcome = co_await process->memory.set_mode(*region, *change.mode).result();
    if (outcome && change.times && region->object)
        outcome = region->object->set_times(*change.times);
    if (!outcome)
        co_return refused(request, id, change.size ? "truncate" : "chmod",
                          fmt::format("mem/{:x}", region->range.start.value),
                          std::move(outcome).error());
    Attributes found;  // of the file that was asked for: the region may have become another
    found.id = id;
    found.owner = process->owner;
    co_return with_region(found, *region);
}

Tree::Answer<Attributes> Tree::change(Request& request, NodeId id, Change change) {
    const auto process = co_await process_of(id);
    if (process) co_await core::Registry::check_owner(request.who, *process);
    if (change.owner && process && *change.owner != process->owner)
        co_return fail(std::errc::operation_not_permitted, "the owner cannot be changed");
    const bool is_region = id.kind == Kind::region || id.kind == Kind::region_link;
    if (is_region && (change.mode || change.size || change.times))
        co_return co_await change_region(request, process, id, change);
    if (id.kind == Kind::variable && change.size) {
        co_await process->check_embryo();
        const auto name = process->environment.name_of(id.item);
        if (!name) co_return fail(std::errc::no_such_file_or_directory, "the variable has gone");
        std::string value = process->environment.find(*name)->value;
        if (*change.size > value.size())
            co_return fail(std::errc::invalid_argument, "a variable cannot have holes");
        value.resize(*change.size);
        co_await process->environment.set(*name, std::move(value), true);
    }
    const Attributes now = co_await attributes(request, id);
    // What tar makes of its own files it may; the mode that a file has anyway, everybody.
    const bool is_told = id.kind == Kind::told_thread || id.kind == Kind::told_file;
    if (change.mode && *change.mode != now.mode && !is_told)
        co_return fail(std::errc::operation_not_permitted,
                       "the mode of this file cannot be changed");
    co_return now;
}

Tree::Answer<std::string> Tree::link_target(Request& request, NodeId id) {
    const auto process = co_await process_of(id);
    if (process && id.kind != Kind::name_link)
        co_await core::Registry::check_owner(request.who, *process);
    if (const FileRow* const row = file_row(id.kind); row && row->text)
        co_return co_await row->text(access(request, id), process);
    switch (id.kind) {
        case Kind::name_link: co_return std::to_string(process->id());
        case Kind::descriptor:
            co_return process->body->descriptor_target(static_cast<int>(id.item));
        case Kind::namespace_link: co_return namespace_target(*process, id.item);
        case Kind::region_link: {
            std::optional<core::Process::Turn> turn;
            if (process->state() == core::Process::State::embryo)
                turn.emplace(co_await process->turn(request));
            core::Region* const region = process->memory.by_id(id.item);
            if (!region)
                co_return fail(std::errc::no_such_file_or_directory, "the region has gone");
            if (turn) co_await process->memory.materialise(*region);
            if (!region->object)
                co_return fail(std::errc::no_such_process, "process {} is gone", process->id());
            co_return options_.memory_links + std::to_string(region->object->number());
        }
        default: co_return fail(std::errc::invalid_argument, "not a link");
    }
}

Tree::Answer<OpenFileRef> Tree::open(Request& request, NodeId id, OpenFlags flags) {
    const auto process = co_await process_of(id);
    if (process) co_await core::Registry::check_owner(request.who, *process);
    const Access access = this->access(request, id);
    switch (id.kind) {
        case Kind::root_ctl: co_return open_ctl(access, ctl::Session{nullptr, true}, false);
        case Kind::clone: co_return co_await open_clone(access);
        case Kind::placeholder: co_return open_told();
        case Kind::region: co_return co_await open_region(access, process, id.item, flags);
        case Kind::variable: {
            const auto name = process->environment.name_of(id.item);
            if (!name)
                co_return fail(std::errc::no_such_file_or_directory, "the variable has gone");
            co_return open_variable(access, process, *name, flags);
        }
        default: break;
    }
    const FileRow* const row = file_row(id.kind);
    if (!row || row->type != Type::file) co_return fail(std::errc::is_a_directory, "not a file");
    co_return open_permitted(access, *row, process, flags);
}

// A step that changes a directory of one's own; its refusal goes into `error`.
template <class Step>
auto Tree::modify(Request& request, NodeId id, std::string_view what, std::string detail, Step step)
    -> std::invoke_result_t<Step, Directory&, core::ProcessRef> {
    auto process = co_await process_of(id);
    if (process) co_await core::Registry::check_owner(request.who, *process);
    Directory* const place = co_await directory_of(id);
    auto outcome = co_await step(*place, std::move(process)).result();
    if (!outcome) co_return refused(request, id, what, detail, std::move(outcome).error());
    co_return std::move(outcome);
}

Tree::Answer<Created> Tree::create(Request& request, NodeId id, const std::string& name,
                                   std::uint32_t mode, OpenFlags flags) {
    return modify(request, id, "create", name,
                  [=, access = access(request, id)](Directory& place, core::ProcessRef process) {
                      return place.create(access, std::move(process), name, mode, flags);
                  });
}

Tree::Answer<Attributes> Tree::make_directory(Request& request, NodeId id,
                                              const std::string& name) {
    return modify(request, id, "mkdir", name,
                  [=, access = access(request, id)](Directory& place, core::ProcessRef process) {
                      return place.make_directory(access, std::move(process), name);
                  });
}

// The kernel keeps a directory locked while a link is made in it: the process that opens the target
// would wait there, deaf to signals, for the end of the request that waits for it.
core::Result<> Tree::check_no_loop(NodeId id, const std::string& target) const {
    const auto process = registry_.by_serial(id.process);
    if (!process || options_.mountpoint.empty()) return {};
    const FileRow* const row = file_row(id.kind);
    for (const std::string& name : {std::to_string(process->id()), process->name}) {
        std::string here = fmt::format("{}/{}/", options_.mountpoint, name);
        if (row) here += fmt::format("{}/", row->name);
        if (target.starts_with(here))
            return fail(std::errc::too_many_symbolic_link_levels,
                        "the target is in the directory of the link itself");
    }
    return {};
}

Tree::Answer<Attributes> Tree::make_link(Request& request, NodeId id, std::string name,
                                         std::string target) {
    if (auto checked = check_no_loop(id, target); !checked)
        co_return refused(request, id, "ln", fmt::format("{} -> {}", name, target),
                          std::move(checked).error());
    auto making =
        modify(request, id, "ln", fmt::format("{} -> {}", name, target),
               [=, access = access(request, id)](Directory& place, core::ProcessRef process) {
                   return place.make_link(access, std::move(process), name, target);
               });
    co_return co_await std::move(making).result();
}

Tree::Answer<Attributes> Tree::add(Request& request, NodeId id, const std::string& name,
                                   NodeId node) {
    return modify(request, id, "ln", name,
                  [=, access = access(request, id)](Directory& place, core::ProcessRef process) {
                      return place.add(access, std::move(process), name, node);
                  });
}

Tree::Answer<> Tree::remove(Request& request, NodeId id, const std::string& name) {
    return modify(request, id, "rm", name,
                  [=, access = access(request, id)](Directory& place, core::ProcessRef process) {
                      return place.remove(access, std::move(process), name);
                  });
}

Tree::Answer<> Tree::remove_directory(Request& request, NodeId id, const std::string& name) {
    return modify(request, id, "rmdir", name,
                  [=, access = access(request, id)](Directory& place, core::ProcessRef process) {
                      return place.remove_directory(access, std::move(process), name);
                  });
}

Tree::Answer<> Tree::rename(Request& request, NodeId id, std::string name, NodeId new_id,
                            std::string new_name, bool replace) {
    const auto process = co_await process_of(id);
    if (process) co_await core::Registry::check_owner(request.who, *process);
    if (id.kind != new_id.kind)
        co_return fail(std::errc::cross_device_link, "not the same kind of file");
    auto step = [=, access = access(request, id)](Directory& place, core::ProcessRef other) {
        return place.rename(access, process, name, std::move(other), new_name, replace);
    };
    const std::string* const pending = process ? pending_target(*process, name) : nullptr;
    const std::string_view what = pending ? "ln" : "mv";
    std::string detail = pending ? fmt::format("{} -> {}", new_name, *pending)
                                 : fmt::format("{} -> {}", name, new_name);
    auto moving = modify(request, new_id, what, std::move(detail), std::move(step));
    co_return co_await std::move(moving).result();
}

namespace {

struct Restorer {
    std::string_view is;
    OpenFileRef (*restore)(Access access, core::ProcessRef process, const core::Saved& saved);
};
constexpr auto restorers = std::to_array<Restorer>({
    {"ctl", restore_ctl},
    {"table", restore_table_file},
    {"wait", restore_wait},
    {"recipe", restore_recipe_file},
    {"told", restore_told},
    {"image", restore_image},
    {"region", restore_region_file},
    {"variable", restore_variable},
});

}  // namespace

OpenFileRef Tree::restore(const core::Saved& saved, core::Restoring& restoring) {
    Request nobody;
    Access with = access(nobody, {});
    with.restoring = &restoring;
    const auto process = restoring.processes[saved.value("process", 0U)];
    const auto* const found =
        std::find_if(restorers.begin(), restorers.end(),
                     [&](const auto& row) { return saved.at("is") == row.is; });
    return found->restore(with, process, saved);
}

}  // namespace proc9::node
