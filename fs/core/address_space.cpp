#include "fs/core/address_space.hpp"

#include <algorithm>
#include <utility>
#include <vector>

#include "fs/core/shortage.hpp"

namespace proc9::core {
namespace {

constexpr std::uint32_t mode_of_region = 01700;

// A file that is still empty holds its place with one page.
Range place_of(const Region& region) {
    return {region.range.start, std::max(region.range.length, page_size)};
}

Region::Kind kind_of(const Mapping& mapping) {
    return std::holds_alternative<Mapping::File>(mapping.source) ? Region::Kind::file
                                                                 : Region::Kind::anonymous;
}

Mapping mapping_of(const Region& region) {
    Mapping mapping;
    mapping.at = region.range.start;
    mapping.length = region.range.length;
    mapping.protection = region.protection;
    mapping.shared = region.shared;
    mapping.replace = true;
    mapping.source = Mapping::Object{region.object, region.offset};
    return mapping;
}

}  // namespace

void AddressSpace::look() {
    if (!has_more_ || embryos_.empty()) return;
    const auto lines = embryo().maps();
    if (!lines) return;  // who asks next will see them
    has_more_ = false;
    for (const auto& line : *lines) {
        Region region;
        region.range = line.range;
        region.protection = line.protection;
        region.shared = line.shared;
        region.kind = line.is_kernels() ? Region::Kind::kernel : Region::Kind::found;
        insert(std::move(region));
    }
}

Region* AddressSpace::at(Address start) {
    look();
    const auto found = regions_.find(start.value);
    return found == regions_.end() ? nullptr : &found->second;
}

Region* AddressSpace::by_id(std::uint32_t id) {
    look();
    const auto found = std::find_if(regions_.begin(), regions_.end(),
                                    [id](const auto& item) { return item.second.id == id; });
    return found == regions_.end() ? nullptr : &found->second;
}

Result<> AddressSpace::check_open() {
    look();
    if (!is_running_) return {};
    return fail(std::errc::operation_not_permitted, "a process that was started has this memory");
}

Result<> AddressSpace::check_free(Range range) const {
    auto found = regions_.upper_bound(range.start.value);
    if (found != regions_.begin()) --found;
    for (; found != regions_.end() && found->first < range.end().value; ++found) {
        const Range place = place_of(found->second);
        if (place.overlaps(range))
            return fail(std::errc::file_exists, "a region at {:x}-{:x} is in the way", found->first,
                        place.end().value);
    }
    return {};
}

Region& AddressSpace::insert(Region region) {
    region.id = ++last_id_;
    const auto start = region.range.start.value;
    return regions_.insert_or_assign(start, std::move(region)).first->second;
}

Task<Result<Region*>> AddressSpace::map(Mapping mapping) {
    co_await check_open();
    if (mapping.at && mapping.length != 0)
        co_await check_free({*mapping.at, page_ceil(mapping.length)});
    Region region;
    region.kind = kind_of(mapping);
    region.shared = mapping.shared;
    const bool protection_is_the_files = !mapping.protection && region.kind == Region::Kind::file;
    if (!mapping.protection && !protection_is_the_files) mapping.protection = Protection{};
    region.protection = mapping.protection.value_or(Protection{});
    const bool wants_object = mapping.shared && region.kind == Region::Kind::anonymous;
    if (auto* given = std::get_if<Mapping::Object>(&mapping.source)) {
        region.object = given->memory;
        region.offset = given->offset;
    } else if (wants_object) {
        region.object = co_await embryo().make_memory();
        co_await region.object->resize(mapping.length);
        co_await publish_mode(region);
        mapping.source = Mapping::Object{region.object, 0};
    }
    region.range = co_await embryo().map(std::move(mapping));
    if (protection_is_the_files) {
        const auto lines = embryo().maps();
        if (!lines) {
            co_await embryo().unmap(region.range);
            co_return lines.error();
        }
        for (const auto& line : *lines) {
            if (line.range.contains(region.range)) region.protection = line.protection;
        }
    }
    if (regions_.contains(
            region.range.start.value)) {  // the kernel chose the place of an empty file
        co_await embryo().unmap(region.range);
        co_return fail(std::errc::file_exists, "an empty region begins at {:x}",
                       region.range.start.value);
    }
    co_return &insert(std::move(region));
}

Task<Result<Region*>> AddressSpace::map_vdso(std::optional<Address> at) {
    co_await check_open();
    Region* first = nullptr;
    const auto lines = co_await embryo().map_vdso(at);
    for (const auto& line : lines) {
        Region region;
        region.range = line.range;
        region.kind = Region::Kind::kernel;
        region.protection = {true, false, line.name == "[vdso]"};
        Region& added = insert(std::move(region));
        if (!first) first = &added;
    }
    if (!first) co_return fail(std::errc::not_supported, "this kernel has no vdso");
    co_return first;
}

Task<Result<Region*>> AddressSpace::create(Address at, std::uint32_t mode) {
    co_await check_open();
    co_await check_free({at, page_size});
    Region region;
    region.range = {at, 0};
    region.protection = Protection::of_bits((mode >> 6U) & 7U);
    region.shared = (mode & 01000U) != 0;
    region.object = co_await embryo().make_memory();
    co_await publish_mode(region);
    co_return &insert(std::move(region));
}

Task<Result<Region*>> AddressSpace::adopt(Address at, const Region& other) {
    co_await check_open();
    if (!other.object) co_return fail(std::errc::no_such_file_or_directory, "the region has gone");
    co_await check_free({at, std::max(other.range.length, page_size)});
    Region region = other;
    region.range.start = at;
    if (region.range.length != 0) {
        Mapping mapping = mapping_of(region);
        mapping.replace = false;
        co_await embryo().map(std::move(mapping));
    }
    co_return &insert(std::move(region));
}

// Makes `at` a border between regions.
Task<Result<>> AddressSpace::split(Address at) {
    auto found = regions_.upper_bound(at.value);
    if (found == regions_.begin()) co_return done();
    Region& front = (--found)->second;
    if (front.range.start == at || front.range.end() <= at) co_return done();
    if (front.kind == Region::Kind::kernel)
        co_return fail(std::errc::invalid_argument, "the vdso cannot be cut");
    const bool is_cut = has_own_object(front);
    const std::uint64_t length = at - front.range.start;
    Region back = front;
    back.range = {at, front.range.length - length};
    back.offset += length;
    if (is_cut) co_await copy_object(back);
    if (front.is_sealed && !front.is_part) front.id = ++last_id_;  // the whole is another file
    front.is_part = front.is_part || (front.object && !is_cut);
    front.range.length = length;
    insert(std::move(back));
    if (is_cut) co_await front.object->resize(front.offset + length);
    co_return done();
}

// No border there after all, if it is one only in our list.
void AddressSpace::join(Address at) {
    const auto back = regions_.find(at.value);
    if (back == regions_.end() || back == regions_.begin()) return;
    Region& front = std::prev(back)->second;
    const Region& other = back->second;
    const bool is_one = front.range.end() == at && !front.object && !other.object &&
                        front.kind == other.kind && front.shared == other.shared &&
                        front.protection == other.protection &&
                        front.offset + front.range.length == other.offset;
    if (!is_one) return;
    front.range.length += other.range.length;
    regions_.erase(back);
}

// The object's mode becomes the region's. Not when only one of those who have it is protected: the
// mode is everybody's.
Result<> AddressSpace::publish_mode(Region& region) {
    TRY(region.object->set_mode(region.mode()));
    region.published_mode = region.mode();
    return {};
}

Task<Result<>> AddressSpace::remap(Region& region) {
    if (region.range.length == 0) co_return done();
    Mapping mapping = mapping_of(region);
    co_await embryo().map(std::move(mapping));
    co_return done();
}

// Gives the region an object of its own with what the child sees there now.
Task<Result<>> AddressSpace::copy_object(Region& region) {
    Region copy = region;
    copy.object = co_await embryo().make_memory();
    copy.offset = 0;
    copy.is_sealed = false;
    copy.is_part = false;
    const auto size = region.object ? region.file_size() : region.range.length;
    co_await copy.object->resize(size);
    co_await publish_mode(copy);
    co_await save(region, copy.object);
    // Who has the old one open keeps that: this is another file now.
    if (region.object && region.object->handles > 0) copy.id = ++last_id_;
    co_await remap(copy);
    region = std::move(copy);
    co_return done();
}

// Writes what the child sees in the region to a memory object.
Task<Result<>> AddressSpace::save(const Region& region, MemoryRef to) {
    const bool is_zero = !region.object && region.kind == Region::Kind::anonymous;
    if (is_zero || region.range.length == 0) co_return done();
    const Protection before = region.protection;
    if (!before.read) co_await embryo().protect(region.range, {true, false, false});
    auto saved = co_await save_readable(region, std::move(to)).result();
    if (!before.read) co_await embryo().protect(region.range, before);
    co_return saved;
}

Task<Result<>> AddressSpace::save_readable(const Region& region, MemoryRef to) {
    if (!region.object) {
        co_await embryo().save(region.range, std::move(to), 0);
        co_return done();
    }
    // Holes stay holes.
    for (const auto& extent : region.object->extents(region.offset, region.range.length)) {
        const std::uint64_t offset = extent.offset - region.offset;
        co_await embryo().save({region.range.start + offset, extent.length}, to, offset);
    }
    co_return done();
}

Task<Result<>> AddressSpace::materialise(Region& region) {
    if (region.object && !region.is_sealed) co_return done();
    if (region.kind == Region::Kind::kernel || region.shared)
        co_return fail(std::errc::not_supported,
                       "the region at {:x} is the kernel's or a shared file",
                       region.range.start.value);
    co_await copy_object(region);
    region.kind = Region::Kind::anonymous;
    co_return done();
}

Task<Result<>> AddressSpace::share(Region& region) {
    if (region.shared) co_return done();
    co_await materialise(region);
    region.shared = true;
    auto outcome = publish_mode(region);
    if (outcome) outcome = co_await remap(region).result();
    if (outcome) co_return done();
    region.shared = false;
    (void)publish_mode(region);
    co_return outcome;
}

Task<Result<>> AddressSpace::unmap(Range range) {
    co_await check_open();
    co_await split(range.start);
    co_await split(range.end());
    auto unmapped = co_await embryo().unmap(range).result();
    if (!unmapped) join_at_ends(range);
    co_await std::move(unmapped);
    std::erase_if(regions_,
                  [&](const auto& item) { return range.overlaps(place_of(item.second)); });
    co_return done();
}

Task<Result<>> AddressSpace::protect(Range range, Protection protection) {
    co_await check_open();
    std::uint64_t covered = 0;
    for (const auto& [start, region] : regions_) {
        if (!region.range.overlaps(range)) continue;
        covered +=
            std::min(region.range.end(), range.end()) - std::max(region.range.start, range.start);
    }
    if (covered != range.length)
        co_return fail(std::errc::not_enough_memory, "not all of {:x}-{:x} is mapped",
                       range.start.value, range.end().value);
    co_await split(range.start);
    co_await split(range.end());
    for (auto& [start, region] : regions_) {
        if (!range.contains(region.range) || region.range.length == 0) continue;
        auto changed = co_await set_protection(region, protection).result();
        if (!changed) join_at_ends(range);
        co_await std::move(changed);
    }
    co_return done();
}

// The mode of the object first: that can be put back. Somebody else may have set it already.
Task<Result<>> AddressSpace::set_protection(Region& region, Protection wanted) {
    const Protection before = std::exchange(region.protection, wanted);
    const bool is_known =
        !has_own_object(region) || (region.object->mode() & mode_of_region) == region.mode();
    auto outcome = is_known ? done() : publish_mode(region);
    if (outcome && region.range.length != 0)
        outcome = co_await embryo().protect(region.range, wanted).result();
    if (outcome) co_return done();
    region.protection = before;
    if (has_own_object(region)) (void)publish_mode(region);
    co_return outcome;
}

Task<Result<>> AddressSpace::move(Address from, Address to) {
    co_await check_open();
    Region* region = at(from);
    if (!region)
        co_return fail(std::errc::no_such_file_or_directory, "no region begins at {:x}",
                       from.value);
    const Range target = co_await checked_range(to, std::max(region->range.length, page_size));
    if (region->range.overlaps(target))
        co_return fail(std::errc::invalid_argument, "the new place overlaps the old one");
    co_await check_free(target);
    if (region->range.length != 0) co_await embryo().move(region->range, to);
    auto moved = regions_.extract(from.value);
    moved.key() = to.value;
    moved.mapped().range.start = to;
    regions_.insert(std::move(moved));
    co_return done();
}

Task<Result<>> AddressSpace::resize(Region& region, std::uint64_t size) {
    co_await check_open();
    co_await materialise(region);
    if (region.offset != 0 || region.is_part)
        co_return fail(std::errc::invalid_argument, "a part of a shared region has a fixed length");
    const auto before = region.object->size();
    if (size < before) {
        co_await fit(region, size);
        co_return region.object->resize(size);
    }
    co_await region.object->resize(size);
    if (auto fitted = co_await fit(region, size).result(); !fitted) {
        co_await region.object->resize(before);
        co_return std::move(fitted).error();
    }
    co_return done();
}

// Makes the mapping as long as the object is, or will be. On EEXIST nothing is changed.
Task<Result<>> AddressSpace::fit(Region& region, std::uint64_t size) {
    const Range old = region.range;
    const Range target = size == 0 ? Range{old.start, 0} : co_await checked_range(old.start, size);
    if (target.length < old.length) {
        co_await embryo().unmap({target.end(), old.length - target.length});
    } else if (target.length > old.length) {
        const Range grown{old.end(), target.length - old.length};
        for (const auto& [start, other] : regions_) {
            if (&other != &region && place_of(other).overlaps(grown))
                co_return fail(std::errc::file_exists, "the region at {:x} reaches the one at {:x}",
                               old.start.value, start);
        }
        Mapping mapping = mapping_of(region);
        mapping.at = grown.start;
        mapping.length = grown.length;
        mapping.replace = false;
        mapping.source = Mapping::Object{region.object, region.offset + old.length};
        co_await embryo().map(std::move(mapping));
    }
    region.range = target;
    co_return done();
}

// How long a region can get before it reaches the next one.
std::uint64_t AddressSpace::room_of(const Region& region) const {
    const auto next = regions_.upper_bound(region.range.start.value);
    const auto end = next == regions_.end() ? address_space_end : next->first;
    return end - region.range.start.value;
}

Task<Result<>> AddressSpace::follow_mode(Region& region, std::uint32_t mode) {
    const auto wanted = Protection::of_bits((mode >> 6U) & 7U);
    if (wanted != region.protection) co_await set_protection(region, wanted);
    if ((mode & 01000U) != 0) co_await share(region);
    co_return done();
}

Task<Result<>> AddressSpace::set_mode(Region& region, std::uint32_t mode) {
    co_await check_open();
    if (region.kind == Region::Kind::kernel)
        co_return fail(std::errc::operation_not_permitted, "the vdso is the kernel's");
    co_await follow_mode(region, mode);
    const bool is_known = region.published_mode == region.mode();
    if (has_own_object(region) && !is_known) co_await publish_mode(region);
    co_return done();
}

Task<Result<>> AddressSpace::settle() {
    Result<> outcome;
    if (is_running_) co_return outcome;
    for (auto& [start, region] : regions_) {
        if (!region.object || region.offset != 0 || region.is_part || region.is_sealed) continue;
        if (const auto size = region.object->size(); page_ceil(size) != region.range.length) {
            if (auto fitted = co_await fit(region, size).result(); !fitted) {
                outcome = std::move(fitted).error();
                if (outcome.error().code != std::errc::file_exists) continue;
                co_await region.object->resize(room_of(region));
                co_await fit(region, region.object->size());
            }
        }
        const auto mode = region.object->mode();
        if ((mode & mode_of_region) != region.published_mode) {
            auto followed = co_await follow_mode(region, mode).result();
            const bool is_for_later = !followed && is_shortage(followed.error().code);
            if (!followed) outcome = std::move(followed).error();
            if (is_for_later) (void)region.object->set_mode(mode);  // as it was asked for
            if (!is_for_later) co_await publish_mode(region);
        }
    }
    co_return outcome;
}

void AddressSpace::seal() {
    for (auto& [start, region] : regions_) {
        if (has_own_object(region) && region.range.length != 0)
            region.is_sealed = region.object->handles == 0 && region.object->seal();
    }
}

Task<Result<>> AddressSpace::isolate() {
    seal();
    for (auto& [start, region] : regions_) {
        if (has_own_object(region) && region.range.length != 0) co_await copy_object(region);
    }
    co_return done();
}

Task<Result<>> AddressSpace::inherit(const AddressSpace& original) {
    has_more_ = original.has_more_;
    for (const auto& [start, region] : original.regions_) insert(region);
    for (auto& [start, region] : regions_) {
        if (has_own_object(region)) co_await copy_object(region);
    }
    co_return done();
}

void AddressSpace::started(const Embryo& embryo, bool keeps_memory) {
    leave(embryo);
    has_more_ = false;
    is_running_ |= keeps_memory;
    if (!keeps_memory && !embryos_.empty()) return;
    std::erase_if(regions_, [&](const auto& item) {
        return !keeps_memory || !item.second.shared || !item.second.object;
    });
}

Saved AddressSpace::save(Saving& saving) const {
    Saved regions = Saved::array();
    for (const auto& [start, region] : regions_)
        regions.push_back({{"id", region.id},
                           {"range", region.range},
                           {"protection", region.protection.bits()},
                           {"shared", region.shared},
                           {"kind", static_cast<int>(region.kind)},
                           {"is_part", region.is_part},
                           {"is_sealed", region.is_sealed},
                           {"object", core::save(saving, region.object)},
                           {"offset", region.offset},
                           {"published_mode", region.published_mode}});
    return {{"regions", regions},
            {"is_running", is_running_},
            {"has_more", has_more_},
            {"last_id", last_id_}};
}

void AddressSpace::restore(const Saved& saved, Restoring& restoring, Embryo& owner) {
    saved.at("is_running").get_to(is_running_);
    saved.at("has_more").get_to(has_more_);
    saved.at("last_id").get_to(last_id_);
    for (const Saved& one : saved.at("regions")) {
        Region region;
        one.at("id").get_to(region.id);
        one.at("range").get_to(region.range);
        region.protection = Protection::of_bits(one.at("protection"));
        one.at("shared").get_to(region.shared);
        region.kind = static_cast<Region::Kind>(one.at("kind").get<int>());
        one.at("is_part").get_to(region.is_part);
        one.at("is_sealed").get_to(region.is_sealed);
        region.object = restore_memory(restoring, one.at("object"), owner);
        one.at("offset").get_to(region.offset);
        one.at("published_mode").get_to(region.published_mode);
        regions_.emplace(region.range.start.value, std::move(region));
    }
}

}  // namespace proc9::core
