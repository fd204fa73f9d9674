// A daemon that goes on after kill -9. It runs in a process that shares memory and descriptors with another one, the
// keeper: what is killed is then only the process. The keeper, as its tracer, sees its registers before it is gone, and a
// new process goes on with them, with the same memory and the same descriptors, at the same instruction.
//
//     keeper ---- parent and tracer of ----> daemon, daemon', ... (one at a time)
//        \------- parent of ---------------> all children of the daemon; tracer of those that are traced
//
// What else a process has is lost with it, so it is the keeper's: the daemon makes its children, waits for them and
// traces them by_parent().
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <string>
#include <type_traits>
#include <vector>

namespace proc9::keeper {

// Runs `serve` as a daemon that is kept, and ends as that does. Comes back, with its answer, where this process may
// not trace another: `serve` has run in this one then. There must be no other thread. `on_defect` is told the signal that
// ended the daemon for good.
int keep(const std::function<int()>& serve, const std::function<void(int signal)>& on_defect);

// All signal handlers are installed: from here on signals come, and the daemon survives.
void settle();

// How often the daemon has been killed.
std::uint32_t kills();

// Who is the parent of all children: the keeper, or this process.
pid_t parent();

// Does it there, and waits until it is done. It may call whatever the C library has.
void do_by_parent(const std::function<void()>& deed);
template <class Deed>
auto by_parent(Deed deed) {
    std::invoke_result_t<Deed> answer{};
    do_by_parent([&] { answer = deed(); });
    return answer;
}

// A descriptor (eventfd(2)) that can be read when a child has changed, which otherwise SIGCHLD says; -1 where it does.
// It stays open.
int watch_children();

// Before that: signals wait, for the next program. The loop should have a look at those that came.
void hold_signals();
void let_signals_come();

// Another program takes the place of this one, or of its keeper: then that keeps its number and its children. Those
// descriptors stay open that are not closed by exec. Should it not start, this program does, with the same words.
[[noreturn]] void replace(const std::vector<std::string>& command);

}  // namespace proc9::keeper
