#include "client/p9/ending.hpp"

#include <sys/prctl.h>
#include <sys/resource.h>

#include <csignal>
#include <cstdlib>

namespace proc9::p9 {
namespace {

// The word behind `'exit ` or `'signal `; 0 if there is none.
int number_after(const std::string& line, const std::string& word) {
    const auto at = line.find('\'' + word + ' ');
    return at == std::string::npos ? 0 : std::atoi(line.c_str() + at + word.size() + 2);
}

void die_of(int signal) {
    const rlimit none{0, 0};
    ::setrlimit(RLIMIT_CORE, &none);
    ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    ::signal(signal, SIG_DFL);
    ::raise(signal);
    sigset_t only;
    sigemptyset(&only);
    sigaddset(&only, signal);
    ::sigprocmask(SIG_UNBLOCK, &only, nullptr);
}

}  // namespace

Ending parse_wait(const std::string& line) {
    return {number_after(line, "exit"), number_after(line, "signal")};
}

int end_as(Ending ending) {
    if (ending.signal == 0) return ending.code;
    die_of(ending.signal);
    return 128 + ending.signal;
}

}  // namespace proc9::p9
