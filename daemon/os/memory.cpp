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

// Whoever has it open may make it longer or shorter: its account hears of that at the next look.
class Memfd : public core::Memory {
public:
    Memfd(UniqueFd fd, AccountRef account, Account::Share share)
        : fd_(std::move(fd)), account_(std::move(account)), share_(std::move(share)) {}
    Memfd(const Memfd&) = delete;
    Memfd& operator=(const Memfd&) = delete;
    ~Memfd() override { count(0); }

    [[nodiscard]] int number() const override { return fd_.get(); }
    [[nodiscard]] std::uint64_t size() const override {
        count(static_cast<std::uint64_t>(attributes().st_size));
        return counted_;
    }
    [[nodiscard]] std::uint32_t mode() const override { return attributes().st_mode & 07777U; }
    core::Result<> resize(std::uint64_t size) override {
        if (account_) TRY(account_->check_growth(this->size(), size));
        TRY(check("ftruncate", ::ftruncate(fd_.get(), static_cast<off_t>(size))));
        count(size);
        return {};
    }
    core::Result<> set_mode(std::uint32_t mode) override {
        TRY(check("fchmod", ::fchmod(fd_.get(), mode)));
        return {};
    }
    [[nodiscard]] Times times() const override {
        const struct stat now = attributes();
        return {now.st_atim, now.st_mtim, now.st_ctim};
    }
    core::Result<> set_times(const NewTimes& times) override {
        TRY(check("futimens", ::futimens(fd_.get(), times.data())));
        return {};
    }
    core::Result<> punch(std::uint64_t offset, std::uint64_t length) override {
        constexpr int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
        TRY(check("fallocate", ::fallocate(fd_.get(), mode, static_cast<off_t>(offset),
                                           static_cast<off_t>(length))));
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
        if (account_) TRY(account_->check_growth(size(), offset + bytes.size()));
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

    void count(std::uint64_t size) const {
        if (account_) account_->resized(counted_, size);
        counted_ = size;
    }

    UniqueFd fd_;
    AccountRef account_;
    Account::Share share_;
    mutable std::uint64_t counted_ = 0;
};

}  // namespace

core::Result<UniqueFd> make_memfd(const char* name, unsigned flags) {
    int fd = ::memfd_create(name, MFD_CLOEXEC | MFD_EXEC | flags);
    if (fd < 0 && errno == EINVAL)
        fd = ::memfd_create(name, MFD_CLOEXEC | flags);  // before Linux 6.3
    return check_fd("memfd_create", fd);
}

core::Result<core::MemoryRef> make_memory(AccountRef account) {
    Account::Share share;
    if (account) share = TRY(Account::take_region(account));
    auto file = TRY(make_memfd("proc9", MFD_ALLOW_SEALING));
    // It is its user's, as if that had made it: who has it may open it anew.
    if (account && account->uid != ::geteuid())
        TRY(check("fchown", ::fchown(file.get(), account->uid, static_cast<gid_t>(-1))));
    return core::MemoryRef(
        std::make_shared<Memfd>(std::move(file), std::move(account), std::move(share)));
}

// Counted whatever the limit is: it is there.
core::MemoryRef hold_memory(UniqueFd file, AccountRef account) {
    auto share = account ? Account::take_region(account).value_or(nullptr) : nullptr;
    auto memory = std::make_shared<Memfd>(std::move(file), std::move(account), std::move(share));
    (void)memory->size();
    return memory;
}

}  // namespace proc9::os
