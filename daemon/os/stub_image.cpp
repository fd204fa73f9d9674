#include "daemon/os/stub_image.hpp"

#include <elf.h>

extern "C" {
extern const char proc9_stub_begin[];
extern const char proc9_stub_end[];
}

namespace proc9::os {
namespace {

template <class T>
T at(std::string_view bytes, std::size_t offset) {
    T value{};
    bytes.copy(reinterpret_cast<char*>(&value), sizeof value, offset);  // NOLINT
    return value;
}

}  // namespace

std::string_view stub_program() {
    return {proc9_stub_begin, static_cast<std::size_t>(proc9_stub_end - proc9_stub_begin)};
}

std::string_view stub_code() {
    const auto program = stub_program();
    const auto header = at<Elf64_Ehdr>(program, 0);
    for (std::size_t i = 0; i < header.e_phnum; ++i) {
        const auto segment = at<Elf64_Phdr>(program, header.e_phoff + i * sizeof(Elf64_Phdr));
        if (segment.p_type == PT_LOAD && (segment.p_flags & PF_X) != 0)
            return program.substr(segment.p_offset, segment.p_filesz);
    }
    return {};
}

}  // namespace proc9::os
