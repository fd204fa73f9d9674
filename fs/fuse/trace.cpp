#include "fs/fuse/trace.hpp"

#include <linux/fuse.h>
#include <sys/sdt.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include "fs/core/log.hpp"

namespace proc9::fuse {
namespace {

const char* name_of(std::uint32_t opcode) {
    constexpr auto names = std::to_array<std::pair<std::uint32_t, const char*>>({
        {FUSE_LOOKUP, "lookup"},
        {FUSE_GETATTR, "getattr"},
        {FUSE_SETATTR, "setattr"},
        {FUSE_READLINK, "readlink"},
        {FUSE_SYMLINK, "symlink"},
        {FUSE_MKNOD, "mknod"},
        {FUSE_MKDIR, "mkdir"},
        {FUSE_UNLINK, "unlink"},
        {FUSE_RMDIR, "rmdir"},
        {FUSE_RENAME, "rename"},
        {FUSE_RENAME2, "rename"},
        {FUSE_LINK, "link"},
        {FUSE_OPEN, "open"},
        {FUSE_READ, "read"},
        {FUSE_WRITE, "write"},
        {FUSE_FLUSH, "flush"},
        {FUSE_RELEASE, "release"},
        {FUSE_OPENDIR, "opendir"},
        {FUSE_READDIR, "readdir"},
        {FUSE_READDIRPLUS, "readdir"},
        {FUSE_RELEASEDIR, "releasedir"},
        {FUSE_ACCESS, "access"},
        {FUSE_CREATE, "create"},
        {FUSE_POLL, "poll"},
        {FUSE_FALLOCATE, "fallocate"},
        {FUSE_LSEEK, "lseek"},
    });
    const auto found = std::find_if(names.begin(), names.end(),
                                    [&](const auto& row) { return row.first == opcode; });
    return found == names.end() ? "other" : found->second;
}

std::string_view name_of_error(int problem) {
    const char* const name = problem == 0 ? "done" : ::strerrorname_np(problem);
    return name ? name : "?";
}

}  // namespace

Trace::Trace(const core::Request& request, std::uint32_t opcode)
    : request_(request), operation_(name_of(opcode)) {
    DTRACE_PROBE3(proc9, request_begin, request_.number, operation_, request_.thread);
}

void Trace::end(int problem) const {
    const std::chrono::nanoseconds took = Clock::now() - began_;
    DTRACE_PROBE3(proc9, request_end, request_.number, problem, took.count());
    core::log(core::Severity::debug, "request {}: {} by thread {} of user {}: {} in {} us",
              request_.number, operation_, request_.thread, request_.who.uid,
              name_of_error(problem), took.count() / 1000);
}

}  // namespace proc9::fuse
