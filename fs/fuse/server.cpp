#include "fs/fuse/server.hpp"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <exception>
#include <map>

#include "fs/core/log.hpp"
#include "fs/fuse/backings.hpp"
#include "fs/fuse/call.hpp"

namespace proc9::fuse {
namespace {

using core::done;
using core::fail;
using Outcome = core::Task<core::Result<>>;

struct Context {  // what every operation needs; the session's user data
    node::Tree tree;
    Backings backings;
    std::multimap<fuse_ino_t, const Handle*> memory_handles;  // those that are open, by their node
    bool probed = false;
    std::size_t largest_piece = 1U << 20U;
    std::function<void()> ready;

    Context(core::Registry& registry, node::Options options) : tree(registry, std::move(options)) {}
};

node::OpenFlags flags_of(int flags) {
    const int mode = flags & O_ACCMODE;
    return {mode != O_WRONLY, mode != O_RDONLY, (flags & O_TRUNC) != 0, (flags & O_NONBLOCK) != 0,
            (flags & O_EXCL) != 0};
}

// ---------------------------------------------------------------------------------------------
// Operations. Each replies itself when it succeeds; an error is replied by run().

Outcome lookup(Context& context, Call& call, fuse_ino_t parent, std::string name) {
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
    attributes.owner = handle.opener;
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

Outcome setattr(Context& context, Call& call, fuse_ino_t ino, struct stat wanted, int fields) {
    node::Change change;
    if (fields & FUSE_SET_ATTR_MODE) change.mode = wanted.st_mode & 07777U;
    if (fields & FUSE_SET_ATTR_SIZE) change.size = static_cast<std::uint64_t>(wanted.st_size);
    const auto id = node::NodeId::unpack(ino);
    if (fields & (FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID)) {
        const node::Attributes now = co_await context.tree.attributes(call.request, id);
        change.owner = now.owner;
        if (fields & FUSE_SET_ATTR_UID) change.owner->uid = wanted.st_uid;
        if (fields & FUSE_SET_ATTR_GID) change.owner->gid = wanted.st_gid;
    }
    auto changed = co_await context.tree.change(call.request, id, change).result();
    const Handle* const kept = changed ? nullptr : kept_open(context, ino, changed.error());
    if (kept && change.size) {
        co_await kept->file->memory()->resize(*change.size);
        changed = attributes_of(*kept);
    }
    const node::Attributes attributes = co_await std::move(changed);
    call.attributes(attributes);
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
Handle* hold(Context& context, Call& call, node::NodeId node, node::OpenFileRef file,
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
    info.fh = reinterpret_cast<std::uint64_t>(handle.get());  // NOLINT
    return handle.release();
}

core::Task<> close(Context& context, Handle* handle, core::Request& request) {
    const std::unique_ptr<Handle> owned(handle);
    const auto [first, last] = context.memory_handles.equal_range(owned->node.pack());
    const auto its = std::find_if(first, last, [&](auto& entry) { return entry.second == handle; });
    if (its != last) context.memory_handles.erase(its);
    if (owned->backing != 0) context.backings.close(owned->node);
    co_await owned->file->close(request);
}

Outcome open(Context& context, Call& call, fuse_ino_t ino, fuse_file_info info) {
    const auto id = node::NodeId::unpack(ino);
    node::OpenFileRef file = co_await context.tree.open(call.request, id, flags_of(info.flags));
    Handle* const handle = hold(context, call, id, std::move(file), info);
    if (!call.opened(info)) co_await close(context, handle, call.request);
    co_return done();
}

Outcome create(Context& context, Call& call, fuse_ino_t parent, std::string name, mode_t mode,
               fuse_file_info info) {
    node::Created made = co_await context.tree.create(call.request, node::NodeId::unpack(parent),
                                                      name, mode & 07777U, flags_of(info.flags));
    Handle* const handle = hold(context, call, made.attributes.id, std::move(made.file), info);
    if (!call.created(made.attributes, info)) co_await close(context, handle, call.request);
    co_return done();
}

Outcome read(Context& /*context*/, Call& call, std::size_t size, off_t offset,
             fuse_file_info info) {
    call.request.is_splice = info.lock_owner == 0;  // read(2) has one, the page cache none
    const std::string bytes = co_await Handle::of(info).file->read(
        call.request, size, static_cast<std::uint64_t>(offset));
    call.text(bytes);
    co_return done();
}

// Who opened the file counts: a descriptor may have been passed to a program that runs as another.
Outcome write(Context& context, Call& call, std::string bytes, off_t offset, fuse_file_info info) {
    constexpr std::size_t page =
        4096;  // a piece that does not begin at a page is shorter by so much
    Handle& handle = Handle::of(info);
    if (handle.opener.uid != call.request.who.uid)
        co_return fail(std::errc::permission_denied, "the file was opened by another user");
    const bool may_go_on = bytes.size() > context.largest_piece - page;
    const std::size_t count = co_await handle.file->write(
        call.request, std::move(bytes), static_cast<std::uint64_t>(offset), may_go_on);
    call.written(count);
    co_return done();
}

Outcome flush(Context& /*context*/, Call& call, fuse_file_info info) {
    co_await Handle::of(info).file->flush(call.request);
    call.done();
    co_return done();
}

// Without it the kernel would take the holes of memory for data. Text has none.
Outcome lseek(Context& context, Call& call, fuse_ino_t ino, off_t offset, int whence,
              fuse_file_info info) {
    const auto from = static_cast<std::uint64_t>(offset);
    const bool wants_data = whence == SEEK_DATA;
    if (const auto memory = Handle::of(info).file->memory()) {
        call.position(co_await memory->seek(from, wants_data));
        co_return done();
    }
    const node::Attributes found =
        co_await context.tree.attributes(call.request, node::NodeId::unpack(ino));
    if (from >= found.size) co_return fail(std::errc::no_such_device_or_address, "after the end");
    call.position(wants_data ? from : found.size);
    co_return done();
}

Outcome release(Context& context, Call& call, fuse_file_info info) {
    co_await close(context, &Handle::of(info), call.request);
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
    info.fh = reinterpret_cast<std::uint64_t>(handle.get());  // NOLINT
    if (call.opened(info)) (void)handle.release();
    co_return done();
}

Outcome readdir(Context& /*context*/, Call& call, std::size_t size, off_t offset,
                fuse_file_info info) {
    const auto& entries = Handle::of(info).entries;
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

Outcome releasedir(Context& /*context*/, Call& call, fuse_file_info info) {
    delete &Handle::of(info);
    call.done();
    co_return done();
}

Outcome poll(Context& /*context*/, Call& call, fuse_file_info info, fuse_pollhandle* notify) {
    Handle& handle = Handle::of(info);
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
    core::spawn([](Context& shared, fuse_req_t request,
                   Outcome (*run)(Context&, Call&, Parameters...), Args... given) -> core::Task<> {
        Call call(request);
        int problem = 0;
        try {
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
    ops.mknod      = [](fuse_req_t r, fuse_ino_t, const char*, mode_t, dev_t) { fuse_reply_err(r, EPERM); };
    ops.mkdir      = [](fuse_req_t r, fuse_ino_t parent, const char* name, mode_t) { serve(r, mkdir, parent, std::string(name)); };
    ops.unlink     = [](fuse_req_t r, fuse_ino_t parent, const char* name) { serve(r, unlink, parent, std::string(name)); };
    ops.rmdir      = [](fuse_req_t r, fuse_ino_t parent, const char* name) { serve(r, rmdir, parent, std::string(name)); };
    ops.symlink    = [](fuse_req_t r, const char* target, fuse_ino_t parent, const char* name) { serve(r, symlink, std::string(target), parent, std::string(name)); };
    ops.rename     = [](fuse_req_t r, fuse_ino_t parent, const char* name, fuse_ino_t to, const char* new_name, unsigned flags) { serve(r, rename, parent, std::string(name), to, std::string(new_name), flags); };
    ops.link       = [](fuse_req_t r, fuse_ino_t ino, fuse_ino_t parent, const char* name) { serve(r, link, ino, parent, std::string(name)); };
    ops.open       = [](fuse_req_t r, fuse_ino_t ino, fuse_file_info* info) { serve(r, open, ino, *info); };
    ops.read       = [](fuse_req_t r, fuse_ino_t, size_t size, off_t offset, fuse_file_info* info) { serve(r, read, size, offset, *info); };
    ops.write      = [](fuse_req_t r, fuse_ino_t, const char* bytes, size_t size, off_t offset, fuse_file_info* info) { serve(r, write, std::string(bytes, size), offset, *info); };
    ops.flush      = [](fuse_req_t r, fuse_ino_t, fuse_file_info* info) { serve(r, flush, *info); };
    ops.lseek      = [](fuse_req_t r, fuse_ino_t ino, off_t offset, int whence, fuse_file_info* info) { serve(r, lseek, ino, offset, whence, *info); };
    ops.release    = [](fuse_req_t r, fuse_ino_t, fuse_file_info* info) { serve(r, release, *info); };
    ops.opendir    = [](fuse_req_t r, fuse_ino_t ino, fuse_file_info* info) { serve(r, opendir, ino, *info); };
    ops.readdir    = [](fuse_req_t r, fuse_ino_t, size_t size, off_t offset, fuse_file_info* info) { serve(r, readdir, size, offset, *info); };
    ops.releasedir = [](fuse_req_t r, fuse_ino_t, fuse_file_info* info) { serve(r, releasedir, *info); };
    ops.create     = [](fuse_req_t r, fuse_ino_t parent, const char* name, mode_t mode, fuse_file_info* info) { serve(r, create, parent, std::string(name), mode, *info); };
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
    bool mounted = false;
};

Server::Server(core::Registry& registry, node::Options options)
    : state_(std::make_unique<State>(registry, std::move(options))) {}

Server::~Server() {
    unmount();
    if (state_->session) fuse_session_destroy(state_->session);
    std::free(state_->buffer.mem);  // NOLINT: libfuse's
}

core::Result<> Server::mount(const MountOptions& options) {
    std::string names = "fsname=proc9,subtype=proc9";
    if (options.allow_other) names += ",allow_other";
    fuse_args args = FUSE_ARGS_INIT(0, nullptr);
    fuse_opt_add_arg(&args, "proc9d");
    fuse_opt_add_arg(&args, "-o");
    fuse_opt_add_arg(&args, names.c_str());
    state_->session = fuse_session_new(&args, &operations, sizeof operations, &state_->context);
    fuse_opt_free_args(&args);
    if (!state_->session)
        return fail(std::errc::invalid_argument, "libfuse does not take the options {}", names);
    if (fuse_session_mount(state_->session, options.mountpoint.c_str()) != 0)
        return fail(std::errc::io_error, "cannot mount {}", options.mountpoint);
    state_->mounted = true;
    state_->context.backings.use(descriptor());
    const int flags = ::fcntl(descriptor(), F_GETFL);
    if (flags < 0 || ::fcntl(descriptor(), F_SETFL, flags | O_NONBLOCK) < 0)
        return core::refused("fcntl", errno);
    return done();
}

void Server::unmount() {
    if (std::exchange(state_->mounted, false)) fuse_session_unmount(state_->session);
}

void Server::on_ready(std::function<void()> hook) { state_->context.ready = std::move(hook); }
int Server::descriptor() const { return fuse_session_fd(state_->session); }

bool Server::receive() {
    const int got = fuse_session_receive_buf(state_->session, &state_->buffer);
    if (got == -EINTR || got == -EAGAIN) return true;
    if (got <= 0) return false;
    fuse_session_process_buf(state_->session, &state_->buffer);
    return fuse_session_exited(state_->session) == 0;
}

}  // namespace proc9::fuse
