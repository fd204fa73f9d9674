// Starts a program without execve(2): what exec does in the kernel is done with the files of the mount.
#pragma once

#include <string>
#include <vector>

namespace proc9::elf {

struct Request {
    std::string embryo;
    std::vector<std::string> arguments;  // the program is the first
    bool hold = false;                   // it is not started: `entry` in its ctl does
    bool plan = false;                   // nothing is changed: what would be told is printed
};

// Throws Refused (client/elf/refused.hpp): why it cannot be loaded.
void load(const Request& request);

}  // namespace proc9::elf
