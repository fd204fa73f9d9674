// Files of lines: ctl, and those that the table gives a text, a line function or both.
#include <algorithm>

#include "fs/core/signals.hpp"
#include "fs/ctl/dispatch.hpp"
#include "fs/node/open_files.hpp"
#include "fs/node/texts.hpp"

namespace proc9::node {
namespace {

std::string slice(const std::string& text, std::size_t size, std::uint64_t offset) {
    return offset < text.size() ? text.substr(offset, size) : std::string{};
}

std::string answer_of(const core::Process& process) {
    const std::string made = process.last_made.empty() ? "" : " " + process.last_made;
    return fmt::format("{} {}{}\n", process.id(), state_text(process), made);
}

class TableFile : public OpenFile {
public:
    TableFile(Access access, const FileRow& row, core::ProcessRef process)
        : registry_(access.registry),
          options_(access.options),
          item_(access.item),
          row_(row),
          process_(std::move(process)) {}

    core::Task<core::Result<std::string>> read(core::Request& request, std::size_t size,
                                               std::uint64_t offset) override {
        const Access access{request, registry_, options_, item_};
        if (offset == 0 || !snapshot_) snapshot_ = co_await row_.text(access, process_);
        co_return slice(*snapshot_, size, offset);
    }

    core::Task<core::Result<std::size_t>> write(core::Request& request, std::string bytes,
                                                std::uint64_t /*offset*/, bool may_go_on) override {
        snapshot_.reset();
        co_return co_await input_.write(std::move(bytes), may_go_on, runner(request));
    }

    core::Task<> close(core::Request& request) override {
        if (row_.line) co_await input_.finish(runner(request));
    }

    [[nodiscard]] core::Saved save(core::Saving& saving) const override {
        return {{"is", "table"},         {"row", static_cast<int>(row_.kind)},
                {"item", item_},         {"process", saving.process(process_)},
                {"snapshot", snapshot_}, {"input", input_.save()}};
    }
    void restore(const core::Saved& saved) {
        saved.at("snapshot").get_to(snapshot_);
        input_.restore(saved.at("input"));
    }

private:
    ctl::LineInput::Run runner(core::Request& request) {
        return [this, &request](std::vector<std::string> lines) -> core::Task<ctl::Done> {
            return run_all(request, std::move(lines));
        };
    }
    core::Task<ctl::Done> run_all(core::Request& request, std::vector<std::string> lines) {
        ctl::Done so_far;
        for (auto& line : lines) {
            so_far.outcome = co_await run(request, std::move(line)).result();
            if (!so_far.outcome) break;
            ++so_far.lines;
        }
        co_return so_far;
    }
    ctl::Outcome run(core::Request& request, std::string line) {
        const Access access{request, registry_, options_, item_};
        auto outcome = co_await row_.line(access, process_, line).result();
        if (outcome) co_return core::done();
        const ctl::Session session{process_, false};
        co_return ctl::refuse(registry_, request, session, row_.name, line,
                              std::move(outcome).error());
    }

    core::Registry& registry_;
    const Options& options_;
    std::uint32_t item_;
    const FileRow& row_;
    core::ProcessRef process_;
    std::optional<std::string> snapshot_;
    ctl::LineInput input_;
};

// The text begins at the offset of the first read after a write, because that moved it; so it does after the end, and
// never behind an offset that is asked for. Who reads several pieces at once, as sshfs does, gets each of them once.
class CtlFile : public OpenFile {
public:
    CtlFile(Access access, ctl::Session session, bool owns_process)
        : registry_(access.registry),
          session_(std::move(session)),
          owned_(owns_process ? session_.process : nullptr) {}

    core::Task<core::Result<std::string>> read(core::Request& /*request*/, std::size_t size,
                                               std::uint64_t offset) override {
        const std::uint64_t begin = std::min(begin_.value_or(offset), offset);
        const std::string text = answer();
        const bool is_end = offset - begin == text.size();
        begin_ = is_end ? std::nullopt : std::optional(begin);
        co_return slice(text, size, offset - begin);
    }

    core::Task<core::Result<std::size_t>> write(core::Request& request, std::string bytes,
                                                std::uint64_t /*offset*/, bool may_go_on) override {
        const auto turn = co_await writers_.enter(request);  // each write is run whole
        begin_.reset();
        co_return co_await input_.write(std::move(bytes), may_go_on, runner(request));
    }

    core::Task<> close(core::Request& request) override {
        co_await input_.finish(runner(request));
        const bool takes_along =
            owned_ && !owned_->persistent && owned_->state() == core::Process::State::embryo;
        if (takes_along) registry_.remove(owned_);
        if (session_.kills_on_close && session_.process)
            (void)session_.process->body->send_signal(core::signal_kill);
    }

    [[nodiscard]] core::Saved save(core::Saving& saving) const override {
        return {{"is", "ctl"},
                {"process", saving.process(session_.process)},
                {"is_root", session_.is_root},
                {"kills_on_close", session_.kills_on_close},
                {"owned", owned_ != nullptr},
                {"begin", begin_},
                {"input", input_.save()}};
    }
    void restore(const core::Saved& saved) {
        if (saved.contains("begin")) saved.at("begin").get_to(begin_);
        input_.restore(saved.at("input"));
    }

private:
    ctl::LineInput::Run runner(core::Request& request) {
        return [this, &request](std::vector<std::string> lines) -> core::Task<ctl::Done> {
            return ctl::execute(registry_, request, session_, std::move(lines));
        };
    }
    [[nodiscard]] std::string answer() const {
        if (!session_.process) return {};
        if (session_.is_root) return fmt::format("{}\n", session_.process->id());
        return answer_of(*session_.process);
    }

    core::Registry& registry_;
    ctl::Session session_;
    core::ProcessRef owned_;              // goes when this is closed
    std::optional<std::uint64_t> begin_;  // where the text begins for who reads
    core::Turnstile writers_;
    ctl::LineInput input_;
};

}  // namespace

Text ctl_text(Access, core::ProcessRef process) { co_return answer_of(*process); }

OpenFileRef open_ctl(Access access, ctl::Session session, bool owns_process) {
    return std::make_unique<CtlFile>(access, std::move(session), owns_process);
}

OpenFileRef restore_ctl(Access access, core::ProcessRef process, const core::Saved& saved) {
    ctl::Session session{std::move(process), saved.at("is_root"), saved.at("kills_on_close")};
    auto file = std::make_unique<CtlFile>(access, std::move(session), saved.at("owned"));
    file->restore(saved);
    return file;
}

OpenFileRef restore_table_file(Access access, core::ProcessRef process, const core::Saved& saved) {
    const FileRow& row = *file_row(static_cast<Kind>(saved.at("row").get<int>()));
    access.item = saved.at("item");
    auto file = std::make_unique<TableFile>(access, row, std::move(process));
    file->restore(saved);
    return file;
}

OpenFileRef open_row(Access access, const FileRow& row, core::ProcessRef process, OpenFlags flags) {
    if (row.kind == Kind::ctl)
        return open_ctl(access, ctl::Session{std::move(process), false}, false);
    if (row.kind == Kind::wait) return open_wait(access, std::move(process), flags.non_blocking);
    if (row.kind == Kind::recipe) return open_recipe(access, std::move(process));
    return std::make_unique<TableFile>(access, row, std::move(process));
}

}  // namespace proc9::node
