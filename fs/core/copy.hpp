// Mappings of one process copied into an embryo: files are mapped from their file, shared memory is
// shared, sealed memory is the same until somebody writes. Only pages that are a process's own and
// nobody's object are read, one by one.
#pragma once

#include "fs/core/address_space.hpp"

namespace proc9::core {

// A mapping, or a part of one.
struct Piece {
    Range range;                   // in the source
    MappedLine line;               // the whole, as the kernel tells it
    std::optional<Region> region;  // with the object behind it, where there is one
};

// What the source has there. `memory`: what is known of it besides, if it was made here.
Result<std::vector<Piece>> pieces_of(const std::vector<MappedLine>& lines, AddressSpace* memory,
                                     Range wanted);

// All of them or none, each `shift` further on. EEXIST if something is in the way.
Task<Result<>> copy(AddressSpace& memory, Embryo& embryo, Source& source, std::vector<Piece> pieces,
                    std::uint64_t shift);

}  // namespace proc9::core
