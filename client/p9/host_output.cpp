#include "client/p9/host_output.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "client/mount.h"
#include "client/p9/command.hpp"

namespace proc9::p9 {
namespace {

constexpr std::uint64_t room = 1ULL
                               << 44U;  // for each region to grow, which it cannot into another

bool write_all(int descriptor, const char* bytes, std::size_t length) {
    while (length > 0) {
        const ssize_t written = ::write(descriptor, bytes, length);
        if (written < 0 && errno != EINTR) return false;
        if (written < 0) continue;
        bytes += written;
        length -= static_cast<std::size_t>(written);
    }
    return true;
}

int make_region(const Ctl& embryo, std::uint64_t address) {
    const std::string name = fmt::format("{}/mem/{:x}", embryo.directory(), address);
    const int region = ::mount_open(name.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (region < 0) fail_to_open(name, errno);
    return region;
}

}  // namespace

HostOutput::HostOutput(const Ctl& program, const std::vector<int>& descriptors)
    : embryo_(Ctl::clone()) {
    for (const int descriptor : descriptors) {
        const std::uint64_t address = room * static_cast<std::uint64_t>(descriptor);
        streams_.push_back({descriptor, make_region(embryo_, address), 0});
        embryo_.tell(fmt::format("fd {} mem {:#x}\n", descriptor, address));
        program.tell(fmt::format("fd {0} {1}:{0}\n", descriptor, embryo_.directory()));
    }
}

HostOutput::~HostOutput() {
    for (const auto& stream : streams_) ::close(stream.region);
}

void HostOutput::copy() {
    for (auto& stream : streams_) copy(stream);
}

void HostOutput::copy(Stream& stream) {
    std::array<char, 65536> piece{};
    ssize_t length = 0;
    while ((length = ::pread(stream.region, piece.data(), piece.size(), stream.copied)) > 0) {
        stream.copied += length;
        // As a writer to a closed pipe: the program is ended with the connection.
        if (!write_all(stream.descriptor, piece.data(), static_cast<std::size_t>(length)))
            throw Problem(
                fmt::format("descriptor {}: {}", stream.descriptor, std::strerror(errno)));
    }
}

}  // namespace proc9::p9
