// fd/: a symbolic link per descriptor.
#include <charconv>

#include "fs/core/shortage.hpp"
#include "fs/ctl/descriptors.hpp"
#include "fs/node/placeholders.hpp"

namespace proc9::node {
namespace {

using core::done;
using core::fail;

core::Result<int> parse_name(const std::string& name) {
    int number = 0;
    const auto [end, problem] = std::from_chars(name.data(), name.data() + name.size(), number);
    if (problem != std::errc{} || end != name.data() + name.size() || number < 0 ||
        std::to_string(number) != name)
        return fail(std::errc::invalid_argument, "{} is not the number of a descriptor",
                    core::requote(name));
    if (static_cast<std::uint32_t>(number) > core::highest_descriptor)
        return fail(std::errc::too_many_files_open, "descriptor {} is above the limit", number);
    return number;
}

core::Error no_descriptor(const std::string& name) {
    return fail(std::errc::no_such_file_or_directory, "no descriptor {}", core::requote(name));
}

Attributes attributes_of(const core::Process& process, int number, std::size_t size) {
    Attributes attributes;
    attributes.id = {process.serial, Kind::descriptor, static_cast<std::uint32_t>(number)};
    attributes.type = Type::link;
    attributes.mode = 0777;
    attributes.size = size;
    attributes.owner = process.owner;
    return attributes;
}

// What the kernel refuses for numbers that are too high is EBADF, which says nothing to the user.
core::Error explain(core::Error error, int number) {
    if (error.code == std::errc::bad_file_descriptor)
        error.why += fmt::format(" (is {} above the limit of open files?)", number);
    return error;
}

bool is_missing(std::errc code) {
    return code == std::errc::bad_file_descriptor || code == std::errc::invalid_argument ||
           code == std::errc::no_such_file_or_directory || code == std::errc::no_such_process;
}

class DescriptorDirectory : public Directory {
public:
    core::Result<std::vector<DirectoryEntry>> list(Access, ProcessRef process) override {
        std::vector<DirectoryEntry> entries;
        if (process->exit_status()) return entries;
        for (const int number : TRY(process->body->descriptors()))
            entries.push_back({std::to_string(number), attributes_of(*process, number, 64)});
        return entries;
    }

    core::Result<Attributes> find(Access, ProcessRef process, const std::string& name) override {
        if (auto pending = find_pending_link(*process, name)) return pending;
        if (auto placeholder = find_placeholder(*process, path_of(name))) return *placeholder;
        const auto number = parse_name(name);
        if (!number) return no_descriptor(name);
        const auto target = process->body->descriptor_target(*number);
        // What has ended is closed to its own user.
        const bool is_closed = process->state() != core::Process::State::running && !target &&
                               target.error().code == std::errc::permission_denied;
        if (!target && !is_closed && !is_missing(target.error().code)) return target.error();
        if (!target) return no_descriptor(name);
        return attributes_of(*process, *number, target->size());
    }

    Answer<Created> create(Access, ProcessRef process, std::string name, std::uint32_t mode,
                           OpenFlags flags) override {
        co_await process->check_embryo();
        co_await parse_name(name);
        if (!is_placeholder(flags, mode))
            co_return fail(std::errc::operation_not_permitted,
                           "a descriptor is opened by a link to a file: ln -s");
        co_return make_placeholder(*process, path_of(name));
    }

    Answer<Attributes> make_link(Access access, ProcessRef process, std::string name,
                                 std::string target) override {
        co_await process->check_embryo();
        auto number = parse_name(name);
        if (!number)
            co_return make_pending_link(*process, name, std::move(target),
                                        std::move(number).error());
        const auto turn = co_await process->turn(access.request);
        const auto size = target.size();
        (void)take_placeholder(*process, path_of(name));
        if (ctl::has_no_path(target)) co_return ctl::cannot_restore(target);
        if (!co_await bring_back(process, *number, target))
            co_await open_into(access, process, *number, std::move(target));
        co_return attributes_of(*process, *number, size);
    }

    // ln fd/3 fd/4, also of another embryo; or ln mem/ADDR fd/N.
    Answer<Attributes> add(Access access, ProcessRef process, std::string name,
                           NodeId node) override {
        const int number = co_await parse_name(name);
        const ProcessRef source = access.registry.by_serial(node.process);
        if (!source) co_return fail(std::errc::no_such_process, "the process has gone");
        co_await core::Registry::check_owner(access.request.who, *source);
        core::DescriptorRef descriptor;
        // The kernel wants to see the same type of file under the new name, and looks again later.
        Attributes linked = attributes_of(*source, static_cast<int>(node.item), 64);
        linked.id = node;
        if (node.kind == Kind::region || node.kind == Kind::region_link) {
            const auto turn = co_await source->turn(access.request);
            core::Region* const region = source->memory.by_id(node.item);
            if (!region)
                co_return fail(std::errc::no_such_file_or_directory, "the region has gone");
            co_await source->memory.share(*region);
            if (region->offset == 0) descriptor = region->object;
            linked.type = node.kind == Kind::region ? Type::file : Type::link;
            linked.mode = region->mode();
            linked.size = region->file_size();
        } else if (node.kind == Kind::descriptor) {
            co_await source->check_embryo();
            descriptor = co_await source->body->take_descriptor(static_cast<int>(node.item));
        }
        if (!descriptor)
            co_return fail(std::errc::cross_device_link,
                           "only a descriptor or a region can be linked here");
        const auto turn = co_await process->turn(access.request);
        auto installed =
            co_await process->body->install(number, std::move(descriptor), false).result();
        if (!installed) co_return explain(std::move(installed).error(), number);
        co_return linked;
    }

    Answer<> remove(Access access, ProcessRef process, std::string name) override {
        co_await process->check_embryo();
        if (take_pending_link(*process, name)) co_return done();
        const bool was_placeholder = remove_placeholder(*process, path_of(name));
        const int number = co_await parse_name(name);
        // The recipe may have opened it meanwhile.
        if (was_placeholder && !process->body->descriptor_target(number)) co_return done();
        const auto turn = co_await process->turn(access.request);
        keep(*process, number);
        co_await process->body->close(number);
        co_return done();
    }

    Answer<> rename(Access access, ProcessRef process, std::string name, ProcessRef other,
                    std::string new_name, bool replace) override {
        const int to = co_await parse_name(new_name);
        if (!replace && find(access, other, new_name))
            co_return fail(std::errc::file_exists, "descriptor {} is open", to);
        if (auto target = take_pending_link(*process, name)) {
            const auto turn = co_await other->turn(access.request);
            co_await open_into(access, other, to, std::move(*target));
            co_return done();
        }
        if (process == other && name == new_name) co_return done();
        const int from = co_await parse_name(name);
        const NodeId node{process->serial, Kind::descriptor, static_cast<std::uint32_t>(from)};
        const auto before = co_await core::or_nothing(other->body->take_descriptor(to));
        co_await add(access, other, new_name, node);
        auto removed = co_await remove(access, process, name).result();
        if (!removed) co_await put_back(access, other, to, before);
        co_return removed;
    }

private:
    // What was there before something else was put in its place.
    static core::Task<> put_back(Access access, ProcessRef process, int number,
                                 core::DescriptorRef before) {
        const auto turn = co_await process->turn(access.request).result();
        if (!turn) co_return;
        if (before) {
            (void)co_await process->body->install(number, std::move(before), false).result();
        } else {
            (void)co_await process->body->close(number).result();
        }
    }

    static std::string path_of(const std::string& name) { return "fd/" + name; }

    // How a file was opened is in the recipe of an image, and not in the link that tar puts over it.
    static void keep(core::Process& process, int number) {
        const auto found = process.extraction.files.find(number);
        if (found == process.extraction.files.end()) return;
        const auto target = process.body->descriptor_target(number);
        if (!target || *target != found->second.path) return;
        found->second.kept = process.body->take_descriptor(number).value_or(nullptr);
    }
    static Answer<bool> bring_back(ProcessRef process, int number, const std::string& target) {
        const auto found = process->extraction.files.find(number);
        if (found == process->extraction.files.end()) co_return false;
        core::Extraction::OpenedFile& file = found->second;
        if (!file.kept || file.path != target) co_return false;
        co_await process->body->install(number, std::exchange(file.kept, nullptr),
                                        file.close_on_exec);
        co_return true;
    }

    static Answer<> open_into(Access access, ProcessRef process, int number, std::string target) {
        auto opened = co_await ctl::open_target(access.registry, access.request, *process, number,
                                                std::move(target))
                          .result();
        if (!opened) co_return explain(std::move(opened).error(), number);
        co_return done();
    }
};

}  // namespace

Directory& descriptor_directory() {
    static DescriptorDirectory directory;
    return directory;
}

}  // namespace proc9::node
