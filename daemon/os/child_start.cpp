// How an embryo becomes a program.
#include <fcntl.h>
#include <linux/sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <csignal>

#include "daemon/os/child.hpp"
#include "daemon/os/memory.hpp"
#include "daemon/os/registers.hpp"

namespace proc9::os {
namespace {

using core::Result;
using core::Task;

constexpr auto patience_with_entry = std::chrono::seconds(5);

std::vector<Batch::Pointer> texts(Batch& batch, const core::Words& words) {
    std::vector<Batch::Pointer> pointers;
    pointers.reserve(words.size());
    for (const auto& word : words) pointers.push_back(batch.text(word));
    return pointers;
}

// Argument and environment vectors as they will lie in memory at `base`: two zero-ended arrays of
// addresses, then the strings.
class Image {
public:
    explicit Image(const core::Program& program) {
        slots_ = program.arguments.size() + program.environment.size() + 2;
        place(program.arguments);
        place(program.environment);
    }
    [[nodiscard]] std::size_t size() const {
        return slots_ * sizeof(std::uint64_t) + strings_.size();
    }
    [[nodiscard]] std::string at(core::Address base) const {
        std::string bytes;
        for (const auto offset : offsets_) {
            const std::uint64_t address =
                offset == none ? 0 : base.value + slots_ * sizeof(std::uint64_t) + offset;
            bytes.append(reinterpret_cast<const char*>(&address), sizeof address);  // NOLINT
        }
        return bytes + strings_;
    }

private:
    static constexpr std::size_t none = ~std::size_t{0};

    void place(const core::Words& words) {
        for (const auto& word : words) {
            offsets_.push_back(strings_.size());
            strings_ += word;
            strings_ += '\0';
        }
        offsets_.push_back(none);
    }

    std::size_t slots_ = 0;
    std::vector<std::size_t> offsets_;
    std::string strings_;
};

// The calls before and after the tries. Until an embryo is started it must not outlive the daemon,
// from then on it shall.
void may_outlive(Batch& batch) { batch.call("prctl", SYS_prctl, PR_SET_PDEATHSIG, 0); }
void must_not_outlive(Batch& batch) {
    batch.call("prctl", SYS_prctl, PR_SET_PDEATHSIG, SIGKILL).always();
}

template <class Argument>
std::uint32_t try_all(Batch& batch, const std::vector<std::string>& candidates, Argument argv,
                      Argument envp) {
    std::uint32_t first = 0;
    for (const auto& path : candidates) {
        const auto added = batch.call("exec", SYS_execve, batch.text(path), argv, envp).search();
        if (&path == &candidates.front()) first = added.index();
    }
    return first;
}

}  // namespace

// The kernel gives the child the zygote's own exit signal and parent.
Task<Result<core::Pid>> Child::clone(core::DescriptorRef link) {
    clone_args arguments{};
    arguments.flags = CLONE_PARENT | CLONE_CLEAR_SIGHAND;
    Batch batch = this->batch();
    const auto fd = batch.send(std::move(link));
    const auto place =
        batch.bytes({reinterpret_cast<const char*>(&arguments), sizeof arguments});  // NOLINT
    const auto made = batch.call("clone3", PROC9_CALL_CLONE, place, sizeof arguments, fd);
    batch.call("close", SYS_close, fd).always();
    const Replies replies = co_await run(batch);
    const auto pid = co_await replies.of(made.index());
    co_return static_cast<core::Pid>(pid);
}

Task<Result<>> Child::exec(core::Program program) {
    Batch small = batch();
    may_outlive(small);
    const auto argv = small.pointers(texts(small, program.arguments));
    const auto envp = small.pointers(texts(small, program.environment));
    const auto first = try_all(small, program.candidates, argv, envp);
    must_not_outlive(small);
    if (small.fits()) {
        co_await run_exec(std::move(small), first, program.candidates.size());
        co_return core::done();
    }

    // Too much for the buffer: a memory object carries it.
    const Image image(program);
    core::MemoryRef object = co_await make_memory();
    co_await object->resize(image.size());
    core::Mapping mapping;
    mapping.length = image.size();
    mapping.protection = core::Protection{true, false, false};
    mapping.source = core::Mapping::Object{object, 0};
    const core::Range loaded = co_await map(std::move(mapping));
    co_await object->write(image.at(loaded.start), 0);

    Batch large = batch();
    may_outlive(large);
    const auto vectors = (program.arguments.size() + 1) * sizeof(std::uint64_t);
    const auto first_large =
        try_all(large, program.candidates, loaded.start, loaded.start + vectors);
    large.call("munmap", SYS_munmap, loaded.start, loaded.length).always();
    must_not_outlive(large);
    if (!large.fits()) {
        co_await unmap(loaded);
        co_return core::refused("exec", E2BIG);
    }
    co_await run_exec(std::move(large), first_large, program.candidates.size());
    co_return core::done();
}

Task<Result<>> Child::run_exec(Batch batch, std::uint32_t first, std::size_t candidates) {
    starting_ = true;
    auto answer = co_await run_or_close(batch).result();
    starting_ = false;
    if (!answer) co_return std::move(answer).error();
    if (!*answer) {  // the link was close-on-exec
        started();
        co_return core::done();
    }
    // As execvp(3): what stopped the search, else EACCES if any said so, else ENOENT.
    core::Error worst = core::refused("exec", ENOENT);
    for (std::size_t i = 0; i < candidates; ++i) {
        const auto result = (*answer)->of(first + static_cast<std::uint32_t>(i));
        if (result) continue;
        const auto code = result.error().code;
        if (code == std::errc::operation_canceled) break;
        if (candidates == 1 ||
            (code != std::errc::no_such_file_or_directory && code != std::errc::not_a_directory))
            worst = result.error();
    }
    co_return worst;
}

Task<Result<>> Child::enter(core::Registers registers) {
    Batch batch = this->batch();
    may_outlive(batch);
    batch.call("close", SYS_close, link_number_);
    batch.call("munmap", SYS_munmap, stub_, PROC9_STUB_SIZE);
    co_await workshop_.tracer.seize(pid_);
    starting_ = true;
    const auto deadline =
        workshop_.loop.after(patience_with_entry, [this] { (void)send_signal(SIGKILL); });
    if (auto sent = link_->send_only(batch); !sent) {
        starting_ = false;
        (void)workshop_.tracer.release(pid_);
        co_return std::move(sent).error();
    }
    auto outcome = co_await watch_entry(std::move(registers)).result();
    starting_ = false;
    if (outcome) {
        started();
    } else {
        (void)send_signal(SIGKILL);  // its stub is gone or does not obey: nothing can be saved
    }
    co_return outcome;
}

// The stub takes itself away and returns to where it was: that is the fault which stops the process
// with nothing of ours in it.
Task<Result<>> Child::watch_entry(core::Registers registers) {
    while (true) {
        const int signal = co_await workshop_.tracer.stopped(pid_);
        const core::Address at = co_await arch::program_counter(pid_);
        // Anybody may send SEGV; only the fault finds nothing where it is.
        if (signal == SIGSEGV && hidden().contains({at, 1}) && !peek(at, 1)) break;
        co_await workshop_.tracer.pass_on(pid_, signal);
    }
    co_await arch::set_registers(pid_, registers);
    co_return workshop_.tracer.release(pid_);
}

void Child::started() {
    started_ = true;
    link_->on_close(nullptr);
    link_->close();
}

}  // namespace proc9::os
