// wait: blocks until the process has exited; who has read it to the end and closes it reaps.
#include "fs/node/open_files.hpp"

namespace proc9::node {
namespace {

class WaitFile : public OpenFile {
public:
    WaitFile(Access access, core::ProcessRef process, bool non_blocking)
        : registry_(access.registry), process_(std::move(process)), non_blocking_(non_blocking) {}
    ~WaitFile() override {
        if (poller_) process_->forget(*poller_);
    }

    core::Task<core::Result<std::string>> read(core::Request& request, std::size_t size,
                                               std::uint64_t offset) override {
        co_await exit(request);
        const std::string text = line();
        if (offset >= text.size()) co_return std::string{};
        std::string part = text.substr(offset, size);
        was_read_ |= offset + part.size() == text.size();
        co_return part;
    }

    core::Task<core::Result<std::size_t>> write(core::Request& /*request*/, std::string /*bytes*/,
                                                std::uint64_t /*offset*/,
                                                bool /*may_go_on*/) override {
        co_return core::fail(std::errc::permission_denied, "wait can only be read");
    }

    core::Task<> close(core::Request& /*request*/) override {
        if (was_read_) registry_.remove(process_);
        co_return;
    }

    [[nodiscard]] core::Saved save(core::Saving& saving) const override {
        return {{"is", "wait"},
                {"process", saving.process(process_)},
                {"non_blocking", non_blocking_},
                {"was_read", was_read_}};
    }
    void restore(const core::Saved& saved) { saved.at("was_read").get_to(was_read_); }

    bool readable(std::function<void()> hook) override {
        if (has_exited()) return true;
        if (poller_) process_->forget(*poller_);
        poller_ = process_->on_exit([this, hook = std::move(hook)] {
            poller_.reset();
            hook();
        });
        return false;
    }

private:
    [[nodiscard]] bool has_exited() const {
        return process_->state() == core::Process::State::exited;
    }

    core::Task<core::Result<>> exit(core::Request& request) {
        if (has_exited()) co_return core::done();
        // Whoever would end by writing to that very pipe never could. cat falls back to read(2).
        if (request.is_splice)
            co_return core::fail(std::errc::invalid_argument,
                                 "process {} has not exited: splice "
                                 "and sendfile cannot wait for it",
                                 process_->id());
        if (non_blocking_)
            co_return core::fail(std::errc::resource_unavailable_try_again,
                                 "process {} has not exited", process_->id());
        core::Later<bool> ended;
        request.may_begin_anew = true;
        const auto watcher = process_->on_exit([&ended] { (void)ended.set(true); });
        request.cancellation.on_request([&ended] { (void)ended.set(false); });
        const bool seen = co_await ended;
        request.cancellation.disarm();
        request.may_begin_anew = false;
        if (seen) co_return core::done();
        process_->forget(watcher);
        co_return core::fail(std::errc::interrupted, "interrupted while waiting for {}",
                             process_->id());
    }

    [[nodiscard]] std::string line() const {
        const core::ExitStatus& status = *process_->exit_status();
        return fmt::format("{} {} {} {} '{}'\n", process_->id(), status.user_ms, status.system_ms,
                           process_->real_ms(), status.text);
    }

    core::Registry& registry_;
    core::ProcessRef process_;
    bool non_blocking_;
    bool was_read_ = false;
    std::optional<core::Process::Watcher> poller_;
};

}  // namespace

OpenFileRef restore_wait(Access access, core::ProcessRef process, const core::Saved& saved) {
    auto file = std::make_unique<WaitFile>(access, std::move(process), saved.at("non_blocking"));
    file->restore(saved);
    return file;
}

OpenFileRef open_wait(Access access, core::ProcessRef process, bool non_blocking) {
    return std::make_unique<WaitFile>(access, std::move(process), non_blocking);
}

}  // namespace proc9::node
