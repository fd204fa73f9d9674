// Starts a program without execve(2): what exec does in the kernel is done with the files of the mount.
//
//     load [--hold] [--plan] N PROGRAM [ARG...]
#pragma once

namespace proc9::elf {

// Answers the exit status; says on standard error why it is not 0.
int load(int argc, char** argv);

}  // namespace proc9::elf
