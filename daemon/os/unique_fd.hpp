// A descriptor with one owner, closed once; and the answer of a system call as a Result.
#pragma once

#include <unistd.h>

#include <cerrno>
#include <utility>

#include "fs/core/host.hpp"

namespace proc9::os {

class UniqueFd {
public:
    UniqueFd() = default;
    explicit UniqueFd(int fd) : fd_(fd) {}
    UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    UniqueFd& operator=(UniqueFd&& other) noexcept {
        std::swap(fd_, other.fd_);
        return *this;
    }
    ~UniqueFd() { reset(); }

    [[nodiscard]] int get() const { return fd_; }
    explicit operator bool() const { return fd_ >= 0; }
    void reset() {
        if (fd_ >= 0) ::close(std::exchange(fd_, -1));
    }

private:
    int fd_ = -1;
};

// `value` if the call worked, else what errno says.
template <class T>
core::Result<T> check(std::string_view call, T value) {
    if (value == static_cast<T>(-1)) return core::refused(call, errno);
    return value;
}
inline core::Result<UniqueFd> check_fd(std::string_view call, int fd) {
    if (fd < 0) return core::refused(call, errno);
    return UniqueFd(fd);
}

// A file description held for somebody else.
class HeldDescriptor : public core::Descriptor {
public:
    explicit HeldDescriptor(UniqueFd fd) : fd_(std::move(fd)) {}
    [[nodiscard]] int number() const override { return fd_.get(); }

private:
    UniqueFd fd_;
};

}  // namespace proc9::os
