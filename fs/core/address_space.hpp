// The regions of an embryo: what is mapped is asked of the kernel, this keeps what it cannot say,
// namely which memory object stands behind a region and who else may see it.
//
// A region that nobody opened is plain anonymous or file memory. Opened as a file, it moves into a
// memory object of its own, mapped MAP_PRIVATE: an embryo runs no code, so it never stores, and what
// is written to the object is what it sees; after start its first store to a page copies that page.
// A shared region is the same object mapped MAP_SHARED.
//
// The object's size and mode bits are the region's length and protection; whoever has it open may
// change them there, and settle() brings the mapping after them. Every verb must run in the turn
// of its process.
#pragma once

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "fs/core/host.hpp"
#include "fs/core/saved.hpp"

namespace proc9::core {

struct Region {
    enum class Kind { anonymous, file, kernel, found };  // found: mapped and used by others before

    std::uint32_t id = 0;  // never used again in this process
    Range range;           // length 0: a file just created
    Protection protection;
    bool shared = false;
    Kind kind = Kind::anonymous;
    bool is_part = false;              // of an object that was cut here: its length is fixed
    bool is_sealed = false;            // the object is, and others may have it: changed in a copy
    MemoryRef object;                  // none: not needed yet
    std::uint64_t offset = 0;          // of the range in the object
    std::uint32_t published_mode = 0;  // of the object, as this region last saw or set it

    [[nodiscard]] std::uint64_t file_size() const {
        return has_whole_object() ? object->size() : range.length;
    }
    [[nodiscard]] std::uint64_t allocated() const {
        if (has_whole_object()) return object->allocated();
        return object || kind != Kind::anonymous ? range.length : 0;
    }
    [[nodiscard]] std::optional<Memory::Times> times() const {
        return object ? std::optional(object->times()) : std::nullopt;
    }
    // The object as a file is the region as a file.
    [[nodiscard]] bool has_whole_object() const {
        return object && offset == 0 && !(is_sealed && is_part);
    }
    [[nodiscard]] std::uint32_t mode() const {
        return (protection.bits() << 6U) | (shared ? 01000U : 0U);
    }
};

class AddressSpace {
public:
    AddressSpace() = default;  // until somebody joins
    explicit AddressSpace(Embryo& embryo) : embryos_{&embryo} {}

    // It has an embryo, or several. One that was started, or has gone, leaves it to the others.
    void join(Embryo& embryo) { embryos_.push_back(&embryo); }
    void leave(const Embryo& embryo) { std::erase(embryos_, &embryo); }
    [[nodiscard]] bool has(const Embryo& embryo) const {
        return std::find(embryos_.begin(), embryos_.end(), &embryo) != embryos_.end();
    }
    // The last one stays: a verb that is under way asks it, and hears that it is gone.
    void died(const Embryo& embryo) {
        if (embryos_.size() > 1) leave(embryo);
    }

    // An adopted process has mappings that nobody made here: they are looked for when somebody asks.
    void has_more() { has_more_ = true; }

    [[nodiscard]] const std::map<std::uint64_t, Region>& regions() {
        look();
        return regions_;
    }
    [[nodiscard]] Region* at(Address start);
    [[nodiscard]] Region* by_id(std::uint32_t id);

    [[nodiscard]] Result<> check_free(Range range) const;  // EEXIST

    // Each answers the region that begins where the mapping begins. EEXIST if something is there.
    Task<Result<Region*>> map(Mapping mapping);
    Task<Result<Region*>> map_vdso(std::optional<Address> at);
    Task<Result<Region*>> create(Address at, std::uint32_t mode);  // empty, grows when written
    Task<Result<Region*>> adopt(Address at, const Region& other);  // the same object, as `other` is

    Task<Result<>> unmap(Range range);
    Task<Result<>> protect(Range range, Protection protection);  // ENOMEM if not all is mapped
    Task<Result<>> move(Address from, Address to);
    Task<Result<>> resize(Region& region, std::uint64_t size);
    Task<Result<>> set_mode(Region& region, std::uint32_t mode);  // the sticky bit shares, for good
    Task<Result<>> share(Region& region);
    Task<Result<>> materialise(Region& region);  // gives it an object that can be changed

    // Brings the mappings after sizes and modes that were changed through open files. A region that
    // grew into its neighbour is cut there, and the error says so.
    Task<Result<>> settle();
    // No private region can be changed any more, but in a copy of its own; except those that somebody
    // has open.
    void seal();
    // Before the first instruction: no handle that is open can reach a private region any more.
    Task<Result<>> isolate();
    // Of an embryo that was forked from the one with these regions: the same objects where they are
    // sealed or shared, copies of the others.
    Task<Result<>> inherit(const AddressSpace& original);
    // An embryo was started in it, which leaves it: with `entry` to run there. Then only the shared
    // regions stay in view, and nothing can be changed any more. After exec nobody is there unless
    // others still have it.
    void started(const Embryo& embryo, bool keeps_memory);

    [[nodiscard]] Saved save(Saving& saving) const;
    void restore(const Saved& saved, Restoring& restoring, Embryo& owner);

private:
    [[nodiscard]] Embryo& embryo() const { return *embryos_.front(); }
    Result<> check_open();
    void look();
    Region& insert(Region region);
    Task<Result<>> split(Address at);
    void join(Address at);
    void join_at_ends(Range range) {
        join(range.start);
        join(range.end());
    }
    Task<Result<>> set_protection(Region& region, Protection wanted);
    Task<Result<>> copy_object(Region& region);
    Task<Result<>> save(const Region& region, MemoryRef to);
    Task<Result<>> save_readable(const Region& region, MemoryRef to);
    static Result<> publish_mode(Region& region);
    static bool has_own_object(const Region& region) {
        return region.object && !region.shared && !region.is_sealed;
    }
    Task<Result<>> remap(Region& region);
    Task<Result<>> fit(Region& region, std::uint64_t size);
    [[nodiscard]] std::uint64_t room_of(const Region& region) const;
    Task<Result<>> follow_mode(Region& region, std::uint32_t mode);

    std::vector<Embryo*> embryos_;
    bool is_running_ = false;
    bool has_more_ = false;
    std::map<std::uint64_t, Region> regions_;
    std::uint32_t last_id_ = 0;
};

}  // namespace proc9::core
