// From the bytes of a write to commands.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "fs/ctl/command.hpp"

namespace proc9::ctl {

// How many lines were done; and of the one behind them, if there is one, why not.
struct Done {
    std::size_t lines = 0;
    core::Result<> outcome;
};

// Runs lines, in words or JSON, up to the first that is refused. Blank lines and comments do nothing. What is
// refused is written down where `error` shows it: errno and `command: why: "line"`.
core::Task<Done> execute(core::Registry& registry, core::Request& request, Session& session,
                         std::vector<std::string> lines);
Outcome execute(core::Registry& registry, core::Request& request, Session& session,
                std::string line);

// The same book-keeping for a refused line of another file, called `what` there.
core::Error refuse(core::Registry& registry, core::Request& request, const Session& session,
                   std::string_view what, std::string_view line, core::Error error);

// A command of a process that is in the caller's turn already.
Outcome run_in_turn(core::Registry& registry, core::Request& request, Session& session,
                    const core::Words& words);

// "NAME VALUE": a line of a regs file, and what the command reg does.
core::Result<> set_register(const core::Host& host, core::Registers& registers,
                            const core::Words& words);

// Cuts what is written to a file of lines. The kernel passes long writes in pieces; a piece that may
// go on holds its last, unfinished line back until the next one comes.
//
// The answer is that of write(2): the length of all lines if all worked, of the lines before the
// one that failed, or that one's error.
class LineInput {
public:
    using Run = std::function<core::Task<Done>(std::vector<std::string> lines)>;

    core::Task<core::Result<std::size_t>> write(std::string bytes, bool may_go_on, Run run);
    // The file is closed: a line still held back was the last one.
    core::Task<> finish(Run run);

    [[nodiscard]] core::Saved save() const { return {held_, has_failed_}; }
    void restore(const core::Saved& saved) {
        saved.at(0).get_to(held_);
        saved.at(1).get_to(has_failed_);
    }

private:
    std::string held_;
    bool has_failed_ = false;
};

}  // namespace proc9::ctl
