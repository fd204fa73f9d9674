// What becomes of a request: for `PROC9_LOG=debug`, and for who listens to the probes proc9:request_begin (number,
// operation, thread of the caller) and proc9:request_end (number, errno, nanoseconds).
#pragma once

#include <chrono>
#include <cstdint>

#include "fs/core/request.hpp"

namespace proc9::fuse {

class Trace {
public:
    Trace(const core::Request& request, std::uint32_t opcode);
    void end(int problem) const;

private:
    using Clock = std::chrono::steady_clock;

    const core::Request& request_;
    const char* operation_;
    Clock::time_point began_ = Clock::now();
};

}  // namespace proc9::fuse
