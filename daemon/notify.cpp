#include "daemon/notify.hpp"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <ctime>

#include "daemon/keeper/keeper.hpp"

namespace proc9 {
namespace {

std::string_view variable(const char* name) {
    const char* const value = std::getenv(name);
    return value ? value : "";
}

std::uint64_t number(std::string_view text) {
    std::uint64_t value = 0;
    std::from_chars(text.data(), text.data() + text.size(), value);
    return value;
}

}  // namespace

void notify(std::string_view state) {
    const std::string_view path = variable("NOTIFY_SOCKET");
    sockaddr_un address{};
    if (path.empty() || path.size() >= sizeof address.sun_path) return;
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.data(), path.size());
    if (path.front() == '@') address.sun_path[0] = '\0';
    const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size());
    const int socket = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (socket < 0) return;
    (void)::sendto(socket, state.data(), state.size(), MSG_NOSIGNAL,
                   reinterpret_cast<const sockaddr*>(&address), length);
    ::close(socket);
}

void notify_reloading() {
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    notify(
        fmt::format("RELOADING=1\nMONOTONIC_USEC={}", now.tv_sec * 1'000'000 + now.tv_nsec / 1000));
}

std::chrono::microseconds watchdog_interval() {
    const auto whose = number(variable("WATCHDOG_PID"));
    const bool is_ours = whose == 0 || whose == static_cast<std::uint64_t>(::getpid()) ||
                         whose == static_cast<std::uint64_t>(keeper::parent());
    constexpr std::chrono::microseconds day = std::chrono::hours(24);
    const auto limit = std::min<std::uint64_t>(number(variable("WATCHDOG_USEC")), day.count());
    return std::chrono::microseconds(is_ours ? limit / 2 : 0);
}

}  // namespace proc9
