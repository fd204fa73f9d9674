// An ELF file that `p9 load` is given: it is refused, or everything in the plan is inside the address space, nothing
// overlaps, and each line is one that a ctl understands.
#include <sys/mman.h>
#include <unistd.h>

#include "client/elf/image.hpp"
#include "client/elf/refused.hpp"
#include "client/elf/stack.hpp"
#include "fs/ctl/match.hpp"
#include "tests/fuzz/fixture.hpp"

using namespace proc9;
using fuzz::require;

namespace {

int memory_with(const std::uint8_t* data, std::size_t size) {
    static const int file = ::memfd_create("elf", MFD_CLOEXEC);
    require(::ftruncate(file, 0) == 0 &&
                ::pwrite(file, data, size, 0) == static_cast<ssize_t>(size),
            "the file can be written");
    return file;
}

void check_file(const elf::File& file, std::size_t size) {
    std::uint64_t end = 0;
    for (const auto& segment : file.segments) {
        require(elf::page_floor(segment.start) >= end, "segments do not share a page");
        require(segment.memory_size > 0 && segment.file_size <= segment.memory_size, "sizes");
        require(segment.file_size == 0 || segment.offset + segment.file_size <= size,
                "it is in the file");
        require(segment.tail.size() < elf::page_size, "a tail is less than a page");
        end = elf::page_ceil(segment.end());
        require(end <= elf::address_space_end, "a segment is in the address space");
    }
}

void check_plan(const elf::Plan& plan) {
    for (const auto& step : plan.steps()) {
        if (step.line.empty()) continue;
        const auto words = core::split_words(step.line);
        require(words && ctl::match_words(*words), "a line of the plan is understood");
        const auto address = core::parse_address(words->at(1));
        const auto length = core::parse_size(words->at(2));
        require(address && length && core::checked_range(*address, *length),
                "it maps what can be mapped");
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    try {
        const elf::File file = elf::read_file(memory_with(data, size), "a \"file\"");
        check_file(file, size);
        elf::Layout layout;
        elf::Plan plan;
        elf::map_image(plan, file, elf::place(layout, file, elf::window::programs));
        check_plan(plan);
        const auto stack =
            elf::build_stack(elf::address_space_end, 1U << 20U,
                             {{file.interpreter, file.path}, {"A=1"}, {{3, file.headers}}});
        require(stack.pointer % 16 == 0 &&
                    stack.pointer + stack.bytes.size() == elf::address_space_end,
                "the stack ends where it should");
    } catch (const elf::Refused&) {
        return 0;
    }
    return 0;
}
