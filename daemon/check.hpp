// What this machine can do for the daemon, and what it does instead where the machine cannot: proc9d --check.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "daemon/daemon.hpp"

namespace proc9 {

struct Finding {
    std::string_view
        grade;  // "ok"; "less": it goes without, as the text says; "missing": it does not
    std::string_view what;
    std::string text;

    [[nodiscard]] bool is_missing() const { return grade == "missing"; }
};

// Which a mount there would hide, and the daemon may need: /etc.
bool holds_directories(const std::string& place);

std::vector<Finding> check(const Arguments& arguments);
void log_what_is_missing(const Arguments& arguments);

}  // namespace proc9
