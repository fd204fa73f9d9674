#include "daemon/os/memory.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif

namespace proc9::os {
namespace {

class Memfd : public core::Memory {
public:
    explicit Memfd(UniqueFd fd) : fd_(std::move(fd)) {}

    [[nodiscard]] int number() const override { return fd_.get(); }
    [[nodiscard]] std::uint64_t size() const override {
        return static_cast<std::uint64_t>(attributes().st_size);
    }
    [[nodiscard]] std::uint32_t mode() const override { return attributes().st_mode & 07777U; }
    core::Result<> resize(std::uint64_t size) override {
        TRY(check("ftruncate", ::ftruncate(fd_.get(), static_cast<off_t>(size))));
        return {};
    }
    core::Result<> set_mode(std::uint32_t mode) override {
        TRY(check("fchmod", ::fchmod(fd_.get(), mode)));
        return {};
    }
    core::Result<std::string> read(std::size_t size, std::uint64_t offset) override {
        std::string bytes(size, '\0');
        const auto got =
            TRY(check("pread", ::pread(fd_.get(), bytes.data(), size, static_cast<off_t>(offset))));
        bytes.resize(static_cast<std::size_t>(got));
        return bytes;
    }
    core::Result<std::size_t> write(std::string_view bytes, std::uint64_t offset) override {
        return static_cast<std::size_t>(
            TRY(check("pwrite", ::pwrite(fd_.get(), bytes.data(), bytes.size(),
                                         static_cast<off_t>(offset)))));
    }
    [[nodiscard]] std::vector<Extent> extents(std::uint64_t offset,
                                              std::uint64_t length) const override {
        std::vector<Extent> found;
        const auto end = static_cast<off_t>(offset + length);
        auto data = static_cast<off_t>(offset);
        // The file position is nobody else's as long as only the daemon has this description.
        while ((data = ::lseek(fd_.get(), data, SEEK_DATA)) >= 0 && data < end) {
            const off_t hole = std::min(::lseek(fd_.get(), data, SEEK_HOLE), end);
            if (hole <= data) break;  // it was cut meanwhile
            found.push_back(
                {static_cast<std::uint64_t>(data), static_cast<std::uint64_t>(hole - data)});
            data = hole;
        }
        return found;
    }
    [[nodiscard]] std::uint64_t allocated() const override {
        constexpr std::uint64_t block = 512;
        return static_cast<std::uint64_t>(attributes().st_blocks) * block;
    }
    core::Result<std::uint64_t> seek(std::uint64_t offset, bool data) const override {
        return static_cast<std::uint64_t>(
            TRY(check("lseek", ::lseek(fd_.get(), static_cast<off_t>(offset),
                                       data ? SEEK_DATA : SEEK_HOLE))));
    }
    bool seal() override {
        return ::fcntl(fd_.get(), F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK) == 0;
    }

private:
    [[nodiscard]] struct stat attributes() const {
        struct stat attributes{};
        (void)::fstat(fd_.get(), &attributes);  // cannot fail: the descriptor is ours and a memfd
        return attributes;
    }

    UniqueFd fd_;
};

}  // namespace

core::Result<UniqueFd> make_memfd(const char* name, unsigned flags) {
    int fd = ::memfd_create(name, MFD_CLOEXEC | MFD_EXEC | flags);
    if (fd < 0 && errno == EINVAL)
        fd = ::memfd_create(name, MFD_CLOEXEC | flags);  // before Linux 6.3
    return check_fd("memfd_create", fd);
}

core::Result<core::MemoryRef> make_memory() {
    return core::MemoryRef(std::make_shared<Memfd>(TRY(make_memfd("proc9", MFD_ALLOW_SEALING))));
}

}  // namespace proc9::os
