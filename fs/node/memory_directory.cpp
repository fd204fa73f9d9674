// mem/: a file per region.
#include <cerrno>
#include <charconv>

#include "fs/node/open_files.hpp"
#include "fs/node/placeholders.hpp"

namespace proc9::node {
namespace {

using core::done;
using core::fail;

// Lower-case hex without 0x or leading zeros, the start of a page.
core::Result<core::Address> parse_name(const std::string& name) {
    std::uint64_t value = 0;
    const auto [end, problem] = std::from_chars(name.data(), name.data() + name.size(), value, 16);
    if (problem != std::errc{} || end != name.data() + name.size() ||
        fmt::format("{:x}", value) != name)
        return fail(std::errc::invalid_argument,
                    "{} is not an address in lower-case hex without 0x", core::requote(name));
    return core::parse_address(fmt::format("{:#x}", value));
}

core::Result<core::Region*> region_at(core::Process& process, const std::string& name) {
    const auto address = parse_name(name);
    core::Region* const region = address ? process.memory.at(*address) : nullptr;
    if (!region)
        return fail(std::errc::no_such_file_or_directory, "no region begins at {}",
                    core::requote(name));
    return region;
}

Attributes attributes_of(Access access, const core::Process& process, const core::Region& region) {
    Attributes attributes;
    attributes.owner = process.owner;
    const bool is_link = !access.options.memory_links.empty() &&
                         region.kind != core::Region::Kind::kernel &&
                         (region.has_whole_object() || !region.shared);
    attributes.id = {process.serial, is_link ? Kind::region_link : Kind::region, region.id};
    attributes.type = is_link ? Type::link : Type::file;
    attributes.mode = is_link ? 0777 : region.mode();
    attributes.size = is_link ? 0 : region.file_size();
    if (!is_link) attributes.allocated = region.allocated();
    attributes.times = region.times();
    return attributes;
}

bool is_empty(const core::Region& region) {
    return region.range.length == 0 && region.file_size() == 0;
}

// What was created is a file, whatever it looks like later.
Attributes created_attributes(Access access, const core::Process& process,
                              const core::Region& region) {
    Attributes attributes = attributes_of(access, process, region);
    attributes.id.kind = Kind::region;
    attributes.type = Type::file;
    attributes.mode = region.mode();
    attributes.size = 0;
    return attributes;
}

class RegionFile : public OpenFile {
public:
    RegionFile(core::ProcessRef process, core::Region& region)
        : process_(std::move(process)),
          id_(region.id),
          object_(region.object),
          offset_(region.offset),
          is_whole_(region.has_whole_object()) {
        if (object_) ++object_->handles;
    }
    RegionFile(core::ProcessRef process, const core::Saved& saved, core::MemoryRef object)
        : process_(std::move(process)),
          id_(saved.at("id")),
          object_(std::move(object)),
          offset_(saved.at("offset")),
          is_whole_(saved.at("is_whole")) {
        if (object_) ++object_->handles;
    }
    [[nodiscard]] core::Saved save(core::Saving& saving) const override {
        return {{"is", "region"},    {"process", saving.process(process_)},
                {"id", id_},         {"object", core::save(saving, object_)},
                {"offset", offset_}, {"is_whole", is_whole_}};
    }
    ~RegionFile() override {
        if (object_) --object_->handles;
    }

    [[nodiscard]] core::MemoryRef memory() const override { return is_whole_ ? object_ : nullptr; }

    core::Task<core::Result<std::string>> read(core::Request& request, std::size_t size,
                                               std::uint64_t offset) override {
        if (is_whole_) co_return object_->read(size, offset);
        std::optional<core::Process::Turn> turn;
        if (asks_process()) turn.emplace(co_await process_->turn(request));
        const core::Region* const region = process_->memory.by_id(id_);
        if (!region) co_return fail(std::errc::no_such_file_or_directory, "the region has gone");
        if (offset >= region->range.length) co_return std::string{};
        size = std::min(size, region->range.length - offset);
        if (object_) co_return object_->read(size, offset_ + offset);
        co_return co_await process_->body->peek(region->range.start + offset, size).result();
    }

    core::Task<core::Result<std::size_t>> write(core::Request& request, std::string bytes,
                                                std::uint64_t offset, bool /*may_go_on*/) override {
        std::optional<core::Process::Turn> turn;
        if (asks_process()) turn.emplace(co_await process_->turn(request));
        core::Region* region = process_->memory.by_id(id_);
        if (!is_whole_) {  // a shared file, or a part of a shared region
            if (!region || offset >= region->range.length)
                co_return fail(std::errc::no_space_on_device, "this region has a fixed length");
            bytes.resize(std::min(bytes.size(), region->range.length - offset));
            if (!object_)
                co_return co_await process_->body
                    ->poke(region->range.start + offset, std::move(bytes))
                    .result();
        } else if (region && offset + bytes.size() > object_->size()) {
            turn.emplace(co_await process_->turn(request));
            region = process_->memory.by_id(id_);
            const auto before = object_->size();
            if (region) co_await process_->memory.resize(*region, offset + bytes.size());
            auto written = object_->write(bytes, offset_ + offset);
            if (region && !written)
                (void)co_await process_->memory.resize(*region, before).result();
            co_return written;
        }
        co_return object_->write(bytes, offset_ + offset);
    }

private:
    // What has no object is reached through the process's own mapping of it.
    [[nodiscard]] bool asks_process() const {
        return !object_ && process_->state() == core::Process::State::embryo;
    }

    core::ProcessRef process_;
    std::uint32_t id_;
    core::MemoryRef object_;
    std::uint64_t offset_;
    bool is_whole_;
};

class MemoryDirectory : public Directory {
public:
    core::Result<std::vector<DirectoryEntry>> list(Access access, ProcessRef process) override {
        std::vector<DirectoryEntry> entries;
        for (const auto& [start, region] : process->memory.regions()) {
            // The kernel's cannot be made as a file, and some of them not even be read.
            if (region.kind != core::Region::Kind::kernel)
                entries.push_back(
                    {fmt::format("{:x}", start), attributes_of(access, *process, region)});
        }
        return entries;
    }

    core::Result<Attributes> find(Access access, ProcessRef process,
                                  const std::string& name) override {
        const core::Region& region = *TRY(region_at(*process, name));
        const bool is_placeholder = is_empty(region) && find_placeholder(*process, path_of(name));
        return is_placeholder ? created_attributes(access, *process, region)
                              : attributes_of(access, *process, region);
    }

    Answer<Created> create(Access access, ProcessRef process, std::string name, std::uint32_t mode,
                           OpenFlags flags) override {
        const core::Address at = co_await parse_name(name);
        const auto turn = co_await process->turn(access.request);
        constexpr std::uint32_t sticky = 01000;
        const bool is_shared = process->extraction.shared.contains(at.value);
        core::Region* const region =
            co_await process->memory.create(at, mode | (is_shared ? sticky : 0));
        // Or a region without any protection: it is both until there is something in it.
        if (is_placeholder(flags, mode)) co_await make_placeholder(*process, path_of(name));
        Created created;
        created.attributes = created_attributes(access, *process, *region);
        created.file = std::make_unique<RegionFile>(process, *region);
        co_return std::move(created);
    }

    // ln -s FILE mem/ADDR maps the file privately.
    Answer<Attributes> make_link(Access access, ProcessRef process, std::string name,
                                 std::string target) override {
        core::Mapping mapping;
        mapping.at = co_await parse_name(name);
        if (take_placeholder(*process, path_of(name)))
            co_return fail(std::errc::no_such_device_or_address,
                           "the image has a link to the memory instead of it: make it by tar -h");
        const auto size = target.size();
        mapping.source = core::Mapping::File{std::move(target), 0};
        const auto turn = co_await process->turn(access.request);
        const core::Region* const region = co_await process->memory.map(std::move(mapping));
        Attributes attributes;
        attributes.id = {process->serial, Kind::region_link, region->id};
        attributes.type = Type::link;
        attributes.mode = 0777;
        attributes.size = size;
        attributes.owner = process->owner;
        co_return attributes;
    }

    // ln mem/A mem/B, also of another embryo: both map the same memory from now on.
    Answer<Attributes> add(Access access, ProcessRef process, std::string name,
                           NodeId node) override {
        const core::Address at = co_await parse_name(name);
        const ProcessRef source = access.registry.by_serial(node.process);
        if (!source || (node.kind != Kind::region && node.kind != Kind::region_link))
            co_return fail(std::errc::cross_device_link, "only a region can be linked here");
        co_await core::Registry::check_owner(access.request.who, *source);
        co_await share(access, source, node.item);
        const auto turn = co_await process->turn(access.request);
        const core::Region* const region = source->memory.by_id(node.item);
        if (!region) co_return fail(std::errc::no_such_file_or_directory, "the region has gone");
        Attributes linked =
            attributes_of(access, *process, *co_await process->memory.adopt(at, *region));
        co_return linked;
    }

    Answer<> remove(Access access, ProcessRef process, std::string name) override {
        const core::Region& region = *co_await region_at(*process, name);
        if (!is_empty(region)) (void)take_placeholder(*process, path_of(name));
        co_await take_away(access, process, region.id);
        (void)remove_placeholder(*process, path_of(name));
        co_return done();
    }

    Answer<> rename(Access access, ProcessRef process, std::string name, ProcessRef other,
                    std::string new_name, bool replace) override {
        const core::Address to = co_await parse_name(new_name);
        if (other->memory.at(to)) {
            if (!replace) co_return fail(std::errc::file_exists, "a region begins at {}", new_name);
            if (process == other && name == new_name) co_return done();
            co_await remove(access, other, new_name);
        }
        if (process == other) {
            const auto turn = co_await process->turn(access.request);
            const core::Address from = co_await parse_name(name);
            co_await process->memory.move(from, to);
            co_return done();
        }
        const std::uint32_t id = co_await hand_over(access, process, name, other, to);
        auto taken = co_await take_away(access, process, id).result();
        const core::Region* const given = taken ? nullptr : other->memory.at(to);
        if (given) (void)co_await take_away(access, other, given->id).result();
        co_return taken;
    }

private:
    static std::string path_of(const std::string& name) { return "mem/" + name; }

    static Answer<> share(Access access, ProcessRef process, std::uint32_t id) {
        const auto turn = co_await process->turn(access.request);
        core::Region* const region = process->memory.by_id(id);
        if (!region) co_return fail(std::errc::no_such_file_or_directory, "the region has gone");
        co_await process->memory.share(*region);
        if (!region->object)
            co_return fail(std::errc::not_supported,
                           "the region is a shared file: map that there too");
        co_return done();
    }

    // The other embryo maps the same memory, as it was mapped here. Answers which region that was.
    static Answer<std::uint32_t> hand_over(Access access, ProcessRef process, std::string name,
                                           ProcessRef other, core::Address to) {
        core::Region given;
        {
            const auto turn = co_await process->turn(access.request);
            core::Region* const region = co_await region_at(*process, name);
            co_await process->memory.materialise(*region);
            given = *region;
        }
        const auto turn = co_await other->turn(access.request);
        co_await other->memory.adopt(to, given);
        co_return given.id;
    }

    static Answer<> take_away(Access access, ProcessRef process, std::uint32_t id) {
        const auto turn = co_await process->turn(access.request);
        const core::Region* const region = process->memory.by_id(id);
        if (!region) co_return done();
        const core::Range range{region->range.start,
                                std::max(region->range.length, core::page_size)};
        co_await process->memory.unmap(range);
        co_return done();
    }
};

}  // namespace

Directory& memory_directory() {
    static MemoryDirectory directory;
    return directory;
}

core::Task<core::Result<OpenFileRef>> open_region(Access access, core::ProcessRef process,
                                                  std::uint32_t id, OpenFlags flags) {
    const bool is_embryo = process->state() == core::Process::State::embryo;
    std::optional<core::Process::Turn> turn;
    if (is_embryo) turn.emplace(co_await process->turn(access.request));
    core::Region* const region = process->memory.by_id(id);
    if (!region) co_return fail(std::errc::no_such_file_or_directory, "the region has gone");
    const bool may =
        (!flags.read || region->protection.read) && (!flags.write || region->protection.write);
    if (!may && !access.request.who.is_master())
        co_return fail(std::errc::permission_denied, "the region at {:x} is {}",
                       region->range.start.value, region->protection.text());
    const bool is_kernels = region->kind == core::Region::Kind::kernel;
    if (is_kernels && flags.write)
        co_return fail(std::errc::permission_denied, "the vdso can only be read");
    if (!is_embryo && flags.truncate)
        co_return fail(std::errc::operation_not_permitted, "process {} was started", process->id());
    // A shared file stays what it is: it is served through the child's own mapping. What is sealed
    // can be read as it is.
    const bool is_changed = flags.write || flags.truncate || !region->is_sealed;
    if (is_embryo && !is_kernels && !region->shared && is_changed)
        co_await process->memory.materialise(*region);
    // Another file by now: that makes the kernel look the name up again, and come back.
    if (region->id != id) co_return core::refused("open", ESTALE);
    if (flags.truncate) co_await process->memory.resize(*region, 0);
    co_return std::make_unique<RegionFile>(std::move(process), *region);
}

OpenFileRef restore_region_file(Access access, core::ProcessRef process, const core::Saved& saved) {
    auto object = core::restore_memory(*access.restoring, saved.at("object"), *process->body);
    return std::make_unique<RegionFile>(std::move(process), saved, std::move(object));
}

}  // namespace proc9::node
