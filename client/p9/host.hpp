// p9 -H HOST: the rest of the command line, with the tree of another host, brought here by sshfs, in the place of the mount.
#pragma once

#include <functional>
#include <string>

namespace proc9::p9 {

// HOST:PATH whose tree it is; empty: it is one of this machine.
const std::string& host();

// Runs the command in a child, whose mount is that of HOST or HOST:PATH, takes the mount away, and ends as the child did.
int on_host(const std::string& host, const std::function<int()>& command);

}  // namespace proc9::p9
