// What is to be done to an embryo: lines for its ctl, and bytes for its memory, in order.
#pragma once

#include <fmt/format.h>

#include <string>
#include <vector>

#include "client/elf/file.hpp"

namespace proc9::elf {

struct Step {
    std::string line = {};  // without newline; empty: bytes
    bool may_fail = false;
    Address region = 0;  // that has the bytes, at the offset
    std::uint64_t offset = 0;
    std::string bytes = {};
};

class Plan {
public:
    template <class... Args>
    void tell(fmt::format_string<Args...> format, Args&&... args) {
        steps_.push_back({fmt::format(format, std::forward<Args>(args)...)});
    }
    // A line that not everybody may say, and that it goes without.
    void suggest(std::string line) { steps_.push_back({std::move(line), true}); }
    void write(Address region, std::uint64_t offset, std::string bytes) {
        steps_.push_back({{}, false, region, offset, std::move(bytes)});
    }
    [[nodiscard]] const std::vector<Step>& steps() const { return steps_; }

private:
    std::vector<Step> steps_;
};

// A word of a line, quoted so that it is read back byte for byte.
std::string quote_word(std::string_view word);

}  // namespace proc9::elf
