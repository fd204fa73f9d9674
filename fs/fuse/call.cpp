#include "fs/fuse/call.hpp"

#include <sys/stat.h>

#include <array>
#include <utility>

#include "fs/core/log.hpp"

namespace proc9::fuse {
namespace {

// A name that lasts as long as its directory may be remembered; everything else is asked each time,
// because numbers and addresses come and go.
constexpr double lasting_seconds = 86400;

mode_t type_bits(node::Type type) {
    constexpr std::array<mode_t, 3> bits = {S_IFREG, S_IFDIR, S_IFLNK};
    return bits.at(static_cast<std::size_t>(type));
}

fuse_entry_param entry_of(const node::Attributes& attributes) {
    fuse_entry_param entry{};
    entry.ino = attributes.id.pack();
    entry.attr = stat_of(attributes);
    entry.entry_timeout = entry.attr_timeout = attributes.lasting ? lasting_seconds : 0;
    return entry;
}

}  // namespace

struct stat stat_of(const node::Attributes& attributes) {
    struct stat found{};
    found.st_ino = attributes.id.pack();
    found.st_mode = type_bits(attributes.type) | attributes.mode;
    // Of a directory as well, which says that its subdirectories are not counted.
    found.st_nlink = attributes.is_gone ? 0 : 1;
    found.st_uid = attributes.owner.uid;
    found.st_gid = attributes.owner.gid;
    found.st_size = static_cast<off_t>(attributes.size);
    found.st_blksize = 4096;
    found.st_blocks =
        static_cast<blkcnt_t>((attributes.allocated.value_or(attributes.size) + 511) / 512);
    static const timespec since = [] {
        timespec now{};
        ::timespec_get(&now, TIME_UTC);
        return now;
    }();
    found.st_atim = found.st_mtim = found.st_ctim = since;
    if (attributes.times) {
        found.st_atim = attributes.times->accessed;
        found.st_mtim = attributes.times->modified;
        found.st_ctim = attributes.times->changed;
    }
    return found;
}

static core::Request request_of(fuse_req_t raw, std::uint64_t number) {
    const fuse_ctx* const context = fuse_req_ctx(raw);
    core::Request request;
    request.number = number;
    request.who = {context->uid, context->gid};
    request.thread = context->pid;
    return request;
}

Call::Call(fuse_req_t raw, std::uint64_t number, std::uint32_t opcode)
    : request(request_of(raw, number)), raw_(raw), trace_(request, opcode) {
    fuse_req_interrupt_func(
        raw,
        [](fuse_req_t, void* self) { static_cast<Call*>(self)->request.cancellation.request(); },
        this);
}

Call::~Call() {
    if (answered_) return;
    core::log(core::Severity::error, "a request was not answered");
    error(EIO);
}

fuse_req_t Call::take(int problem) {
    if (std::exchange(answered_, true))
        core::log(core::Severity::error, "a request was answered twice");
    request.cancellation.disarm();
    trace_.end(problem);
    return raw_;
}

void Call::error(int number) { fuse_reply_err(take(number), number); }
void Call::entry(const node::Attributes& attributes) {
    const fuse_entry_param entry = entry_of(attributes);
    fuse_reply_entry(take(), &entry);
}
void Call::attributes(const node::Attributes& attributes) {
    const struct stat found = stat_of(attributes);
    fuse_reply_attr(take(), &found, attributes.lasting ? lasting_seconds : 0);
}
void Call::text(const std::string& bytes) { fuse_reply_buf(take(), bytes.data(), bytes.size()); }
void Call::link(const std::string& target) { fuse_reply_readlink(take(), target.c_str()); }
void Call::position(std::uint64_t offset) { fuse_reply_lseek(take(), static_cast<off_t>(offset)); }
void Call::written(std::size_t count) { fuse_reply_write(take(), count); }
void Call::events(unsigned revents) { fuse_reply_poll(take(), revents); }
bool Call::opened(const fuse_file_info& info) { return fuse_reply_open(take(), &info) == 0; }
bool Call::created(const node::Attributes& attributes, const fuse_file_info& info) {
    const fuse_entry_param entry = entry_of(attributes);
    return fuse_reply_create(take(), &entry, &info) == 0;
}

}  // namespace proc9::fuse
