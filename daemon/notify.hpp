// What a service manager is told, if one asks: sd_notify(3), a datagram to $NOTIFY_SOCKET.
#pragma once

#include <chrono>
#include <string_view>

namespace proc9 {

void notify(std::string_view state);  // "READY=1" and so on, lines
void notify_reloading();

// How often a sign of life is wanted: half of what WatchdogSec= says. 0: not at all.
std::chrono::microseconds watchdog_interval();

}  // namespace proc9
