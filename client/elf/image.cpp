#include "client/elf/image.hpp"

namespace proc9::elf {
namespace {

// Without a file where it is filled by hand, so it must be writable until then.
void map_filled(Plan& plan, Address at, const Segment& segment) {
    plan.tell("map {:#x} {:#x} rw-", at, page_size);
    plan.write(at, 0, segment.tail);
    if (segment.protection != "rw-")
        plan.tell("protect {:#x} {:#x} {}", at, page_size, segment.protection);
}

// What is all file, the page where the file's bytes end and zeros follow, and what is all zeros. Where no zeros follow,
// the last page has what else is in the file there, as after exec.
void map_segment(Plan& plan, const File& file, const Segment& segment, Address bias) {
    const bool is_zero_filled = segment.memory_size > segment.file_size;
    const Address start = page_floor(segment.start);
    const Address end = page_ceil(segment.end());
    Address at = is_zero_filled ? page_floor(segment.file_end()) : end;
    if (at > start)
        plan.tell("map {:#x} {:#x} {} file {} {:#x}", start + bias, at - start, segment.protection,
                  quote_word(file.path), page_floor(segment.offset));
    if (!segment.tail.empty()) {
        map_filled(plan, at + bias, segment);
        at += page_size;
    }
    if (at < end) plan.tell("map {:#x} {:#x} {}", at + bias, end - at, segment.protection);
}

}  // namespace

Address place(Layout& layout, const File& file, Range window) {
    if (file.is_movable)
        return layout.choose(window, file.span(), file.alignment, file.path) - file.start();
    layout.take_free({file.start(), file.start() + file.span()}, file.path);
    return 0;
}

void map_image(Plan& plan, const File& file, Address bias) {
    for (const auto& segment : file.segments) map_segment(plan, file, segment, bias);
}

}  // namespace proc9::elf
