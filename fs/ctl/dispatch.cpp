#include "fs/ctl/dispatch.hpp"

#include "fs/ctl/match.hpp"

namespace proc9::ctl {
namespace {

using core::done;
using core::fail;

Outcome run(Invocation call, const Command& command) {
    if (command.when == When::root) {
        if (!call.session.is_root)
            co_return fail(std::errc::invalid_argument,
                           "this is a command of the ctl in the root directory");
        co_await command.run(call);
        co_return done();
    }
    if (!call.session.process)
        co_return fail(std::errc::invalid_argument,
                       "this is a command of a process: write it to its ctl");
    co_await core::Registry::check_owner(call.request.who, call.process());
    const core::ProcessRef alive = call.session.process;
    if (!alive->visible)
        co_return fail(std::errc::no_such_process, "process {} is gone", alive->id());
    if (command.when == When::building) {
        const auto turn = co_await alive->turn(call.request);
        co_await command.run(call);
    } else {
        co_await command.run(call);
    }
    co_return done();
}

Outcome interpret(core::Registry& registry, core::Request& request, Session& session,
                  const std::string& line, std::string& name) {
    Match match;
    if (line.starts_with('{')) {
        name = "json";
        match = co_await match_json(line);
    } else {
        const core::Words words = co_await core::split_words(line);
        if (words.empty()) co_return done();
        name = words.front();
        match = co_await match_words(words);
    }
    name = std::string(match.command->name);
    ++registry.statistics.commands;
    const Invocation call{request, registry, session, match.command->name, match.arguments};
    co_await run(call, *match.command);
    co_return done();
}

}  // namespace

core::Error refuse(core::Registry& registry, core::Request& request, const Session& session,
                   std::string_view what, std::string_view line, core::Error error) {
    ++registry.statistics.refusals;
    std::string_view why = error.why;  // the kernel's call may be called as the command is
    if (why.starts_with(what) && why.substr(what.size()).starts_with(": "))
        why.remove_prefix(what.size() + 2);
    const std::string text = fmt::format("{}: {}: {}\n", what, why, core::requote(line));
    if (session.process) session.process->error = text;
    if (session.is_root) registry.set_error(request.who, text);
    return error;
}

Outcome execute(core::Registry& registry, core::Request& request, Session& session,
                std::string line) {
    if (line.starts_with('#')) co_return done();
    std::string name = "ctl";
    auto outcome = co_await interpret(registry, request, session, line, name).result();
    if (!outcome)
        co_return refuse(registry, request, session, name, line, std::move(outcome).error());
    co_return done();
}

Outcome run_in_turn(core::Registry& registry, core::Request& request, Session& session,
                    const core::Words& words) {
    const Match match = co_await match_words(words);
    const Invocation call{request, registry, session, match.command->name, match.arguments};
    co_await match.command->run(call);
    co_return done();
}

core::Task<core::Result<std::size_t>> LineInput::write(std::string bytes, bool may_go_on, Run run) {
    has_failed_ = false;
    const std::size_t before = held_.size();  // already answered for
    const std::string all = held_ + bytes;
    std::size_t start = 0;
    while (start < all.size()) {
        const auto newline = all.find('\n', start);
        if (newline == std::string::npos && may_go_on) {
            constexpr std::size_t most = 16U << 20U;
            if (all.size() - start > most)
                co_return fail(std::errc::argument_list_too_long, "a line of more than {} bytes",
                               most);
            held_ = all.substr(start);
            co_return bytes.size();
        }
        const std::size_t end = newline == std::string::npos ? all.size() : newline + 1;
        std::string line =
            all.substr(start, newline == std::string::npos ? newline : newline - start);
        auto outcome = co_await run(std::move(line)).result();
        if (!outcome) {
            if (start == 0) {  // what is held stays for who tries again, but is not run at the end
                has_failed_ = true;
                co_return std::move(outcome).error();
            }
            held_.clear();
            co_return start - before;
        }
        start = end;
    }
    held_.clear();
    co_return bytes.size();
}

core::Task<> LineInput::finish(Run run) {
    if (held_.empty() || has_failed_) co_return;
    const std::string line = std::exchange(held_, {});
    (void)co_await run(line).result();
}

}  // namespace proc9::ctl
