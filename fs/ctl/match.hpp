// Finds the row of the table that a line means, and what it gives it.
#pragma once

#include "fs/ctl/command.hpp"

namespace proc9::ctl {

struct Match {
    const Command* command = nullptr;
    Arguments arguments;
};

core::Result<Match> match_words(const core::Words& words);
core::Result<Match> match_json(std::string_view line);

}  // namespace proc9::ctl
