// One request of the kernel: answered exactly once; if nobody did, that is a bug and it answers EIO.
#pragma once

#ifndef FUSE_USE_VERSION
#define FUSE_USE_VERSION 317
#endif
#include <fuse_lowlevel.h>

#include <ctime>
#include <map>
#include <memory>
#include <string>

#include "fs/fuse/trace.hpp"
#include "fs/node/tree.hpp"

namespace proc9::fuse {

// An open file or directory.
struct Handle {
    node::NodeId node;
    core::Identity opener;
    node::OpenFileRef file;
    std::vector<node::DirectoryEntry> entries;
    int backing = 0;  // passthrough id of the node; 0: none
    fuse_pollhandle* poll = nullptr;

    Handle() = default;
    Handle(const Handle&) = delete;
    Handle& operator=(const Handle&) = delete;
    ~Handle() {
        if (poll) fuse_pollhandle_destroy(poll);
    }
};

// Those that the kernel knows, by the number that it knows them by (fuse_file_info::fh).
using Handles = std::map<std::uint64_t, std::unique_ptr<Handle>>;

class Call {
public:
    Call(fuse_req_t request, std::uint64_t number, std::uint32_t opcode);
    ~Call();
    Call(const Call&) = delete;
    Call& operator=(const Call&) = delete;

    core::Request request;

    [[nodiscard]] fuse_req_t raw() const { return raw_; }
    void done() { error(0); }
    void error(int number);  // 0: none
    void entry(const node::Attributes& attributes);
    void attributes(const node::Attributes& attributes);
    void text(const std::string& bytes);
    void link(const std::string& target);
    void position(std::uint64_t offset);
    void written(std::size_t count);
    void events(unsigned revents);
    // False: the caller has gone, and nobody will close what was opened.
    bool opened(const fuse_file_info& info);
    bool created(const node::Attributes& attributes, const fuse_file_info& info);

private:
    fuse_req_t take(int problem = 0);
    fuse_req_t raw_;
    Trace trace_;
    bool answered_ = false;
};
using CallRef = std::unique_ptr<Call>;

struct stat stat_of(const node::Attributes& attributes);

}  // namespace proc9::fuse
