// What a program finds on its stack: argc, argv, envp, the auxiliary vector, and the strings behind them (System V ABI,
// "Process Initialization").
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "client/elf/file.hpp"

namespace proc9::elf {

// A value, or a string of which it is the address.
struct Auxiliary {
    std::uint64_t type = 0;
    std::uint64_t value = 0;
    std::optional<std::string> text = {};
};

struct Start {
    std::vector<std::string> arguments;
    std::vector<std::string> environment;  // NAME=VALUE
    std::vector<Auxiliary> auxiliary;      // AT_NULL is added
};

struct Stack {
    Address pointer = 0;
    std::string bytes;  // from the pointer to the top
};

// Refused if it would take more than `most` bytes.
Stack build_stack(Address top, std::uint64_t most, const Start& start);

}  // namespace proc9::elf
