// What a program of another host writes: its descriptors 1 and 2 are regions of an embryo there, as long as what was written,
// and are read here as the files that they are. The embryo goes with the connection.
#pragma once

#include <cstdint>
#include <vector>

#include "client/p9/mount.hpp"

namespace proc9::p9 {

class HostOutput {
public:
    // These descriptors of the program.
    HostOutput(const Ctl& program, const std::vector<int>& descriptors);
    ~HostOutput();
    HostOutput(const HostOutput&) = delete;
    HostOutput& operator=(const HostOutput&) = delete;

    void copy();  // what is new, to p9's descriptors of the same numbers

private:
    struct Stream {
        int descriptor;
        int region;  // open
        std::int64_t copied;
    };
    void copy(Stream& stream);

    Ctl embryo_;
    std::vector<Stream> streams_;
};

}  // namespace proc9::p9
