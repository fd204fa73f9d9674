// The functions that stand in the place of the C library's; see points.hpp.
#include "daemon/faults/points.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>

#include "daemon/stub/wire.h"

// WRAP(answer, name, (parameters)): what is to be done instead of a function of the C library. CMake reads these
// names. Those with dots in their declaration are taken with the most arguments that anybody gives.
#define WRAP(type, name, parameters)                                                               \
    extern "C" type __real_##name parameters;                                                      \
    extern "C" type __wrap_##name parameters;                                                      \
    extern "C" type __wrap_##name parameters

extern "C" int __real_open(const char* path, int flags, unsigned mode);

namespace {

using proc9::faults::index_of;
using proc9::faults::less;
using proc9::faults::points;
using proc9::faults::Shared;

void describe(Shared& shared) {
    shared.order.rows = points.size();
    for (std::size_t i = 0; i < points.size(); ++i) {
        points.at(i).name.copy(shared.table.at(i).name.data(), shared.table.at(i).name.size() - 1);
        shared.table.at(i).answers = points.at(i).answers;
    }
}

// Nothing where nobody asks for faults.
Shared* map_file() {
    const char* const path = std::getenv("PROC9_FAULTS");
    if (!path) return nullptr;
    const int file = __real_open(path, O_RDWR | O_CLOEXEC, 0);
    if (file < 0 || ::ftruncate(file, sizeof(Shared)) != 0) std::abort();
    void* const place =
        ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    ::close(file);
    if (place == MAP_FAILED) std::abort();
    auto& shared = *static_cast<Shared*>(place);
    describe(shared);
    return &shared;
}

// Zero until then: what other initialisers call is left alone.
Shared* const shared = map_file();

// What this call is to answer, if it is the one.
std::optional<int> strike(std::uint32_t point) {
    if (!shared) return std::nullopt;
    ++shared->table.at(point).calls;
    auto& order = shared->order;
    if (order.point != point || order.countdown == 0) return std::nullopt;
    if (--order.countdown != 0) return std::nullopt;
    if (order.lasts != 0) order.countdown = 1;
    ++order.fired;
    return order.fault;
}

template <class Real, class... Arguments>
auto attempt(std::uint32_t point, Real real, Arguments... arguments) {
    using Answer = decltype(real(arguments...));
    const auto fault = strike(point);
    if (!fault) return real(arguments...);
    errno = *fault;
    if constexpr (std::is_pointer_v<Answer>) {
        return Answer{nullptr};
    } else {
        return Answer{-1};
    }
}

// `size` becomes what the call may transfer. Pagemap has words.
template <class Call>
ssize_t transfer(std::uint32_t point, std::size_t size, Call call) {
    constexpr std::size_t word = 8;
    const auto fault = strike(point);
    if (!fault) return call(size);
    if (*fault == less) return call(size < 2 * word ? size / 2 : size / 2 / word * word);
    errno = *fault;
    return -1;
}

bool is_regular(int file) {
    struct stat found{};
    const int problem = errno;
    const bool is_known = ::fstat(file, &found) == 0;
    errno = problem;
    return is_known && S_ISREG(found.st_mode);
}

// Not that through which libfuse has its descriptor from fusermount3.
bool is_link(int socket) {
    int type = 0;
    socklen_t size = sizeof type;
    return ::getsockopt(socket, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_SEQPACKET;
}

// A call in the place of another, which fails with ENOMEM.
void spoil(proc9_call& call) {
    constexpr std::uint64_t more_than_there_is = 1ULL << 62U;
    call.number = SYS_mmap;
    call.results = 0;
    call.descriptors = 0;
    const std::array<std::uint64_t, 6> arguments = {
        0, more_than_there_is, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, ~0ULL, 0};
    std::copy(arguments.begin(), arguments.end(), std::begin(call.arguments));
}

// Not what tidies up, nor what takes a descriptor along even when it fails, nor what never does.
bool can_fail(const proc9_call& call) {
    const bool takes = call.number == PROC9_CALL_INSTALL || call.number == PROC9_CALL_SHARE;
    const bool never = call.number == SYS_close || call.number == SYS_getpid;
    return (call.flags & PROC9_ALWAYS) == 0 && !never && !takes;
}

// Of a batch whose answer somebody waits for.
std::optional<std::string> spoiled(const msghdr& message) {
    const iovec& bytes = message.msg_iov[0];
    std::string batch(static_cast<const char*>(bytes.iov_base), bytes.iov_len);
    proc9_batch header{};
    std::memcpy(&header, batch.data(), sizeof header);
    const bool is_batch =
        batch.size() >= sizeof header + std::size_t{header.count} * sizeof(proc9_call);
    if (!is_batch || header.reply == 0) return std::nullopt;
    bool is_changed = false;
    for (std::uint32_t i = 0; i < header.count; ++i) {
        char* const place = batch.data() + sizeof header + i * sizeof(proc9_call);
        proc9_call call{};
        std::memcpy(&call, place, sizeof call);
        if (!can_fail(call) || !strike(index_of("stub"))) continue;
        spoil(call);
        std::memcpy(place, &call, sizeof call);
        is_changed = true;
    }
    return is_changed ? std::optional(std::move(batch)) : std::nullopt;
}

}  // namespace

// ---------------------------------------------------------------------------------------------
// Descriptors

WRAP(int, open, (const char* path, int flags, unsigned mode)) {
    return attempt(index_of("open"), __real_open, path, flags, mode);
}
WRAP(int, fcntl, (int file, int what, long argument)) {
    const bool can_fail = what == F_DUPFD || what == F_DUPFD_CLOEXEC || what == F_ADD_SEALS;
    if (!can_fail) return __real_fcntl(file, what, argument);
    return attempt(index_of("fcntl"), __real_fcntl, file, what, argument);
}
WRAP(int, memfd_create, (const char* name, unsigned flags)) {
    return attempt(index_of("memfd_create"), __real_memfd_create, name, flags);
}
WRAP(DIR*, opendir, (const char* path)) {
    return attempt(index_of("opendir"), __real_opendir, path);
}
WRAP(dirent*, readdir, (DIR * directory)) {
    return attempt(index_of("readdir"), __real_readdir, directory);
}
WRAP(int, pipe2, (int* ends, int flags)) {
    return attempt(index_of("pipe2"), __real_pipe2, ends, flags);
}
WRAP(int, socketpair, (int family, int type, int protocol, int* ends)) {
    return attempt(index_of("socketpair"), __real_socketpair, family, type, protocol, ends);
}
WRAP(int, setsockopt, (int socket, int level, int name, const void* value, socklen_t size)) {
    return attempt(index_of("setsockopt"), __real_setsockopt, socket, level, name, value, size);
}
WRAP(int, epoll_ctl, (int set, int what, int file, epoll_event* event)) {
    if (what != EPOLL_CTL_ADD) return __real_epoll_ctl(set, what, file, event);
    return attempt(index_of("watch"), __real_epoll_ctl, set, what, file, event);
}

// ---------------------------------------------------------------------------------------------
// Bytes

WRAP(int, fchmod, (int file, mode_t mode)) {
    return attempt(index_of("fchmod"), __real_fchmod, file, mode);
}
WRAP(int, fchown, (int file, uid_t user, gid_t group)) {
    return attempt(index_of("fchown"), __real_fchown, file, user, group);
}
WRAP(int, ftruncate, (int file, off_t size)) {
    return attempt(index_of("ftruncate"), __real_ftruncate, file, size);
}
WRAP(int, ioctl, (int file, unsigned long what, void* argument)) {
    if (what == FIONBIO)
        return __real_ioctl(file, what, argument);  // the loop's, which cannot fail
    return attempt(index_of("ioctl"), __real_ioctl, file, what, argument);
}
WRAP(ssize_t, readlink, (const char* path, char* target, std::size_t size)) {
    return attempt(index_of("readlink"), __real_readlink, path, target, size);
}
WRAP(ssize_t, read, (int file, void* bytes, std::size_t most)) {
    if (!is_regular(file)) return __real_read(file, bytes, most);
    return transfer(index_of("read"), most,
                    [&](auto size) { return __real_read(file, bytes, size); });
}
WRAP(ssize_t, write, (int file, const void* bytes, std::size_t most)) {
    if (!is_regular(file)) return __real_write(file, bytes, most);
    return transfer(index_of("write"), most,
                    [&](auto size) { return __real_write(file, bytes, size); });
}
WRAP(ssize_t, pread, (int file, void* bytes, std::size_t most, off_t offset)) {
    return transfer(index_of("pread"), most,
                    [&](auto size) { return __real_pread(file, bytes, size, offset); });
}
WRAP(ssize_t, pwrite, (int file, const void* bytes, std::size_t most, off_t offset)) {
    return transfer(index_of("pwrite"), most,
                    [&](auto size) { return __real_pwrite(file, bytes, size, offset); });
}

// ---------------------------------------------------------------------------------------------
// The link

WRAP(ssize_t, recvmsg, (int socket, msghdr* message, int flags)) {
    if (!is_link(socket)) return __real_recvmsg(socket, message, flags);
    const auto fault = strike(index_of("recvmsg"));
    if (!fault) return __real_recvmsg(socket, message, flags);
    const bool breaks = *fault == less || *fault == ECONNRESET;
    if (breaks) ::shutdown(socket, SHUT_RDWR);  // nobody is there any more, for either
    if (*fault == less) return 0;
    errno = *fault;
    return -1;
}
WRAP(ssize_t, sendmsg, (int socket, const msghdr* message, int flags)) {
    auto batch = spoiled(*message);
    msghdr header = *message;
    iovec bytes = message->msg_iov[0];
    if (batch) bytes.iov_base = batch->data();
    header.msg_iov = &bytes;
    return attempt(index_of("sendmsg"), __real_sendmsg, socket, &header, flags);
}

// ---------------------------------------------------------------------------------------------
// Processes

WRAP(int, poll, (pollfd * files, nfds_t count, int timeout)) {
    return attempt(index_of("poll"), __real_poll, files, count, timeout);
}
WRAP(long, ptrace, (int what, pid_t pid, void* address, void* data)) {
    const auto point = what == PTRACE_SEIZE ? index_of("ptrace seize") : index_of("ptrace");
    const auto fault = strike(point);
    if (!fault) return __real_ptrace(what, pid, address, data);
    if (*fault == ESRCH) ::kill(pid, SIGKILL);  // else the kernel does not say so
    errno = *fault;
    return -1;
}
WRAP(int, posix_spawn,
     (pid_t * pid, const char* path, const posix_spawn_file_actions_t* actions,
      const posix_spawnattr_t* attributes, char* const* arguments, char* const* environment)) {
    if (const auto fault = strike(index_of("posix_spawn"))) return *fault;
    return __real_posix_spawn(pid, path, actions, attributes, arguments, environment);
}

// ---------------------------------------------------------------------------------------------
// Those that the C library has no function for

namespace {

struct Numbered {
    long number;
    std::uint32_t point;
};
constexpr auto numbered = std::to_array<Numbered>({
    {SYS_ioprio_get, index_of("ioprio_get")},
    {SYS_pidfd_getfd, index_of("pidfd_getfd")},
    {SYS_pidfd_open, index_of("pidfd_open")},
    {SYS_pidfd_send_signal, index_of("pidfd_send_signal")},
    {SYS_process_vm_readv, index_of("process_vm_readv")},
    {SYS_process_vm_writev, index_of("process_vm_writev")},
    {SYS_sched_getattr, index_of("sched_getattr")},
    {SYS_tgkill, index_of("tgkill")},
});

}  // namespace

extern "C" long __real_syscall(long number, long a, long b, long c, long d, long e, long f);

namespace {

// ESRCH: it has died before.
long signal_one(long pidfd, long signal) {
    const auto fault = strike(index_of("pidfd_send_signal"));
    if (!fault) return __real_syscall(SYS_pidfd_send_signal, pidfd, signal, 0, 0, 0, 0);
    if (*fault == ESRCH) __real_syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, 0, 0, 0, 0);
    errno = *fault;
    return -1;
}

}  // namespace

WRAP(long, syscall, (long number, long a, long b, long c, long d, long e, long f)) {
    const auto* const found =
        std::find_if(numbered.begin(), numbered.end(),
                     [number](const Numbered& one) { return one.number == number; });
    if (found == numbered.end()) return __real_syscall(number, a, b, c, d, e, f);
    if (number == SYS_pidfd_send_signal) return signal_one(a, b);
    const bool transfers = number == SYS_process_vm_readv || number == SYS_process_vm_writev;
    if (!transfers) return attempt(found->point, __real_syscall, number, a, b, c, d, e, f);
    iovec local = *reinterpret_cast<const iovec*>(b);  // NOLINT: as the kernel does
    return transfer(found->point, local.iov_len, [&](auto size) {
        local.iov_len = size;
        return __real_syscall(number, a, reinterpret_cast<long>(&local), c, d, e, f);  // NOLINT
    });
}
