// The kernel's side of the mount: requests through a socket that plays /dev/fuse. Their form is the kernel's; opcodes,
// nodes, names, flags, offsets and bodies are anybody's. Each is answered once at most, and never with EIO.
#include <fcntl.h>
#include <linux/fuse.h>
#include <sys/socket.h>

#include <cstring>
#include <map>
#include <set>

#include "daemon/os/unique_fd.hpp"
#include "fs/fuse/server.hpp"
#include "tests/fuzz/fixture.hpp"

using namespace proc9;
using fuzz::good;
using fuzz::require;

namespace {

constexpr std::size_t longest = 1U << 17U;

template <class T>
std::string bytes_of(const T& value) {
    return {reinterpret_cast<const char*>(&value), sizeof value};
}

struct Open {
    std::uint64_t node;
    std::uint64_t fh;
    bool is_directory;
    bool reads = true;
    bool writes = true;
};

// What the kernel knows of the mount.
class Kernel {
public:
    Kernel(FuzzedDataProvider& script, fuse::Server& server, os::UniqueFd device)
        : script_(script), server_(server), device_(std::move(device)) {
        fuse_init_in init{};
        init.major = FUSE_KERNEL_VERSION;
        init.minor = FUSE_KERNEL_MINOR_VERSION;
        init.max_readahead = longest;
        init.flags =
            script_.ConsumeIntegral<std::uint32_t>() | FUSE_ATOMIC_O_TRUNC | FUSE_BIG_WRITES;
        request(FUSE_INIT, 0, bytes_of(init));
    }

    void act() {
        const auto node = some_node();
        switch (script_.ConsumeIntegralInRange(0, 26)) {
            case 0: return entry(FUSE_LOOKUP, node, some_name());
            case 1: return request(FUSE_GETATTR, node, bytes_of(fuse_getattr_in{}));
            case 2: return set_attributes(node);
            case 3: return request(FUSE_READLINK, node, "");
            case 4:
                return entry(FUSE_MKDIR, node, bytes_of(fuse_mkdir_in{0755, 022}) + some_name());
            case 5: return request(FUSE_UNLINK, node, some_name());
            case 6: return request(FUSE_RMDIR, node, some_name());
            case 7: return entry(FUSE_SYMLINK, node, some_name() + some_text(PATH_MAX - 1));
            case 8:
                return request(FUSE_RENAME, node,
                               bytes_of(fuse_rename_in{some_node()}) + some_name() + some_name());
            case 9: return rename_with_flags(node);
            case 10:
                return entry(FUSE_LINK, node, bytes_of(fuse_link_in{some_node()}) + some_name());
            case 11: return open(FUSE_OPEN, node, false);
            case 12: return open(FUSE_OPENDIR, node, true);
            case 13: return create(node);
            case 14: return read();
            case 15: return write(some_lines());
            case 16: return write(script_.ConsumeRandomLengthString(200));
            case 17: return flush();
            case 18: return release();
            case 19: return read_directory();
            case 20: return seek();
            case 21: return poll();
            case 22: return interrupt();
            case 23: return open_and_write();
            case 24: return forget(node);
            case 25:
                return request(static_cast<std::uint32_t>(script_.ConsumeIntegralInRange(52, 5000)),
                               node, "");
            default: return request(FUSE_ACCESS, node, bytes_of(fuse_access_in{}));
        }
    }

    // Nobody is left who waits, and every file is closed.
    void end(core::Registry& registry, fake::FakeHost& host) {
        while (!waiting_.empty()) {
            const auto before = waiting_.size();
            for (const auto unique : std::set<std::uint64_t>(keys()))
                request(FUSE_INTERRUPT, 0, bytes_of(fuse_interrupt_in{unique}));
            host.deliver_exits();
            require(waiting_.size() < before, "who waits can be interrupted");
        }
        while (!opened_.empty()) release_at(0);
        // libfuse drops an interruption that came too early with the next request.
        for (std::size_t i = interrupts_.size(); i > 0; --i)
            request(FUSE_GETATTR, FUSE_ROOT_ID, bytes_of(fuse_getattr_in{}));
        const auto all = registry.all();
        for (const auto& [id, process] : all) registry.remove(process);
        host.deliver_exits();
    }

private:
    static constexpr std::array names = {
        "ctl",  "clone", "help",   "self",    "stats.json", "error",  "ls",
        "sort", "101",   "102",    "103",     "104",        "status", "status.json",
        "maps", "mem",   "600000", "700000",  "fd",         "0",      "1",
        "3",    "env",   "HOME",   "args",    "cwd",        "root",   "exe",
        "ns",   "net",   "regs",   "limits",  "wait",       "note",   "process.json",
        "task", ".",     "..",     "CuXXXX12"};

    std::string some_name() {
        std::string name = script_.PickValueInArray(names);
        if (script_.ConsumeIntegralInRange(0, 7) == 0) name = some_text(255);
        std::replace(name.begin(), name.end(), '/', '_');
        if (name.back() != '\0') name += '\0';
        return name.size() == 1 ? std::string("x\0", 2) : name;
    }
    // Without a zero byte but the last.
    std::string some_text(std::size_t most) {
        std::string text = script_.ConsumeRandomLengthString(most);
        std::erase(text, '\0');
        return text + '\0';
    }
    // What the manual shows.
    std::string some_lines() {
        std::string text;
        const auto all = ctl::commands();
        for (int count = script_.ConsumeIntegralInRange(1, 3); count > 0; --count)
            text +=
                std::string(
                    all[script_.ConsumeIntegralInRange<std::size_t>(0, all.size() - 1)].example) +
                "\n";
        return text;
    }
    std::uint64_t some_node() {
        if (script_.ConsumeIntegralInRange(0, 3) > 0) {
            if (nodes_.empty()) return FUSE_ROOT_ID;
            return nodes_[script_.ConsumeIntegralInRange<std::size_t>(0, nodes_.size() - 1)];
        }
        node::NodeId id;
        id.process = script_.ConsumeIntegralInRange<std::uint32_t>(0, 5);
        id.kind = static_cast<node::Kind>(script_.ConsumeIntegralInRange(0, 40));
        id.item = script_.ConsumeIntegralInRange<std::uint32_t>(0, 16);
        return id.pack();
    }
    template <class Fits>
    const Open* some_open(Fits fits) {
        std::vector<const Open*> fitting;
        for (const auto& one : opened_) {
            if (fits(one)) fitting.push_back(&one);
        }
        if (fitting.empty()) return nullptr;
        return fitting[script_.ConsumeIntegralInRange<std::size_t>(0, fitting.size() - 1)];
    }

    const Open* some_directory() {
        return some_open([](const Open& one) { return one.is_directory; });
    }
    const Open* some_file() {
        return some_open([](const Open& one) { return !one.is_directory; });
    }

    // Answers with what was replied, if it was.
    void request(std::uint32_t opcode, std::uint64_t node, const std::string& body) {
        (void)ask(opcode, node, body, 0);
    }
    std::optional<std::string> ask(std::uint32_t opcode, std::uint64_t node,
                                   const std::string& body, std::uint64_t fh) {
        fuse_in_header header{};
        header.len = static_cast<std::uint32_t>(sizeof header + body.size());
        header.opcode = opcode;
        header.unique = ++unique_;
        header.nodeid = node;
        header.uid = script_.PickValueInArray<std::uint32_t>({1000, 1000, 1000, 0, 2000});
        header.gid = header.uid;
        header.pid = script_.PickValueInArray<std::uint32_t>({7, 7, 0, 101});
        const std::string message = bytes_of(header) + body;
        const bool has_answer =
            opcode != FUSE_FORGET && opcode != FUSE_BATCH_FORGET && opcode != FUSE_INTERRUPT;
        if (has_answer) waiting_[unique_] = fh;
        if (opcode == FUSE_INTERRUPT)
            interrupts_.insert(unique_);  // may be answered: it came too early
        require(::send(device_.get(), message.data(), message.size(), 0) ==
                    static_cast<ssize_t>(message.size()),
                "sent");
        require(server_.receive(), "the server goes on");
        const auto mine = unique_;
        auto replies = hear();
        const auto found = replies.find(mine);
        if (found == replies.end()) return std::nullopt;
        return found->second;
    }
    // Everything that came; of what worked, the body.
    std::map<std::uint64_t, std::string> hear() {
        std::map<std::uint64_t, std::string> worked;
        static std::array<char, 2 * longest> buffer;
        while (true) {
            const auto got = ::recv(device_.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
            if (got < 0) return worked;
            fuse_out_header header{};
            require(static_cast<std::size_t>(got) >= sizeof header, "a reply has a header");
            std::memcpy(&header, buffer.data(), sizeof header);
            require(header.len == static_cast<std::uint32_t>(got), "and is as long as it says");
            if (header.unique == 0) continue;  // a notification
            const bool is_mine =
                waiting_.erase(header.unique) + interrupts_.erase(header.unique) == 1;
            require(is_mine, "each request is answered once");
            require(header.error > -512 && header.error <= 0 && header.error != -EIO,
                    "with an errno");
            if (header.error == 0)
                worked[header.unique] = {buffer.data() + sizeof header,
                                         static_cast<std::size_t>(got) - sizeof header};
        }
    }

    void entry(std::uint32_t opcode, std::uint64_t node, const std::string& body) {
        const auto reply = ask(opcode, node, body, 0);
        if (reply) remember(*reply);
    }
    void remember(const std::string& reply) {
        fuse_entry_out made{};
        require(reply.size() >= sizeof made, "an entry is whole");
        std::memcpy(&made, reply.data(), sizeof made);
        if (made.nodeid != 0) nodes_.push_back(made.nodeid);
    }
    void set_attributes(std::uint64_t node) {
        fuse_setattr_in wanted{};
        wanted.valid = script_.ConsumeIntegral<std::uint32_t>() &
                       (FATTR_MODE | FATTR_UID | FATTR_GID | FATTR_SIZE | FATTR_MTIME);
        wanted.mode = script_.ConsumeIntegral<std::uint32_t>();
        wanted.size = script_.ConsumeBool()
                          ? script_.ConsumeIntegralInRange<std::uint64_t>(0, 1U << 18U)
                          : script_.ConsumeIntegral<std::uint64_t>() >> 1U;
        wanted.uid = script_.PickValueInArray<std::uint32_t>({1000, 0});
        wanted.gid = wanted.uid;
        request(FUSE_SETATTR, node, bytes_of(wanted));
    }
    void rename_with_flags(std::uint64_t node) {
        fuse_rename2_in wanted{};
        wanted.newdir = some_node();
        wanted.flags = script_.ConsumeIntegralInRange<std::uint32_t>(0, 7);
        request(FUSE_RENAME2, node, bytes_of(wanted) + some_name() + some_name());
    }
    const Open* opened(std::uint64_t node, bool is_directory, std::uint32_t flags,
                       const std::string& reply) {
        fuse_open_out out{};
        require(reply.size() >= sizeof out, "an open is whole");
        std::memcpy(&out, reply.data() + reply.size() - sizeof out, sizeof out);
        const auto mode = flags & O_ACCMODE;
        opened_.push_back({node, out.fh, is_directory, mode != O_WRONLY, mode != O_RDONLY});
        return &opened_.back();
    }
    std::uint32_t some_flags() {
        return script_.PickValueInArray<std::uint32_t>({O_RDONLY, O_WRONLY, O_RDWR}) |
               script_.PickValueInArray<std::uint32_t>(
                   {0, 0, O_TRUNC, O_NONBLOCK, O_APPEND, O_EXCL});
    }
    void open(std::uint32_t opcode, std::uint64_t node, bool is_directory) {
        fuse_open_in wanted{};
        wanted.flags = some_flags();
        const auto reply = ask(opcode, node, bytes_of(wanted), 0);
        if (reply) opened(node, is_directory, wanted.flags, *reply);
    }
    void create(std::uint64_t node) {
        fuse_create_in wanted{};
        wanted.flags = some_flags() | O_CREAT;
        wanted.mode = S_IFREG | script_.ConsumeIntegralInRange<std::uint32_t>(0, 07777);
        const auto reply = ask(FUSE_CREATE, node, bytes_of(wanted) + some_name(), 0);
        if (!reply) return;
        remember(*reply);
        opened(nodes_.back(), false, wanted.flags, *reply);
    }
    void read() {
        const Open* const file =
            some_open([](const Open& one) { return !one.is_directory && one.reads; });
        if (!file) return;
        fuse_read_in wanted{};
        wanted.fh = file->fh;
        wanted.offset = some_offset();
        wanted.size = script_.ConsumeIntegralInRange<std::uint32_t>(0, 1U << 16U);
        wanted.lock_owner = script_.ConsumeBool() ? 1 : 0;
        const auto reply = ask(FUSE_READ, file->node, bytes_of(wanted), file->fh);
        require(!reply || reply->size() <= wanted.size, "no more is read than was asked for");
    }
    std::uint64_t some_offset() {
        return script_.ConsumeBool() ? 0 : script_.ConsumeIntegral<std::uint64_t>() >> 1U;
    }
    void write(const std::string& bytes) {
        const Open* const file =
            some_open([](const Open& one) { return !one.is_directory && one.writes; });
        if (file) write_to(*file, bytes);
    }
    void write_to(const Open& file, const std::string& bytes) {
        fuse_write_in wanted{};
        wanted.fh = file.fh;
        wanted.offset = some_offset();
        wanted.size = static_cast<std::uint32_t>(bytes.size());
        const auto reply = ask(FUSE_WRITE, file.node, bytes_of(wanted) + bytes, file.fh);
        if (!reply) return;
        fuse_write_out out{};
        std::memcpy(&out, reply->data(), std::min(reply->size(), sizeof out));
        require(out.size <= bytes.size(), "no more is taken than was given");
    }
    // What `echo LINE > FILE` does.
    void open_and_write() {
        const auto node = some_node();
        fuse_open_in wanted{};
        wanted.flags = O_WRONLY | O_TRUNC;
        const auto reply = ask(FUSE_OPEN, node, bytes_of(wanted), 0);
        if (reply) write_to(*opened(node, false, wanted.flags, *reply), some_lines());
    }
    void flush() {
        const Open* const file = some_file();
        if (!file) return;
        fuse_flush_in wanted{};
        wanted.fh = file->fh;
        (void)ask(FUSE_FLUSH, file->node, bytes_of(wanted), file->fh);
    }
    void release() {
        if (opened_.empty()) return;
        release_at(script_.ConsumeIntegralInRange<std::size_t>(0, opened_.size() - 1));
    }
    // Not while somebody reads from it.
    void release_at(std::size_t index) {
        const Open one = opened_[index];
        for (const auto& [unique, fh] : waiting_) {
            if (fh == one.fh) return;
        }
        opened_.erase(opened_.begin() + static_cast<std::ptrdiff_t>(index));
        fuse_release_in wanted{};
        wanted.fh = one.fh;
        request(one.is_directory ? FUSE_RELEASEDIR : FUSE_RELEASE, one.node, bytes_of(wanted));
    }
    void read_directory() {
        const Open* const directory = some_directory();
        if (!directory) return;
        fuse_read_in wanted{};
        wanted.fh = directory->fh;
        wanted.offset = script_.ConsumeBool() ? script_.ConsumeIntegralInRange<std::uint64_t>(0, 8)
                                              : some_offset();
        wanted.size = script_.ConsumeIntegralInRange<std::uint32_t>(0, 8192);
        (void)ask(FUSE_READDIR, directory->node, bytes_of(wanted), directory->fh);
    }
    void seek() {
        const Open* const file = some_file();
        if (!file) return;
        fuse_lseek_in wanted{};
        wanted.fh = file->fh;
        wanted.offset = some_offset();
        wanted.whence = script_.ConsumeBool() ? SEEK_DATA : SEEK_HOLE;
        (void)ask(FUSE_LSEEK, file->node, bytes_of(wanted), file->fh);
    }
    void poll() {
        const Open* const file = some_file();
        if (!file) return;
        fuse_poll_in wanted{};
        wanted.fh = file->fh;
        wanted.kh = script_.ConsumeIntegral<std::uint64_t>();
        wanted.flags = script_.ConsumeBool() ? FUSE_POLL_SCHEDULE_NOTIFY : 0;
        (void)ask(FUSE_POLL, file->node, bytes_of(wanted), file->fh);
    }
    void interrupt() {
        fuse_interrupt_in wanted{};
        wanted.unique = waiting_.empty() ? unique_ + 2
                                         : waiting_.begin()->first;  // or one that is still to come
        request(FUSE_INTERRUPT, 0, bytes_of(wanted));
    }
    void forget(std::uint64_t node) { request(FUSE_FORGET, node, bytes_of(fuse_forget_in{1})); }

    std::set<std::uint64_t> keys() const {
        std::set<std::uint64_t> all;
        for (const auto& [unique, fh] : waiting_) all.insert(unique);
        return all;
    }

    FuzzedDataProvider& script_;
    fuse::Server& server_;
    os::UniqueFd device_;
    std::uint64_t unique_ = 0;
    std::vector<std::uint64_t> nodes_;
    std::vector<Open> opened_;
    std::map<std::uint64_t, std::uint64_t> waiting_;  // requests without an answer, and their file
    std::set<std::uint64_t> interrupts_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    FuzzedDataProvider script(data, size);
    fuzz::Scene scene;
    scene.host.told.emplace();
    scene.furnish();
    fuse::Server server(scene.registry, {});
    std::array<int, 2> ends{};
    require(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) == 0,
            "socketpair");
    good(server.mount({fmt::format("/dev/fd/{}", ends[0]), false}));
    Kernel kernel(script, server, os::UniqueFd(ends[1]));
    for (int count = 0; count < 40 && script.remaining_bytes() > 0; ++count) {
        kernel.act();
        if (script.ConsumeIntegralInRange(0, 7) == 0) scene.host.deliver_exits();
        scene.check();
    }
    kernel.end(scene.registry, scene.host);
    return 0;
}
