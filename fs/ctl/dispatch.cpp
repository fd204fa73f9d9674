#include "fs/ctl/dispatch.hpp"

#include <algorithm>

#include "fs/core/log.hpp"
#include "fs/ctl/match.hpp"
#include "fs/ctl/verbs.hpp"

namespace proc9::ctl {
namespace {

using core::done;
using core::fail;

// A line as it was understood. No command: it is blank or a comment.
struct Line {
    std::string text;
    std::string name = "ctl";
    core::Result<Match> match = Match{};

    [[nodiscard]] const Command* command() const { return match ? match->command : nullptr; }
};

core::Result<Match> understand(const std::string& text, std::string& name) {
    if (text.starts_with('#')) return Match{};
    if (text.starts_with('{')) {
        name = "json";
        return match_json(text);
    }
    const core::Words words = TRY(core::split_words(text));
    if (words.empty()) return Match{};
    name = words.front();
    return match_words(words);
}

Line line_of(std::string text) {
    Line line;
    line.match = understand(text, line.name);
    if (line.command()) line.name = std::string(line.command()->name);
    line.text = std::move(text);
    return line;
}

core::Result<core::ProcessRef> process_of(const core::Request& request, const Session& session) {
    if (!session.process)
        return fail(std::errc::invalid_argument,
                    "this is a command of a process: write it to its ctl");
    TRY(core::Registry::check_owner(request.who, *session.process));
    if (!session.process->visible)
        return fail(std::errc::no_such_process, "process {} is gone", session.process->id());
    return session.process;
}

Outcome run_at_root(Invocation call, const Command& command) {
    if (!call.session.is_root)
        co_return fail(std::errc::invalid_argument,
                       "this is a command of the ctl in the root directory");
    co_await command.run(call);
    co_return done();
}

Outcome run(Invocation call, const Command& command) {
    if (command.when == When::root) co_return co_await run_at_root(call, command).result();
    const core::ProcessRef alive = co_await process_of(call.request, call.session);
    std::optional<core::Process::Turn> turn;
    if (command.when == When::building) turn.emplace(co_await alive->turn(call.request));
    co_await command.run(call);
    co_return done();
}

// The lines of one write. Settings that stand together, and an exec behind them, are one step.
class Execution {
public:
    Execution(core::Registry& registry, core::Request& request, Session& session)
        : registry_(registry), request_(request), session_(session) {}

    core::Task<Done> run_all(std::span<const Line> lines) {
        Done so_far;
        while (so_far.outcome && so_far.lines < lines.size()) {
            const auto rest = lines.subspan(so_far.lines);
            const auto count = settings_at(rest);
            auto step = count == 0 ? run_one(rest.front()) : run_settings(rest, count);
            Done done = co_await std::move(step);
            const auto tried = rest.first(done.lines + (done.outcome ? 0 : 1));
            registry_.statistics.commands += static_cast<std::uint64_t>(std::count_if(
                tried.begin(), tried.end(), [](const Line& line) { return line.command(); }));
            so_far.lines += done.lines;
            so_far.outcome = std::move(done.outcome);
        }
        if (!so_far.outcome) {
            const Line& line = lines[so_far.lines];
            so_far.outcome = refuse(registry_, request_, session_, line.name, line.text,
                                    std::move(so_far.outcome).error());
        }
        co_return so_far;
    }

private:
    static std::size_t settings_at(std::span<const Line> lines) {
        const auto end = std::find_if(lines.begin(), lines.end(), [](const Line& line) {
            return !line.command() || !is_setting(*line.command());
        });
        return static_cast<std::size_t>(end - lines.begin());
    }

    void trace(const Line& line) const {
        core::log(core::Severity::debug, "request {}: {}: {}", request_.number,
                  session_.process ? std::to_string(session_.process->id()) : "root",
                  core::requote(line.text));
    }

    Invocation invocation(const Line& line, std::vector<core::Setting>* before = nullptr) {
        return {request_, registry_, session_, line.command()->name, line.match->arguments, before};
    }

    core::Task<Done> run_one(const Line& line) {
        Done step;
        trace(line);
        if (!line.match) step.outcome = line.match.error();
        if (line.command()) step.outcome = co_await run(invocation(line), *line.command()).result();
        step.lines = step.outcome ? 1 : 0;
        co_return step;
    }

    core::Task<Done> run_settings(std::span<const Line> lines, std::size_t count) {
        std::vector<core::Setting> settings;
        for (const Line& line : lines.first(count)) {
            trace(line);
            settings.push_back(
                {std::string(line.command()->name), line.match->arguments.words(), {}});
        }
        const bool is_exec =
            lines.size() > count && lines[count].command() && lines[count].command()->run == exec;
        Done step;
        if (is_exec) {
            step.outcome =
                co_await run(invocation(lines[count], &settings), *lines[count].command()).result();
        } else {
            step.outcome = co_await apply(settings).result();
        }
        const auto applied = count - settings.size();
        step.lines = applied + (step.outcome && is_exec ? 1 : 0);
        // All are in force, and yet it was refused: what came after the last one could not be done.
        if (!step.outcome && !is_exec && applied == count) --step.lines;
        co_return step;
    }

    Outcome apply(std::vector<core::Setting>& settings) {
        const core::ProcessRef alive = co_await process_of(request_, session_);
        const auto turn = co_await alive->turn(request_);
        co_await alive->body->apply_all(settings);
        co_return done();
    }

    core::Registry& registry_;
    core::Request& request_;
    Session& session_;
};

}  // namespace

core::Error refuse(core::Registry& registry, core::Request& request, const Session& session,
                   std::string_view what, std::string_view line, core::Error error) {
    ++registry.statistics.refusals;
    std::string_view why = error.why;  // the kernel's call may be called as the command is
    if (why.starts_with(what) && why.substr(what.size()).starts_with(": "))
        why.remove_prefix(what.size() + 2);
    const std::string text = fmt::format("{}: {}: {}\n", what, why, core::requote(line));
    core::log(core::Severity::debug, "request {} refused, {}", request.number,
              std::string_view(text).substr(0, text.size() - 1));
    if (session.process) session.process->error = text;
    if (session.is_root) registry.set_error(request.who, text);
    return error;
}

core::Task<Done> execute(core::Registry& registry, core::Request& request, Session& session,
                         std::vector<std::string> lines) {
    std::vector<Line> understood;
    understood.reserve(lines.size());
    for (auto& line : lines) understood.push_back(line_of(std::move(line)));
    co_return co_await Execution(registry, request, session).run_all(understood);
}

Outcome execute(core::Registry& registry, core::Request& request, Session& session,
                std::string line) {
    std::vector<std::string> one;
    one.push_back(std::move(line));
    Done done = co_await execute(registry, request, session, std::move(one));
    co_return std::move(done.outcome);
}

Outcome run_in_turn(core::Registry& registry, core::Request& request, Session& session,
                    const core::Words& words) {
    const Match match = co_await match_words(words);
    const Invocation call{request, registry, session, match.command->name, match.arguments};
    co_await match.command->run(call);
    co_return done();
}

core::Task<core::Result<std::size_t>> LineInput::write(std::string bytes, bool may_go_on, Run run) {
    constexpr std::size_t longest = 16U << 20U;
    has_failed_ = false;
    const std::size_t before = held_.size();  // already answered for
    const std::string all = held_ + bytes;
    std::vector<std::string> lines;
    std::vector<std::size_t> starts;
    std::size_t start = 0;
    while (start < all.size()) {
        const auto newline = all.find('\n', start);
        if (newline == std::string::npos && may_go_on) break;
        const std::size_t end = std::min(newline, all.size());
        starts.push_back(start);
        lines.push_back(all.substr(start, end - start));
        start = std::min(end + 1, all.size());
    }
    Done done = co_await run(std::move(lines));
    if (!done.outcome) {
        const std::size_t refused = starts[done.lines];
        has_failed_ =
            refused == 0;  // what is held stays for who tries again, but is not run at the end
        if (has_failed_) co_return std::move(done.outcome).error();
        held_.clear();
        co_return refused - before;
    }
    if (all.size() - start > longest)
        co_return fail(std::errc::argument_list_too_long, "a line of more than {} bytes", longest);
    held_ = all.substr(start);
    co_return bytes.size();
}

core::Task<> LineInput::finish(Run run) {
    if (held_.empty() || has_failed_) co_return;
    std::vector<std::string> last(1, std::exchange(held_, {}));
    (void)co_await run(std::move(last));
}

}  // namespace proc9::ctl
