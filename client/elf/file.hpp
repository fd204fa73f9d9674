// An ELF file as one who maps it needs it: read once, and checked, so that nobody after this doubts
// a number in it.
//
//     const File program = read_file(descriptor, "/bin/true");   // or throws Refused
//
// Addresses are as linked; those of a movable file are relative to where it will be. All ranges lie
// within the address space, no two segments touch the same page, and every byte that a segment takes
// from the file is there.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "machine.h"

namespace proc9::elf {

using Address = std::uint64_t;

constexpr std::uint64_t page_size = 4096;
constexpr Address address_space_end = MACHINE_ADDRESSES_END;

constexpr std::uint64_t page_floor(std::uint64_t value) { return value & ~(page_size - 1); }
constexpr std::uint64_t page_ceil(std::uint64_t value) { return page_floor(value + page_size - 1); }

struct Segment {
    Address start = 0;
    std::uint64_t memory_size = 0;  // never 0
    std::uint64_t file_size = 0;    // what is beyond it is zero
    std::uint64_t offset = 0;       // of the start, in the file
    std::string protection = {};    // as "r-x"
    // Where zeros follow in the same page: that page's bytes as the file has them, up to them.
    std::string tail = {};

    [[nodiscard]] Address end() const { return start + memory_size; }
    [[nodiscard]] Address file_end() const { return start + file_size; }
};

struct File {
    std::string path;
    bool is_movable = false;
    Address entry = 0;
    Address headers = 0;  // where the program headers are in memory; 0: nowhere
    std::uint64_t header_count = 0;
    std::uint64_t header_size = 0;
    std::uint64_t alignment = page_size;  // of the place of a movable file
    bool has_executable_stack = false;
    std::string interpreter;  // empty: none
    std::vector<Segment> segments;

    [[nodiscard]] Address start() const { return page_floor(segments.front().start); }
    [[nodiscard]] std::uint64_t span() const { return page_ceil(segments.back().end()) - start(); }
};

// `path` is for errors, and for those who will map the file.
File read_file(int descriptor, const std::string& path);

}  // namespace proc9::elf
