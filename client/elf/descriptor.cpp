#include "client/elf/descriptor.hpp"

#include <fcntl.h>

#include <array>

#include "client/elf/refused.hpp"

namespace proc9::elf {

std::string read_all(const Descriptor& file, const std::string& name) {
    std::string text;
    std::array<char, 65536> piece{};
    for (;;) {
        const auto count = ::read(file.get(), piece.data(), piece.size());
        if (count < 0) refuse_by_errno(name);
        if (count == 0) return text;
        text.append(piece.data(), static_cast<std::size_t>(count));
    }
}

std::string read_path(const std::string& path) {
    const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (file.get() < 0) refuse_by_errno(path);
    return read_all(file, path);
}

}  // namespace proc9::elf
