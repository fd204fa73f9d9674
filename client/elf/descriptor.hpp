// A descriptor that is closed with its scope, and what can be read from it.
#pragma once

#include <unistd.h>

#include <string>
#include <utility>

namespace proc9::elf {

class Descriptor {
public:
    explicit Descriptor(int number) : number_(number) {}
    Descriptor(Descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
    Descriptor& operator=(Descriptor&& other) noexcept {
        std::swap(number_, other.number_);
        return *this;
    }
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
    ~Descriptor() {
        if (number_ >= 0) ::close(number_);
    }
    [[nodiscard]] int get() const { return number_; }
    [[nodiscard]] int release() { return std::exchange(number_, -1); }

private:
    int number_;
};

// All that is left to read; `name` is for the error.
std::string read_all(const Descriptor& file, const std::string& name);
std::string read_path(const std::string& path);

}  // namespace proc9::elf
