#include "fs/fuse/server.hpp"

#include <fcntl.h>
#include <linux/fuse.h>
#include <malloc.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <map>
#include <new>
#include <optional>

#include "fs/core/log.hpp"
#include "fs/fuse/backings.hpp"
#include "fs/fuse/call.hpp"
#include "fs/fuse/reserve.hpp"
#include "fs/fuse/waiting_line.hpp"

namespace proc9::fuse {
namespace {

using core::done;
using core::fail;
using Outcome = core::Task<core::Result<>>;

// A request that has begun and is not over.
struct UnderWay {
    const core::Request* request = nullptr;
    std::string bytes;  // as they came, if it is not over at once
};

struct Context {  // what every operation needs; the session's user data
    node::Tree tree;
    Handles handles;
    std::uint64_t last_handle = 0;
    std::map<std::uint64_t, UnderWay> under_way;  // by the kernel's number
    std::uint64_t now = 0;                        // that of the request that is being decoded
    std::uint32_t opcode = 0;                     // and what it is
    Backings backings;
    std::multimap<fuse_ino_t, const Handle*> memory_handles;  // those that are open, by their node
    bool probed = false;
    std::size_t largest_piece = 1U << 20U;
    std::function<void()> ready;

    Context(core::Registry& registry, node::Options options) : tree(registry, std::move(options)) {}

    Handle& handle(const fuse_file_info& info) { return *handles.at(info.fh); }
};

node::OpenFlags flags_of(int flags) {
    const int mode = flags & O_ACCMODE;
    return {mode != O_WRONLY, mode != O_RDONLY, (flags & O_TRUNC) != 0, (flags & O_NONBLOCK) != 0,
            (flags & O_EXCL) != 0};
}

// ---------------------------------------------------------------------------------------------
// Operations. Each replies itself when it succeeds; an error is replied by run().

// Whatever makes a name looks it up before.
Outcome lookup(Context& context, Call& call, fuse_ino_t parent, std::string name) {
    if (name.size() > NAME_MAX)
        co_return fail(std::errc::filename_too_long, "a name of more than {} bytes", NAME_MAX);
    const node::Attributes found =
        co_await context.tree.find(call.request, node::NodeId::unpack(parent), name);
    call.entry(found);
    co_return done();
}

// Memory that is gone from the tree, but open: fstat(2) does not say by which handle it asks.
const Handle* kept_open(const Context& context, fuse_ino_t ino, const core::Error& problem) {
    const auto found = context.memory_handles.find(ino);
    const bool is_gone = problem.code == std::errc::no_such_file_or_directory;
    return is_gone && found != context.memory_handles.end() ? found->second : nullptr;
}

node::Attributes attributes_of(const Handle& handle) {
    const auto memory = handle.file->memory();
    node::Attributes attributes;
    attributes.id = handle.node;
    attributes.mode = memory->mode();
    attributes.size = memory->size();
    attributes.allocated = memory->allocated();
    attributes.times = memory->times();
    attributes.owner = handle.opener;
    attributes.is_gone = true;
    return attributes;
}

Outcome getattr(Context& context, Call& call, fuse_ino_t ino) {
    auto found = co_await context.tree.attributes(call.request, node::NodeId::unpack(ino)).result();
    const Handle* const kept = found ? nullptr : kept_open(context, ino, found.error());
    if (kept) found = attributes_of(*kept);
    const node::Attributes attributes = co_await std::move(found);
    call.attributes(attributes);
    co_return done();
}

std::optional<core::Memory::NewTimes> times_of(const struct stat& wanted, int fields) {
    constexpr timespec keep{0, UTIME_OMIT};
    constexpr timespec now{0, UTIME_NOW};
    core::Memory::NewTimes times{keep, keep};
    if (fields & FUSE_SET_ATTR_ATIME) times[0] = wanted.st_atim;
    if (fields & FUSE_SET_ATTR_MTIME) times[1] = wanted.st_mtim;
    if (fields & FUSE_SET_ATTR_ATIME_NOW) times[0] = now;
    if (fields & FUSE_SET_ATTR_MTIME_NOW) times[1] = now;
    if (times[0].tv_nsec == UTIME_OMIT && times[1].tv_nsec == UTIME_OMIT) return std::nullopt;
    return times;
}

core::Task<core::Result<node::Attributes>> change_file(Context& context, Call& call, fuse_ino_t ino,
                                                       node::Change wanted) {
    auto changed =
        co_await context.tree.change(call.request, node::NodeId::unpack(ino), wanted).result();
    const Handle* const kept = changed ? nullptr : kept_open(context, ino, changed.error());
    if (!kept) co_return std::move(changed);
    if (!call.request.who.is_master() && call.request.who != kept->opener)
        co_return fail(std::errc::operation_not_permitted, "another user has it open");
    core::Memory& memory = *kept->file->memory();
    if (wanted.size) co_await memory.resize(*wanted.size);
    if (wanted.mode) co_await memory.set_mode(*wanted.mode);
    if (wanted.times) co_await memory.set_times(*wanted.times);
    co_return attributes_of(*kept);
}

Outcome setattr(Context& context, Call& call, fuse_ino_t ino, struct stat wanted, int fields) {
    node::Change change;
    if (fields & FUSE_SET_ATTR_MODE) change.mode = wanted.st_mode & 07777U;
    if (fields & FUSE_SET_ATTR_SIZE) change.size = static_cast<std::uint64_t>(wanted.st_size);
    change.times = times_of(wanted, fields);
    const auto id = node::NodeId::unpack(ino);
    if (fields & (FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID)) {
        const node::Attributes now = co_await context.tree.attributes(call.request, id);
        change.owner = now.owner;
        if (fields & FUSE_SET_ATTR_UID) change.owner->uid = wanted.st_uid;
        if (fields & FUSE_SET_ATTR_GID) change.owner->gid = wanted.st_gid;
    }
    const node::Attributes attributes = co_await change_file(context, call, ino, change);
    call.attributes(attributes);
    co_return done();
}

// Who may open what is decided at open; this is for who asks first.
Outcome access(Context& context, Call& call, fuse_ino_t ino, int wanted) {
    const node::Attributes found =
        co_await context.tree.attributes(call.request, node::NodeId::unpack(ino));
    const auto uid = call.request.who.uid;
    std::uint32_t may = uid == found.owner.uid ? found.mode >> 6U : found.mode;
    if (uid == 0) {
        may = found.mode >> 6U | found.mode;
        const bool is_open_to_root =
            found.type == node::Type::directory || found.id.kind == node::Kind::region;
        if (is_open_to_root) may |= R_OK | W_OK;
    }
    if ((static_cast<std::uint32_t>(wanted) & ~may & 7U) != 0)
        co_return fail(std::errc::permission_denied, "the mode of the file forbids it");
    call.done();
    co_return done();
}

Outcome readlink(Context& context, Call& call, fuse_ino_t ino) {
    const std::string target =
        co_await context.tree.link_target(call.request, node::NodeId::unpack(ino));
    call.link(target);
    co_return done();
}

Outcome mkdir(Context& context, Call& call, fuse_ino_t parent, std::string name) {
    const node::Attributes made =
        co_await context.tree.make_directory(call.request, node::NodeId::unpack(parent), name);
    call.entry(made);
    co_return done();
}

Outcome symlink(Context& context, Call& call, std::string target, fuse_ino_t parent,
                std::string name) {
    const node::Attributes made = co_await context.tree.make_link(
        call.request, node::NodeId::unpack(parent), name, std::move(target));
    call.entry(made);
    co_return done();
}

Outcome link(Context& context, Call& call, fuse_ino_t ino, fuse_ino_t parent, std::string name) {
    const node::Attributes made = co_await context.tree.add(
        call.request, node::NodeId::unpack(parent), name, node::NodeId::unpack(ino));
    call.entry(made);
    co_return done();
}

Outcome unlink(Context& context, Call& call, fuse_ino_t parent, std::string name) {
    co_await context.tree.remove(call.request, node::NodeId::unpack(parent), name);
    call.done();
    co_return done();
}

Outcome rmdir(Context& context, Call& call, fuse_ino_t parent, std::string name) {
    co_await context.tree.remove_directory(call.request, node::NodeId::unpack(parent), name);
    call.done();
    co_return done();
}

Outcome rename(Context& context, Call& call, fuse_ino_t parent, std::string name,
               fuse_ino_t new_parent, std::string new_name, unsigned flags) {
    if ((flags & ~unsigned{RENAME_NOREPLACE}) != 0)
        co_return fail(std::errc::invalid_argument, "names cannot be exchanged");
    const bool replace = (flags & RENAME_NOREPLACE) == 0;
    co_await context.tree.rename(call.request, node::NodeId::unpack(parent), name,
                                 node::NodeId::unpack(new_parent), std::move(new_name), replace);
    call.done();
    co_return done();
}

// Fills in how the kernel shall treat the open file, and gives the handle into its hands.
void hold(Context& context, Call& call, node::NodeId node, node::OpenFileRef file,
          fuse_file_info& info) {
    auto handle = std::make_unique<Handle>();
    handle->node = node;
    handle->opener = call.request.who;
    handle->file = std::move(file);
    if (const auto memory = handle->file->memory()) {
        handle->backing = context.backings.open(node, *memory);
        context.memory_handles.emplace(node.pack(), handle.get());
    }
    info.backing_id = handle->backing;
    info.direct_io = handle->backing == 0 ? 1 : 0;
    info.parallel_direct_writes = info.direct_io;
    info.noflush = handle->file->has_flush() ? 0 : 1;
    info.fh = ++context.last_handle;
    context.handles[info.fh] = std::move(handle);
}

core::Task<> close(Context& context, std::uint64_t number, core::Request& request) {
    const auto owned = std::move(context.handles.extract(number).mapped());
    const auto [first, last] = context.memory_handles.equal_range(owned->node.pack());
    const auto its =
        std::find_if(first, last, [&](auto& entry) { return entry.second == owned.get(); });
    if (its != last) context.memory_handles.erase(its);
    if (owned->backing != 0) context.backings.close(owned->node);
    co_await owned->file->close(request);
}

Outcome open(Context& context, Call& call, fuse_ino_t ino, fuse_file_info info) {
    const auto id = node::NodeId::unpack(ino);
    node::OpenFileRef file = co_await context.tree.open(call.request, id, flags_of(info.flags));
    hold(context, call, id, std::move(file), info);
    if (!call.opened(info)) co_await close(context, info.fh, call.request);
    co_return done();
}

Outcome create(Context& context, Call& call, fuse_ino_t parent, std::string name, mode_t mode,
               fuse_file_info info) {
    node::Created made = co_await context.tree.create(call.request, node::NodeId::unpack(parent),
                                                      name, mode & 07777U, flags_of(info.flags));
    hold(context, call, made.attributes.id, std::move(made.file), info);
    if (!call.created(made.attributes, info)) co_await close(context, info.fh, call.request);
    co_return done();
}

// Who opened the file counts, whoever has a copy of its descriptor: of another one nothing is taken.
Handle& as_opener(Context& context, Call& call, const fuse_file_info& info) {
    Handle& handle = context.handle(info);
    if (call.request.who != handle.opener) {
        call.request.who = handle.opener;
        call.request.thread = 0;
    }
    return handle;
}

Outcome read(Context& context, Call& call, std::size_t size, off_t offset, fuse_file_info info) {
    call.request.is_splice = info.lock_owner == 0;  // read(2) has one, the page cache none
    const std::string bytes =
        co_await as_opener(context, call, info)
            .file->read(call.request, size, static_cast<std::uint64_t>(offset));
    call.text(bytes);
    co_return done();
}

Outcome write(Context& context, Call& call, std::string bytes, off_t offset, fuse_file_info info) {
    constexpr std::size_t page =
        4096;  // a piece that does not begin at a page is shorter by so much
    Handle& handle = context.handle(info);
    if (handle.opener != call.request.who)
        co_return fail(std::errc::permission_denied, "the file was opened by another");
    const bool may_go_on = bytes.size() > context.largest_piece - page;
    const std::size_t count = co_await handle.file->write(
        call.request, std::move(bytes), static_cast<std::uint64_t>(offset), may_go_on);
    call.written(count);
    co_return done();
}

Outcome flush(Context& context, Call& call, fuse_file_info info) {
    co_await as_opener(context, call, info).file->flush(call.request);
    call.done();
    co_return done();
}

// Without it the kernel would take the holes of memory for data. Text has none.
Outcome lseek(Context& context, Call& call, fuse_ino_t ino, off_t offset, int whence,
              fuse_file_info info) {
    const auto from = static_cast<std::uint64_t>(offset);
    const bool wants_data = whence == SEEK_DATA;
    if (const auto memory = context.handle(info).file->memory()) {
        call.position(co_await memory->seek(from, wants_data));
        co_return done();
    }
    const node::Attributes found =
        co_await context.tree.attributes(call.request, node::NodeId::unpack(ino));
    if (from >= found.size) co_return fail(std::errc::no_such_device_or_address, "after the end");
    call.position(wants_data ? from : found.size);
    co_return done();
}

// Memory is taken when it is first written, not here, where all would wait for that.
Outcome fallocate(Context& context, Call& call, fuse_ino_t ino, int mode, off_t offset,
                  off_t length, fuse_file_info info) {
    const auto memory = context.handle(info).file->memory();
    const bool punches = mode == (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE);
    if (!memory || (mode != 0 && !punches))
        co_return fail(std::errc::operation_not_supported, "memory can grow, or get a hole");
    const auto from = static_cast<std::uint64_t>(offset);
    const auto size = static_cast<std::uint64_t>(length);
    if (punches) {
        co_await memory->punch(from, size);
    } else if (from + size > memory->size()) {
        node::Change longer;
        longer.size = from + size;
        co_await change_file(context, call, ino, longer);
    }
    call.done();
    co_return done();
}

Outcome release(Context& context, Call& call, fuse_file_info info) {
    (void)as_opener(context, call, info);
    co_await close(context, info.fh, call.request);
    call.done();
    co_return done();
}

Outcome opendir(Context& context, Call& call, fuse_ino_t ino, fuse_file_info info) {
    const auto id = node::NodeId::unpack(ino);
    auto handle = std::make_unique<Handle>();
    handle->entries = co_await context.tree.list(call.request, id);
    for (const std::string name : {"..", "."}) {
        node::DirectoryEntry entry{name, {}};
        entry.attributes.id = name == "." ? id : node::root_id;
        entry.attributes.type = node::Type::directory;
        handle->entries.insert(handle->entries.begin(), std::move(entry));
    }
    info.fh = ++context.last_handle;
    context.handles[info.fh] = std::move(handle);
    if (!call.opened(info)) context.handles.erase(info.fh);
    co_return done();
}

Outcome readdir(Context& context, Call& call, std::size_t size, off_t offset, fuse_file_info info) {
    const auto& entries = context.handle(info).entries;
    std::string block(size, '\0');
    std::size_t used = 0;
    for (auto i = static_cast<std::size_t>(offset); i < entries.size(); ++i) {
        const struct stat found = stat_of(entries[i].attributes);
        const std::size_t length =
            fuse_add_direntry(call.raw(), block.data() + used, size - used, entries[i].name.c_str(),
                              &found, static_cast<off_t>(i + 1));
        if (length > size - used) break;
        used += length;
    }
    block.resize(used);
    call.text(block);
    co_return done();
}

Outcome releasedir(Context& context, Call& call, fuse_file_info info) {
    context.handles.erase(info.fh);
    call.done();
    co_return done();
}

Outcome poll(Context& context, Call& call, fuse_file_info info, fuse_pollhandle* notify) {
    Handle& handle = context.handle(info);
    if (notify) {
        if (handle.poll) fuse_pollhandle_destroy(handle.poll);
        handle.poll = notify;
    }
    const bool ready = handle.file->readable([&handle] {
        if (handle.poll) fuse_lowlevel_notify_poll(handle.poll);
    });
    call.events(ready ? POLLIN | POLLRDNORM | POLLOUT : POLLOUT);
    co_return done();
}

// ---------------------------------------------------------------------------------------------
// From the kernel to an operation

// Among those that are under way, as long as it is.
class Entry {
public:
    Entry(Context& context, const core::Request& request)
        : context_(context), number_(context.now) {
        context_.under_way[number_].request = &request;
    }
    ~Entry() { context_.under_way.erase(number_); }
    Entry(const Entry&) = delete;
    Entry& operator=(const Entry&) = delete;

private:
    Context& context_;
    std::uint64_t number_;
};

// A caller's data: his request is answered if there is no memory for them.
std::optional<std::string> take(fuse_req_t request, const char* bytes, std::size_t size) noexcept {
    try {
        return std::string(bytes, size);
    } catch (const std::bad_alloc&) {
        fuse_reply_err(request, ENOMEM);
        return std::nullopt;
    }
}

// One place for all errors, and for exceptions: none may reach libfuse.
template <class... Parameters, class... Args>
void serve(fuse_req_t raw, Outcome (*operation)(Context&, Call&, Parameters...),
           Args... args) noexcept {
    auto& context = *static_cast<Context*>(fuse_req_userdata(raw));
    if (!context.probed) {
        context.probed = true;
        if (context.backings.probe(context.tree.registry().host()))
            context.tree.serve_memory_itself();
    }
    ++context.tree.registry().statistics.requests;
    try {
        core::spawn([](Context& shared, fuse_req_t request,
                       Outcome (*run)(Context&, Call&, Parameters...),
                       Args... given) -> core::Task<> {
            Call call(request, shared.now, shared.opcode);
            int problem = 0;
            try {
                const Entry entry(shared, call.request);
                shared.tree.registry().host().identify(call.request);
                const auto outcome = co_await run(shared, call, std::move(given)...).result();
                if (!outcome) problem = outcome.error().number();
            } catch (const std::bad_alloc&) {
                problem = ENOMEM;
            } catch (const std::exception& bug) {
                core::log(core::Severity::error, "{}", bug.what());
                problem = EIO;
            }
            if (problem != 0) call.error(problem);
        }(context, raw, operation, std::move(args)...));
    } catch (const std::bad_alloc&) {
        fuse_reply_err(raw, ENOMEM);  // it did not even begin
    }
}

// What makes something that stays.
template <class... Parameters, class... Args>
void serve_new(fuse_req_t raw, Outcome (*operation)(Context&, Call&, Parameters...),
               Args... args) noexcept {
    if (!keep_reserve()) {
        fuse_reply_err(raw, ENOMEM);
    } else {
        serve(raw, operation, std::move(args)...);
    }
}

void start(void* user, fuse_conn_info* connection) {
    auto& context = *static_cast<Context*>(user);
    fuse_set_feature_flag(connection, FUSE_CAP_ATOMIC_O_TRUNC);
    if (fuse_set_feature_flag(connection, FUSE_CAP_PASSTHROUGH))
        connection->max_backing_stack_depth = 1;
    fuse_unset_feature_flag(connection, FUSE_CAP_AUTO_INVAL_DATA);
    context.largest_piece = connection->max_write;
    if (context.ready) context.ready();
}

// clang-format off
constexpr fuse_lowlevel_ops operations = [] {
    fuse_lowlevel_ops ops{};
    ops.init       = start;
    ops.lookup     = [](fuse_req_t r, fuse_ino_t parent, const char* name) { serve(r, lookup, parent, std::string(name)); };
    ops.getattr    = [](fuse_req_t r, fuse_ino_t ino, fuse_file_info*) { serve(r, getattr, ino); };
    ops.setattr    = [](fuse_req_t r, fuse_ino_t ino, struct stat* wanted, int fields, fuse_file_info*) { serve(r, setattr, ino, *wanted, fields); };
    ops.readlink   = [](fuse_req_t r, fuse_ino_t ino) { serve(r, readlink, ino); };
    ops.access     = [](fuse_req_t r, fuse_ino_t ino, int wanted) { serve(r, access, ino, wanted); };
    ops.mknod      = [](fuse_req_t r, fuse_ino_t, const char*, mode_t, dev_t) { fuse_reply_err(r, EPERM); };
    ops.mkdir      = [](fuse_req_t r, fuse_ino_t parent, const char* name, mode_t) { serve_new(r, mkdir, parent, std::string(name)); };
    ops.unlink     = [](fuse_req_t r, fuse_ino_t parent, const char* name) { serve(r, unlink, parent, std::string(name)); };
    ops.rmdir      = [](fuse_req_t r, fuse_ino_t parent, const char* name) { serve(r, rmdir, parent, std::string(name)); };
    ops.symlink    = [](fuse_req_t r, const char* target, fuse_ino_t parent, const char* name) { serve_new(r, symlink, std::string(target), parent, std::string(name)); };
    ops.rename     = [](fuse_req_t r, fuse_ino_t parent, const char* name, fuse_ino_t to, const char* new_name, unsigned flags) { serve(r, rename, parent, std::string(name), to, std::string(new_name), flags); };
    ops.link       = [](fuse_req_t r, fuse_ino_t ino, fuse_ino_t parent, const char* name) { serve_new(r, link, ino, parent, std::string(name)); };
    ops.open       = [](fuse_req_t r, fuse_ino_t ino, fuse_file_info* info) { (info->flags & O_ACCMODE) == O_RDONLY ? serve(r, open, ino, *info) : serve_new(r, open, ino, *info); };
    ops.read       = [](fuse_req_t r, fuse_ino_t, size_t size, off_t offset, fuse_file_info* info) { serve(r, read, size, offset, *info); };
    ops.write      = [](fuse_req_t r, fuse_ino_t, const char* bytes, size_t size, off_t offset, fuse_file_info* info) { if (auto data = take(r, bytes, size)) serve_new(r, write, std::move(*data), offset, *info); };
    ops.flush      = [](fuse_req_t r, fuse_ino_t, fuse_file_info* info) { serve(r, flush, *info); };
    ops.lseek      = [](fuse_req_t r, fuse_ino_t ino, off_t offset, int whence, fuse_file_info* info) { serve(r, lseek, ino, offset, whence, *info); };
    ops.fallocate  = [](fuse_req_t r, fuse_ino_t ino, int mode, off_t offset, off_t length, fuse_file_info* info) { serve(r, fallocate, ino, mode, offset, length, *info); };
    ops.release    = [](fuse_req_t r, fuse_ino_t, fuse_file_info* info) { serve(r, release, *info); };
    ops.opendir    = [](fuse_req_t r, fuse_ino_t ino, fuse_file_info* info) { serve(r, opendir, ino, *info); };
    ops.readdir    = [](fuse_req_t r, fuse_ino_t, size_t size, off_t offset, fuse_file_info* info) { serve(r, readdir, size, offset, *info); };
    ops.releasedir = [](fuse_req_t r, fuse_ino_t, fuse_file_info* info) { serve(r, releasedir, *info); };
    ops.create     = [](fuse_req_t r, fuse_ino_t parent, const char* name, mode_t mode, fuse_file_info* info) { serve_new(r, create, parent, std::string(name), mode, *info); };
    ops.poll       = [](fuse_req_t r, fuse_ino_t, fuse_file_info* info, fuse_pollhandle* notify) { serve(r, poll, *info, notify); };
    return ops;
}();
// clang-format on

}  // namespace

struct Server::State {
    State(core::Registry& registry, node::Options options)
        : context(registry, std::move(options)) {}

    Context context;
    fuse_session* session = nullptr;
    fuse_buf buffer{};
    const void* locked = nullptr;  // the buffer's memory, when it is there
    bool mounted = false;
    std::function<void()> detach;
    std::string greeting;  // the kernel's first request
    bool is_fair = false;  // several users ask
    WaitingLine line;
};

namespace {

constexpr std::size_t most_waiting = 64U << 20U;  // bytes; the kernel keeps the others

// The kernel puts it in front of every request.
fuse_in_header header_of(const void* request, std::size_t size) {
    fuse_in_header header{};
    std::memcpy(&header, request, std::min(sizeof header, size));
    return header;
}

std::string bytes_of(const fuse_buf& request) {
    return {static_cast<const char*>(request.mem), request.size};
}

// Without them it cannot be told to another daemon, and is waited for.
std::string bytes_if_room(const fuse_buf& request) noexcept {
    try {
        return bytes_of(request);
    } catch (const std::bad_alloc&) {
        return {};
    }
}

// What is not over when this comes back may have to be told to the next daemon.
void process(Server::State& state, const fuse_buf& request) {
    const auto header = header_of(request.mem, request.size);
    if (header.opcode == FUSE_INIT) state.greeting = bytes_of(request);
    state.context.now = header.unique;
    state.context.opcode = header.opcode;
    fuse_session_process_buf(state.session, &request);
    const auto found = state.context.under_way.find(header.unique);
    if (found != state.context.under_way.end()) found->second.bytes = bytes_if_room(request);
}

void process(Server::State& state, std::string request) {
    fuse_buf buffer{};
    buffer.mem = request.data();
    buffer.size = request.size();
    process(state, buffer);
}

core::Saved entries_of(const Handle& handle) {
    core::Saved entries = core::Saved::array();
    for (const auto& entry : handle.entries)
        entries.push_back({entry.name, entry.attributes.id.pack(),
                           static_cast<int>(entry.attributes.type), entry.attributes.mode});
    return entries;
}

core::Saved save(core::Saving& saving, std::uint64_t number, const Handle& handle) {
    core::Saved saved{{"number", number},
                      {"node", handle.node.pack()},
                      {"opener", handle.opener},
                      {"backing", handle.backing},
                      {"entries", entries_of(handle)}};
    if (handle.file) saved["file"] = handle.file->save(saving);
    return saved;
}

void restore(Context& context, const core::Saved& saved, core::Restoring& restoring) {
    auto handle = std::make_unique<Handle>();
    handle->node = node::NodeId::unpack(saved.at("node"));
    handle->opener = saved.at("opener").get<core::Identity>();
    handle->backing = saved.at("backing");
    for (const auto& told : saved.at("entries")) {
        node::DirectoryEntry entry{told.at(0), {}};
        entry.attributes.id = node::NodeId::unpack(told.at(1));
        entry.attributes.type = static_cast<node::Type>(told.at(2).get<int>());
        entry.attributes.mode = told.at(3);
        handle->entries.push_back(std::move(entry));
    }
    if (saved.contains("file")) handle->file = context.tree.restore(saved.at("file"), restoring);
    if (handle->file && handle->file->memory())
        context.memory_handles.emplace(handle->node.pack(), handle.get());
    context.handles[saved.at("number")] = std::move(handle);
}

// The kernel ends a request with EIO if it is to be copied to a page that is not there just when this process is killed.
void lock(Server::State& state) {
    if (state.buffer.mem == state.locked) return;
    state.locked = state.buffer.mem;
    (void)::mlock(state.buffer.mem, ::malloc_usable_size(state.buffer.mem));
}

// False if there is no memory for it.
bool wait_in_line(Server::State& state) {
    try {
        state.line.add(header_of(state.buffer.mem, state.buffer.size).uid, bytes_of(state.buffer));
        return true;
    } catch (const std::bad_alloc&) {
        return false;
    }
}

bool was_unmounted(const Server::State& state) {
    pollfd end{fuse_session_fd(state.session), 0, 0};
    return ::poll(&end, 1, 0) > 0 && (end.revents & POLLERR) != 0;
}

}  // namespace

Server::Server(core::Registry& registry, node::Options options)
    : state_(std::make_unique<State>(registry, std::move(options))) {}

Server::~Server() {
    unmount();
    if (state_->session) fuse_session_destroy(state_->session);
    std::free(state_->buffer.mem);  // NOLINT: libfuse's
}

// A session of libfuse, which is told where later.
static core::Result<> begin_session(Server::State& state, const MountOptions& options) {
    keep_reserve();
    std::string names = "fsname=proc9,subtype=proc9";
    state.is_fair = options.allow_other;
    state.detach = options.detach;
    if (options.allow_other) names += ",allow_other";
    fuse_args args = FUSE_ARGS_INIT(0, nullptr);
    fuse_opt_add_arg(&args, "proc9d");
    fuse_opt_add_arg(&args, "-o");
    fuse_opt_add_arg(&args, names.c_str());
    state.session = fuse_session_new(&args, &operations, sizeof operations, &state.context);
    fuse_opt_free_args(&args);
    if (!state.session)
        return fail(std::errc::invalid_argument, "libfuse does not take the options {}", names);
    return done();
}

// An ordinary user has fusermount3 to do it, by way of libfuse; its process would not outlive a daemon that is killed.
// Libfuse takes /dev/fd/N for a session that somebody has begun.
static core::Result<std::string> place_of_session(const MountOptions& options) {
    if (::geteuid() != 0 || options.mountpoint.starts_with("/dev/fd/")) return options.mountpoint;
    const int device = ::open("/dev/fuse", O_RDWR | O_CLOEXEC);
    if (device < 0) return core::refused("open", errno);
    const std::string data = fmt::format("fd={},rootmode=40000,user_id=0,group_id=0{}", device,
                                         options.allow_other ? ",allow_other" : "");
    if (::mount("proc9", options.mountpoint.c_str(), "fuse.proc9", MS_NOSUID | MS_NODEV,
                data.c_str()) != 0) {
        const int problem = errno;
        ::close(device);
        return core::refused("mount", problem);
    }
    return fmt::format("/dev/fd/{}", device);
}

core::Result<> Server::mount(const MountOptions& options) {
    TRY(begin_session(*state_, options));
    const auto place = place_of_session(options);
    if (!place || fuse_session_mount(state_->session, place->c_str()) != 0)
        return fail(std::errc::io_error, "cannot mount {}{}", options.mountpoint,
                    place ? "" : ": " + place.error().why);
    state_->mounted = true;
    state_->context.backings.use(descriptor());
    const int flags = ::fcntl(descriptor(), F_GETFL);
    if (flags < 0 || ::fcntl(descriptor(), F_SETFL, flags | O_NONBLOCK) < 0)
        return core::refused("fcntl", errno);
    return done();
}

core::Result<> Server::resume(const MountOptions& options, const core::Saved& saved,
                              core::Restoring& restoring) {
    State& state = *state_;
    TRY(begin_session(state, options));
    const int descriptor = saved.at("descriptor");
    if (fuse_session_mount(state.session, fmt::format("/dev/fd/{}", descriptor).c_str()) != 0)
        return fail(std::errc::io_error, "descriptor {} is no mount", descriptor);
    state.mounted = true;
    state.context.last_handle = saved.at("last_handle");
    state.context.backings.use(descriptor);
    state.context.backings.restore(saved.at("backings"));
    for (const auto& told : saved.at("handles")) restore(state.context, told, restoring);
    // Libfuse has to hear what the kernel said once; the answer goes nowhere.
    process(state, saved.at("greeting").get<std::string>());
    for (const auto& told : saved.at("waiting")) process(state, told.get<std::string>());
    (void)receive();  // libfuse takes memory for requests with the first one
    return done();
}

bool Server::is_quiet() const {
    const auto& all = state_->context.under_way;
    return state_->line.empty() && std::all_of(all.begin(), all.end(), [](const auto& entry) {
               return entry.second.request->may_begin_anew && !entry.second.bytes.empty();
           });
}

std::string Server::what_is_under_way() const {
    for (const auto& [number, entry] : state_->context.under_way) {
        if (!entry.request->may_begin_anew)
            return fmt::format("request {}, of thread {} of user {}, takes long", number,
                               entry.request->thread, entry.request->who.uid);
    }
    return "something takes long";
}

core::Saved Server::save(core::Saving& saving) const {
    const Context& context = state_->context;
    core::Saved handles = core::Saved::array();
    for (const auto& [number, handle] : context.handles) {
        handles.push_back(fuse::save(saving, number, *handle));
        if (handle->poll)
            fuse_lowlevel_notify_poll(handle->poll);  // who polls asks the next daemon
    }
    core::Saved waiting = core::Saved::array();
    for (const auto& [number, request] : context.under_way) waiting.push_back(request.bytes);
    return {{"descriptor", saving.descriptor(descriptor())},
            {"last_handle", context.last_handle},
            {"backings", context.backings.save()},
            {"handles", handles},
            {"greeting", state_->greeting},
            {"waiting", waiting}};
}

// Whose fusermount3 is waited for must not be disturbed by a signal. What is mounted there by now may be another's.
void Server::unmount() {
    if (!std::exchange(state_->mounted, false) || was_unmounted(*state_)) return;
    sigset_t all;
    sigset_t before;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_BLOCK, &all, &before);
    if (state_->detach) state_->detach();
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void Server::on_ready(std::function<void()> hook) { state_->context.ready = std::move(hook); }
int Server::descriptor() const { return fuse_session_fd(state_->session); }

bool Server::receive() {
    State& state = *state_;
    const auto is_read = [](int got) {
        return got > 0 || got == -EINTR || got == -EAGAIN || got == -ENOMEM;
    };
    int got = 0;
    do {
        got = fuse_session_receive_buf(state.session, &state.buffer);
        lock(state);
        if (got <= 0) continue;
        if (!state.is_fair || !wait_in_line(state)) process(state, state.buffer);
    } while (state.is_fair && got > 0 && state.line.bytes() < most_waiting);
    serve_waiting();
    return is_read(got) && fuse_session_exited(state.session) == 0;
}

void Server::serve_waiting() {
    WaitingLine& line = state_->line;
    for (auto round = line.users(); round > 0; --round) process(*state_, line.take());
}

bool Server::is_behind() const { return !state_->line.empty(); }

}  // namespace proc9::fuse
