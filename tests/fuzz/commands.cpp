// Whole writes to a ctl file, in the pieces in which the kernel may pass them. What a write answers must
// be what was done: line by line it comes to the same.
#include "tests/fuzz/fixture.hpp"

using namespace proc9;
using fuzz::check_error;
using fuzz::require;

namespace {

struct Plan {
    bool at_root;
    int fails_at;  // which call of the host; 0: none
    std::errc failure;
    std::size_t piece;
    std::string text;

    explicit Plan(FuzzedDataProvider input)
        : at_root(input.ConsumeBool()),
          fails_at(input.ConsumeIntegralInRange(0, 20)),
          failure(input.PickValueInArray({std::errc::not_enough_memory, std::errc::interrupted,
                                          std::errc::no_such_process, std::errc::file_exists})),
          piece(input.ConsumeIntegralInRange<std::size_t>(1, 200)),
          text(input.ConsumeRemainingBytesAsString()) {}
};

struct Ctl : fuzz::Scene {
    ctl::Session session;

    explicit Ctl(const Plan& plan) {
        session.process = furnish();
        session.is_root = plan.at_root;
        if (plan.at_root) session.process = nullptr;
        host.calls.clear();
        if (plan.fails_at > 0) host.fail_at(plan.fails_at, plan.failure);
    }

    core::Task<ctl::Done> run_all(std::vector<std::string> lines) {
        request.seen_unstopped = nullptr;
        return ctl::execute(registry, request, session, std::move(lines));
    }

    // Everything that can be seen of it.
    std::string picture() {
        std::string text = fmt::format("{}", fmt::join(host.calls, "\n"));
        for (const auto& [id, process] : registry.all()) {
            text += fmt::format("\n{} {} {} {} {} [{}] {}", id, process->name,
                                static_cast<int>(process->state()), process->last_made,
                                core::join_words(process->arguments),
                                fmt::join(process->environment.words(), " "), process->error);
            for (const auto& [start, region] : process->memory.regions())
                text += fmt::format(" {:x}+{:x}{}{}", start, region.range.length,
                                    region.protection.text(), region.shared ? 's' : 'p');
        }
        return text;
    }
};

// How much of it was taken, as pieces of a write that stops at the first refusal.
std::size_t write_in_pieces(Ctl& world, const Plan& plan) {
    ctl::LineInput input;
    const ctl::LineInput::Run runner = [&](std::vector<std::string> lines) {
        return world.run_all(std::move(lines));
    };
    std::size_t done = 0;
    while (done < plan.text.size()) {
        const std::string piece = plan.text.substr(done, plan.piece);
        const bool is_last = done + piece.size() == plan.text.size();
        const auto taken = world.finish(input.write(piece, !is_last, runner));
        check_error(taken);
        if (!taken) break;
        require(*taken <= piece.size(), "no more is taken than was given");
        done += *taken;
        if (*taken < piece.size()) break;
    }
    world.finish([](ctl::LineInput& open, ctl::LineInput::Run close) -> core::Task<bool> {
        co_await open.finish(std::move(close));
        co_return true;
    }(input, runner));
    return done;
}

// The same, a line at a time. Answers where the refused line begins.
std::size_t write_lines(Ctl& world, const std::string& text) {
    std::size_t start = 0;
    while (start < text.size()) {
        const auto end = std::min(text.find('\n', start), text.size());
        std::vector<std::string> one{text.substr(start, end - start)};
        const ctl::Done done = world.finish(world.run_all(std::move(one)));
        check_error(done.outcome);
        if (!done.outcome) return start;
        start = std::min(end + 1, text.size());
    }
    return start;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const Plan plan(FuzzedDataProvider(data, size));
    Ctl pieces(plan);
    Ctl lines(plan);
    const std::size_t taken = write_in_pieces(pieces, plan);
    const std::size_t refused = write_lines(lines, plan.text);
    pieces.check();
    if (pieces.was_interrupted) return 0;  // that ends a whole write, and of the others one line
    const bool is_same_line = plan.text.find('\n', refused) >= taken;
    require(taken >= refused && (taken == refused || is_same_line), "what is answered was done");
    require(pieces.picture() == lines.picture(), "pieces and lines come to the same");
    return 0;
}
