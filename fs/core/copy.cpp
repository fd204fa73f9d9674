#include "fs/core/copy.hpp"

#include <algorithm>

#include "fs/core/shortage.hpp"

namespace proc9::core {
namespace {

constexpr Protection read_write{true, true, false};

Range common(Range a, Range b) {
    const Address start = std::max(a.start, b.start);
    const Address end = std::min(a.end(), b.end());
    return {start, start < end ? end - start : 0};
}

const MappedLine* line_at(const std::vector<MappedLine>& lines, Address at) {
    for (const auto& line : lines) {
        if (line.range.contains({at, 1})) return &line;
    }
    return nullptr;
}

Region slice_of(const Region& region, Range part) {
    Region slice = region;
    slice.offset += part.start - region.range.start;
    slice.is_part = region.is_part || part != region.range;
    slice.range = part;
    return slice;
}

// Else it would be so with another path.
bool is_of_the_file(std::errc code) {
    return code != std::errc::file_exists && code != std::errc::no_such_process &&
           !is_shortage(code);
}

class Copy {
public:
    Copy(AddressSpace& memory, Embryo& embryo, Source& source, std::uint64_t shift)
        : memory_(memory), embryo_(embryo), source_(source), shift_(shift) {}

    Task<Result<>> piece(const Piece& piece) {
        if (piece.line.is_kernels()) co_return co_await kernels(piece).result();
        if (piece.region && (piece.region->shared || piece.region->is_sealed)) {
            co_await memory_.adopt(target(piece), *piece.region);
            co_return done();
        }
        const bool has_file = !piece.line.file.empty() && !piece.region;
        if (has_file && co_await file(piece)) co_return done();
        if (piece.line.shared)
            co_return fail(std::errc::permission_denied, "the shared {} at {:x} cannot be opened",
                           piece.line.name, piece.range.start.value);
        auto pages = co_await pages_of(piece);
        if (has_file) pages.assign(1, piece.range);
        co_return co_await contents(piece, std::move(pages), has_file).result();
    }

    Task<Result<>> undo() {
        for (const Address start : made_) {
            const Region* const region = memory_.at(start);
            if (region) (void)co_await memory_.unmap(region->range).result();
        }
        co_return done();
    }

private:
    Address target(const Piece& piece) {
        const Address at = piece.range.start + shift_;
        made_.push_back(at);
        return at;
    }

    // The kernel maps its pages together, where the first of them is.
    Task<Result<>> kernels(const Piece& piece) {
        const bool is_first = !std::exchange(has_kernels_, true);
        if (is_first) co_await memory_.map_vdso(target(piece));
        co_return done();
    }

    Result<std::vector<Range>> pages_of(const Piece& piece) {
        if (!piece.region) return source_.own_pages(piece.range);
        std::vector<Range> pages;
        const Region& region = *piece.region;
        for (const auto& extent : region.object->extents(region.offset, region.range.length)) {
            const Range found{piece.range.start + (extent.offset - region.offset),
                              page_ceil(extent.length)};
            pages.push_back(common(found, piece.range));
        }
        return pages;
    }

    // False: the file cannot be had. What is there then must be the same file, whatever the path.
    Task<Result<bool>> file(const Piece& piece) {
        for (auto& path : source_.paths_of(piece.line)) {
            Mapping mapping;
            mapping.at = piece.range.start + shift_;
            mapping.length = piece.range.length;
            mapping.protection = piece.line.protection;
            mapping.shared = piece.line.shared;
            mapping.source = Mapping::File{
                std::move(path), piece.line.offset + (piece.range.start - piece.line.range.start)};
            const auto mapped = co_await memory_.map(std::move(mapping)).result();
            if (!mapped && !is_of_the_file(mapped.error().code)) co_return mapped.error();
            if (!mapped) continue;
            const Range here = (*mapped)->range;
            made_.push_back(here.start);
            const auto lines = co_await embryo_.maps();
            const MappedLine* const line = line_at(lines, here.start);
            if (line && line->file == piece.line.file) {
                if (!piece.line.shared) co_await overlay(piece, here);
                co_return true;
            }
            co_await memory_.unmap(here);
            made_.pop_back();
        }
        co_return false;
    }

    // The pages that the process has written to since.
    Task<Result<>> overlay(const Piece& piece, Range here) {
        Load load;
        load.pieces = co_await source_.own_pages(piece.range);
        if (load.pieces.empty()) co_return done();
        load.source = source_.memory();
        load.origin = piece.range.start;
        load.to = here.start;
        co_await embryo_.protect(here, read_write);
        auto loaded = co_await embryo_.load(std::move(load)).result();
        co_await embryo_.protect(here, piece.line.protection);
        co_return loaded;
    }

    Task<Result<>> contents(const Piece& piece, std::vector<Range> pages, bool may_be_short) {
        if (pages.empty()) {
            Mapping empty;
            empty.at = target(piece);
            empty.length = piece.range.length;
            empty.protection = piece.line.protection;
            co_await memory_.map(std::move(empty));
            co_return done();
        }
        Region region;
        region.range = piece.range;
        region.protection = piece.line.protection;
        region.object = co_await embryo_.make_memory();
        co_await region.object->resize(piece.range.length);
        co_await region.object->set_mode(region.mode());
        region.published_mode = region.mode();
        Load load;
        load.source = source_.memory();
        load.pieces = std::move(pages);
        load.origin = piece.range.start;
        load.object = region.object;
        load.may_be_short = may_be_short;
        co_await embryo_.load(std::move(load));
        co_await memory_.adopt(target(piece), region);
        co_return done();
    }

    AddressSpace& memory_;
    Embryo& embryo_;
    Source& source_;
    std::uint64_t shift_;
    bool has_kernels_ = false;
    std::vector<Address> made_;
};

}  // namespace

Result<std::vector<Piece>> pieces_of(const std::vector<MappedLine>& lines, AddressSpace* memory,
                                     Range wanted) {
    std::vector<Piece> pieces;
    for (const auto& line : lines) {
        const Range part = common(line.range, wanted);
        if (part.length == 0 || line.name == "[vsyscall]") continue;
        Address at = part.start;
        // The regions with objects in it, and what is between them.
        const auto plain_up_to = [&](Address end) {
            if (at < end) pieces.push_back({{at, end - at}, line, std::nullopt});
        };
        if (memory) {
            const auto& regions = memory->regions();
            auto found = regions.upper_bound(part.start.value);
            if (found != regions.begin()) --found;
            for (; found != regions.end() && found->first < part.end().value; ++found) {
                const Region& region = found->second;
                const Range known = common(region.range, part);
                if (!region.object || known.length == 0 || region.shared != line.shared) continue;
                plain_up_to(known.start);
                pieces.push_back({known, line, slice_of(region, known)});
                at = known.end();
            }
        }
        plain_up_to(part.end());
    }
    if (pieces.empty())
        return fail(std::errc::not_enough_memory, "nothing is mapped in {:x}-{:x}",
                    wanted.start.value, wanted.end().value);
    return pieces;
}

Task<Result<>> copy(AddressSpace& memory, Embryo& embryo, Source& source, std::vector<Piece> pieces,
                    std::uint64_t shift) {
    for (const auto& piece : pieces) {
        if (piece.line.is_kernels()) continue;
        co_await checked_range(piece.range.start + shift, piece.range.length);
        co_await memory.check_free({piece.range.start + shift, piece.range.length});
    }
    Copy work(memory, embryo, source, shift);
    for (const auto& piece : pieces) {
        if (auto copied = co_await work.piece(piece).result(); !copied) {
            co_await work.undo();
            co_return copied;
        }
    }
    co_return done();
}

}  // namespace proc9::core
