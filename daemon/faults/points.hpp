// The places where the daemon asks the kernel for something, and what can come back instead of it.
//
// A second daemon for the tests, proc9d_faults, is the same objects linked once more: the linker puts the
// functions of faults.cpp in the place of the C library's (--wrap), so that the product has nothing of this.
// The variable PROC9_FAULTS names a file that daemon and test have mapped: an Order, then the table with a
// count of calls in each row.
//
//     countdown = 2, point = index of "open", fault = ENFILE    the second open from now fails
#pragma once

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <string_view>

namespace proc9::faults {

constexpr int less = -1;  // in the place of an errno: half of the bytes, or the end of what comes
constexpr std::size_t most_answers = 7;

struct Point {
    std::string_view name;
    std::array<std::int32_t, most_answers> answers;  // zero-ended
};

// clang-format off
constexpr auto points = std::to_array<Point>({
    // descriptors
    {"fcntl",             {EMFILE, EBUSY}},                    // F_DUPFD; F_ADD_SEALS of what is mapped
    {"memfd_create",      {EMFILE, ENFILE, ENOMEM, EACCES}},   // EACCES: vm.memfd_noexec is 2
    {"open",              {EMFILE, ENFILE, ENOMEM, EACCES, ENOENT}},
    {"opendir",           {EMFILE, ENFILE, ENOMEM, EACCES, ENOENT}},
    {"pidfd_getfd",       {EMFILE, ENFILE, EBADF, EPERM, ESRCH}},
    {"pidfd_open",        {EMFILE, ENFILE, ENOMEM, ESRCH}},
    {"pipe2",             {EMFILE, ENFILE, ENOMEM}},
    {"setsockopt",        {ENOMEM, EACCES}},                   // EACCES: a security module
    {"socketpair",        {EMFILE, ENFILE, ENOMEM, ENOBUFS}},
    {"watch",             {ENOSPC, ENOMEM}},                   // fs.epoll.max_user_watches
    // bytes
    {"fchmod",            {EPERM, ENOMEM}},
    {"fchown",            {EPERM, EDQUOT}},
    {"ftruncate",         {ENOMEM, ENOSPC, EFBIG, EPERM, EINTR}},
    {"ioctl",             {ENOMEM, EMFILE, EPERM, ENOTTY}},
    {"pread",             {ENOMEM, ESRCH, less}},
    {"process_vm_readv",  {EFAULT, ENOMEM, EPERM, ESRCH, less}},
    {"process_vm_writev", {EFAULT, ENOMEM, EPERM, ESRCH, less}},
    {"pwrite",            {ENOSPC, ENOMEM, EFBIG, EPERM, less}},
    {"read",              {ENOMEM, ESRCH, EINTR, less}},       // of files; the loop's own is left alone
    {"readdir",           {ENOMEM, ENOENT}},
    {"readlink",          {ENOMEM, EACCES, ENOENT}},
    {"write",             {ENOSPC, ENOMEM, EINTR, less}},
    // the link to a stub
    {"recvmsg",           {less, ECONNRESET, EINTR, EAGAIN}},
    {"sendmsg",           {EPIPE, ECONNRESET, EAGAIN, ENOBUFS, ENOMEM, ETOOMANYREFS}},
    {"stub",              {ENOMEM}},                           // one of the calls that a stub makes
    // processes
    {"pidfd_send_signal", {ESRCH, EPERM}},
    {"poll",              {EINTR, ENOMEM}},
    {"posix_spawn",       {EAGAIN, ENOMEM, EMFILE, EACCES}},
    {"ptrace",            {ESRCH}},                            // it dies
    {"ptrace seize",      {EPERM, ESRCH}},                     // it has another tracer; it dies
    {"sched_getattr",     {ESRCH, EPERM}},
    {"ioprio_get",        {ESRCH, EPERM}},
    {"tgkill",            {ESRCH, EPERM, EAGAIN}},
});
// clang-format on

// Of the row with that name; what is in no table does not compile.
consteval std::uint32_t index_of(std::string_view name) {
    for (std::uint32_t i = 0; i < points.size(); ++i) {
        if (points.at(i).name == name) return i;
    }
    throw "no such point";
}

// What the file holds.
struct Order {
    std::uint32_t point;
    std::uint32_t countdown;  // 1: the next call; 0: none
    std::int32_t fault;       // an errno, or `less`
    std::uint32_t lasts;      // not 0: all calls from then on
    std::uint32_t fired;
    std::uint32_t rows;
};
struct Row {
    std::array<char, 28> name;
    std::array<std::int32_t, most_answers> answers;
    std::uint32_t calls;
};
struct Shared {
    Order order;
    std::array<Row, points.size()> table;
};

}  // namespace proc9::faults
