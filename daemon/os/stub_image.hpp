// The stub that is built into the daemon: a program that a zygote execs, and the bare code of its pages
// for a process that maps them itself.
#pragma once

#include <string_view>

namespace proc9::os {

std::string_view stub_program();  // a static ELF file
std::string_view stub_code();     // its executable part

}  // namespace proc9::os
