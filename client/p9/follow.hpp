// Waiting for a program as if the shell had started it itself: while it runs, p9 is its stand-in with the shell.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <optional>
#include <string>

#include "client/p9/ending.hpp"

namespace proc9::p9 {

using Seconds = std::chrono::duration<double>;

// From here on signals wait until follow() passes them on. Before the program starts: none is lost then.
void hold_signals();
void release_signals();  // it has not started

// Closes all descriptors from this one on; so the zygote ends that libproc9 made for the child, and is reaped.
void close_from(unsigned first, pid_t child);

// A child of p9's own. Closes all of p9's descriptors: the other end of a pipe must see the program's end of it only.
Ending follow(pid_t child, std::optional<Seconds> timeout);

// A child of the mount's: its `wait` and `ctl` are all there is. `look` is done now and then, and when it has ended.
Ending follow(const std::string& directory, std::optional<Seconds> timeout,
              const std::function<void()>& look = nullptr);

// Returns when a child of the mount's has exited. It may be a child of another host's, whose `wait` no poll(2) tells of
// and whose read would be in the way of other files.
void await(const std::string& directory);

}  // namespace proc9::p9
