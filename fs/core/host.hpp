// What the core needs of an operating system that can make blank processes. daemon/os implements
// it on Linux; tests implement it with a recorder.
//
// Every verb of an Embryo acts on the live process, with that process's own identity, root and
// namespaces. Errors are the kernel's errno to the call made there; ESRCH when the process is gone,
// EINTR after interrupt().
#pragma once

#include <array>
#include <ctime>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "fs/core/memory_range.hpp"
#include "fs/core/request.hpp"
#include "fs/core/task.hpp"
#include "fs/core/text.hpp"

namespace proc9::core {

// An open file description that the daemon holds for somebody; closed with the last reference.
class Descriptor {
public:
    virtual ~Descriptor() = default;
    [[nodiscard]] virtual int number() const = 0;
};
using DescriptorRef = std::shared_ptr<Descriptor>;

// Memory that can be mapped into several processes and opened as a file. Its size, to the byte, and
// its mode bits can be changed behind our back by whoever has opened it.
class Memory : public Descriptor {
public:
    [[nodiscard]] virtual std::uint64_t size() const = 0;
    [[nodiscard]] virtual std::uint32_t mode() const = 0;  // permission bits and the sticky bit
    [[nodiscard]] virtual Result<> resize(std::uint64_t size) = 0;
    [[nodiscard]] virtual Result<> set_mode(std::uint32_t mode) = 0;
    struct Times {
        std::timespec accessed, modified, changed;
    };
    using NewTimes =
        std::array<std::timespec, 2>;  // accessed and modified, as futimens(2) has them
    [[nodiscard]] virtual Times times() const = 0;
    [[nodiscard]] virtual Result<> set_times(const NewTimes& times) = 0;
    [[nodiscard]] virtual Result<> punch(std::uint64_t offset, std::uint64_t length) = 0;  // a hole
    virtual Result<std::string> read(std::size_t size, std::uint64_t offset) = 0;
    virtual Result<std::size_t> write(std::string_view bytes, std::uint64_t offset) = 0;
    struct Extent {
        std::uint64_t offset;
        std::uint64_t length;
    };
    // Where in that part of it something may be other than zero, in order.
    [[nodiscard]] virtual std::vector<Extent> extents(std::uint64_t offset,
                                                      std::uint64_t length) const = 0;
    [[nodiscard]] virtual std::uint64_t allocated() const = 0;  // bytes that take memory
    // The next byte from there that is data, or of a hole; ENXIO after the end.
    virtual Result<std::uint64_t> seek(std::uint64_t offset, bool data) const = 0;
    int handles = 0;  // opened through the tree and not yet closed
    // From now on nobody can change it. False: somebody has it mapped writable, nothing is sealed.
    [[nodiscard]] virtual bool seal() = 0;
};
using MemoryRef = std::shared_ptr<Memory>;

// What is to be mapped, and where.
struct Mapping {
    struct Anonymous {};
    struct File {
        std::string path;  // opened in the child
        std::uint64_t offset = 0;
    };
    struct Object {
        MemoryRef memory;
        std::uint64_t offset = 0;
    };

    std::optional<Address> at;             // none: the kernel chooses
    std::uint64_t length = 0;              // 0: the whole file
    std::optional<Protection> protection;  // none: r-x of a program, rw- of another file
    bool shared = false;
    bool replace = false;  // of what is mapped there; otherwise that is EEXIST
    std::variant<Anonymous, File, Object> source;
};

// How a descriptor is opened, as fopen(3) says it.
struct OpenMode {
    bool read = false;
    bool write = false;
    bool append = false;
    bool create = false;
    bool truncate = false;
    bool exclusive = false;
    bool non_blocking = false;
};

// One property of a process, in the words of the command that sets it: {"nice", {"5"}}. The host knows
// the names, and what the words stand for.
struct Setting {
    std::string name;
    Words words;
    DescriptorRef directory = nullptr;  // chdir, chroot: instead of a path

    bool operator==(const Setting&) const = default;
};

// What must be decided when a process is made, because it cannot be changed later.
struct Birth {
    Words namespaces;        // new ones: "pid", "user", ...
    std::optional<Pid> pid;  // as the daemon sees it
};

struct Program {
    std::vector<std::string> candidates;  // paths, tried as execvp(3) tries them
    std::optional<int> descriptor;        // of the child's: the program itself, instead of a path
    Words arguments;
    Words environment;  // NAME=VALUE
};

using Registers = std::map<std::string, std::uint64_t>;  // by name; those not named are zero

// A line of the kernel's table of mappings.
struct MappedLine {
    Range range;
    std::string text;  // as in /proc/PID/maps, without the newline
    std::string name;  // its last column: a path, "[vdso]", or empty
    Protection protection;
    bool shared = false;
    std::uint64_t offset = 0;
    std::string file;  // its device and inode; empty: none

    [[nodiscard]] bool is_kernels() const { return name == "[vdso]" || name.starts_with("[vvar"); }
};

// A process that memory is copied from. It does not run as long as this exists.
class Source {
public:
    virtual ~Source() = default;
    virtual Result<std::vector<MappedLine>> maps() = 0;
    [[nodiscard]] virtual DescriptorRef memory() const = 0;  // reads at its addresses
    // What may be other than zero there and is in no file.
    virtual Result<std::vector<Range>> own_pages(Range range) = 0;
    // Where the file of a mapping may be found.
    [[nodiscard]] virtual Words paths_of(const MappedLine& line) const = 0;
};

// Bytes of a source, to be read by an embryo.
struct Load {
    DescriptorRef source;
    std::vector<Range> pieces;  // in the source
    Address origin;             // of the source: the first byte of the object, or goes to `to`
    MemoryRef object;           // none: into its own memory, which must be writable
    Address to;
    bool may_be_short = false;  // what cannot be read stays as it is; else EFAULT
};

struct ExitStatus {
    std::string text;  // "", "exit 3", "signal 9 KILL"
    std::uint64_t user_ms = 0;
    std::uint64_t system_ms = 0;
};

// The kernel's own limit (PID_MAX_LIMIT).
inline constexpr std::uint32_t highest_pid = 1U << 22U;

// As many as a node's number has room for.
inline constexpr std::uint32_t highest_descriptor = (1U << 24U) - 1;

struct Numbered {
    int number;
    DescriptorRef descriptor;
};

class Saving;
class Restoring;

class Embryo {
public:
    virtual ~Embryo() = default;  // an embryo that was not started is killed

    [[nodiscard]] virtual Pid pid() const = 0;
    // Another process is its parent, and that of its forks.
    [[nodiscard]] virtual bool is_adopted() const = 0;

    // Building. One verb at a time. interrupt(true) ends the one under way, or the next one, with
    // EINTR; interrupt(false) takes back what did not come to that.
    virtual Task<Result<Range>> map(Mapping mapping) = 0;
    virtual Task<Result<std::vector<MappedLine>>> map_vdso(std::optional<Address> at) = 0;
    virtual Task<Result<>> unmap(Range range) = 0;
    virtual Task<Result<>> protect(Range range, Protection protection) = 0;
    virtual Task<Result<>> move(Range range, Address to) = 0;
    virtual Task<Result<>> save(Range readable, MemoryRef to, std::uint64_t offset) = 0;
    virtual Task<Result<>> load(Load load) = 0;
    virtual Task<Result<>> open(int number, std::string path, OpenMode mode,
                                std::uint32_t perm) = 0;
    // All of them, or those in front of the one that was refused.
    virtual Task<Result<>> install(std::vector<Numbered> descriptors, bool close_on_exec) = 0;
    Task<Result<>> install(int number, DescriptorRef descriptor, bool close_on_exec) {
        std::vector<Numbered> one;
        one.push_back({number, std::move(descriptor)});
        co_return co_await install(std::move(one), close_on_exec).result();
    }
    virtual Task<Result<>> duplicate(int from, int to) = 0;
    virtual Task<Result<>> close(int number) = 0;
    virtual Task<Result<>> set_close_on_exec(int number, bool on) = 0;
    virtual Task<Result<>> seek(int number, std::uint64_t offset) = 0;
    // All of an open file; EFBIG if that is more than `most` bytes.
    virtual Task<Result<std::string>> read(DescriptorRef file, std::size_t most) = 0;
    // In their order, and in as few steps as can be. Those that were applied are taken out: one that is refused is then
    // the first. ENOENT if there is no setting of that name, EINVAL if the words mean nothing.
    virtual Task<Result<>> apply_all(std::vector<Setting>& settings) = 0;
    Task<Result<>> apply(Setting setting) {
        std::vector<Setting> one;
        one.push_back(std::move(setting));
        co_return co_await apply_all(one).result();
    }
    // Of those that fork(2) passes on and that can be seen from outside, as they were set last.
    virtual Result<std::vector<Setting>> passed_on() = 0;
    // Another one, equal in all: memory copy-on-write, descriptors duplicated. ENOTSUP where the
    // kernel knows no way.
    virtual Task<Result<std::unique_ptr<Embryo>>> fork() = 0;
    // One more thread, which waits for the start. Settings reach it too: its id may change then.
    virtual Task<Result<>> add_thread() = 0;
    [[nodiscard]] virtual std::vector<Pid> waiting_threads() const = 0;  // in that order
    // A blank one that shares contexts (mem fd fs sig) with this one, and has its settings.
    virtual Task<Result<std::unique_ptr<Embryo>>> share(Words contexts, Birth birth) = 0;
    // Done when the program runs. The settings are applied first, as by apply_all: if any is left, it was refused.
    virtual Task<Result<>> exec_with(std::vector<Setting>& settings, Program program) = 0;
    Task<Result<>> exec(Program program) {
        std::vector<Setting> none;
        co_return co_await exec_with(none, std::move(program)).result();
    }
    // Done when it runs: all its threads, with their registers, the first one first.
    virtual Task<Result<>> enter(std::vector<Registers> threads) = 0;
    // An adopted process goes on where it was parked. EINVAL for another.
    virtual Task<Result<>> resume() = 0;
    virtual void interrupt(bool on) = 0;

    // At any time.
    virtual void discard() = 0;  // an embryo dies, and leaves nothing to those who share with it
    virtual Result<> send_signal(int number) = 0;
    [[nodiscard]] virtual bool is_stopped() const = 0;  // by a signal, whoever sent it
    virtual void on_exit(std::function<void(ExitStatus)> hook) = 0;
    // Of an adopted process: its parent has reaped it, and its number may be given again.
    virtual void on_reaped(std::function<void()> hook) = 0;

    // Its memory as it is mapped: EFAULT where that cannot be read, or written.
    virtual Task<Result<std::string>> peek(Address from, std::size_t size) = 0;
    virtual Task<Result<std::size_t>> poke(Address to, std::string bytes) = 0;
    virtual Result<MemoryRef> make_memory() = 0;        // for it: its owner has to answer for that
    virtual MemoryRef hold_memory(int descriptor) = 0;  // what another daemon has made so
    // What the next daemon's Host::restore() wants to know.
    virtual nlohmann::json save_state(Saving& saving) = 0;

    // What the kernel says of it now.
    virtual Result<std::vector<MappedLine>> maps() = 0;
    virtual Result<std::vector<int>> descriptors() = 0;
    virtual Result<std::string> descriptor_target(int number) = 0;
    virtual Result<DescriptorRef> take_descriptor(int number) = 0;
    virtual Result<std::string> link(std::string_view name) = 0;  // of /proc/PID: cwd, ns/net, ...
    virtual Result<std::string> text(std::string_view name) = 0;  // of /proc/PID: limits, ...
    virtual Result<std::map<std::string, std::string>> status() = 0;  // of /proc/PID/status
    virtual Result<std::vector<Pid>> threads() = 0;
    // Each as the command that would set it: applied in that order to a new embryo of the same
    // user they make it equal. Of an embryo, a verb like those of building.
    virtual Task<Result<std::vector<Setting>>> settings() = 0;
};

class Host {
public:
    virtual ~Host() = default;

    // Adds to who asks what the kernel knows besides, where callers differ in it.
    virtual void identify(Request& request) = 0;

    // Equal to a child of the caller's own. EPERM if there is something that it cannot be given.
    virtual Task<Result<std::unique_ptr<Embryo>>> efork(const Request& request, Birth birth) = 0;
    // A child of the process `parent`, which waits at the other end of parent's descriptor `link` and
    // has memory and descriptors already.
    virtual Task<Result<std::unique_ptr<Embryo>>> adopt(const Request& request, Pid parent,
                                                        int link) = 0;
    virtual Result<MemoryRef> make_memory() = 0;
    virtual DescriptorRef hold_descriptor(int descriptor) = 0;
    virtual std::unique_ptr<Embryo> restore(const nlohmann::json& saved, Restoring& restoring) = 0;
    virtual Result<std::pair<DescriptorRef, DescriptorRef>> make_pipe() = 0;  // reader, writer
    [[nodiscard]] virtual std::vector<std::string> register_names() const = 0;
    // What it is called on this machine: pc, sp, tls and arg0 to arg5 are roles of some. EINVAL if
    // there is no such register, or it cannot hold the value.
    [[nodiscard]] virtual Result<std::string> register_for(const std::string& name,
                                                           std::uint64_t value) const = 0;
    [[nodiscard]] virtual std::uint64_t now_ms() const = 0;

    // The caller's process, by the id that shows what that has: of another thread if the first one has ended.
    virtual Result<Pid> process_of_thread(Pid thread) = 0;
    // Of any process that the caller may trace, as its own; EACCES or EPERM otherwise.
    virtual Result<DescriptorRef> take_descriptor(const Request& request, Pid from, int number) = 0;
    // Stops the process, but for the thread that waits for the answer; an embryo it only looks at.
    virtual Task<Result<std::unique_ptr<Source>>> freeze(const Request& request, Pid from,
                                                         bool is_embryo) = 0;
    // Of the caller's own. Those that exec would leave open, in the order of their numbers.
    virtual Result<std::vector<Numbered>> take_inheritable(Pid caller) = 0;
    // NAME=VALUE, zero-ended. To be read by an embryo: it may lie in a file that is slow.
    virtual Result<DescriptorRef> environment_of(Pid caller) = 0;
    virtual Result<DescriptorRef> directory_of(Pid caller) = 0;
    // What fork(2) passes on and can be seen from outside, each as the command that sets it.
    virtual Result<std::vector<Setting>> settings_of(Pid thread) = 0;
};

}  // namespace proc9::core
