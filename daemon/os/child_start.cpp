// How an embryo becomes a program.
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>

#include <array>
#include <csignal>

#include "daemon/os/child.hpp"
#include "daemon/os/memory.hpp"
#include "daemon/os/procfs.hpp"
#include "daemon/os/registers.hpp"
#include "daemon/os/settings/settings.hpp"

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
// from then on that is the user's choice.
void set_death_signal(Batch& batch, int number) {
    batch.call("prctl", SYS_prctl, PR_SET_PDEATHSIG, number);
}
void must_not_outlive(Batch& batch) {
    batch.call("prctl", SYS_prctl, PR_SET_PDEATHSIG, SIGKILL).always();
}

void install_filters(Batch& batch, const std::vector<std::string>& filters) {
    for (const auto& filter : filters) {
        const auto program = batch.bytes(filter);
        // struct sock_fprog: a count, and the address of the instructions
        const std::uint64_t count = filter.size() / sizeof(sock_filter);
        const auto header = batch.with_pointer({reinterpret_cast<const char*>(&count),  // NOLINT
                                                sizeof count},
                                               program);
        batch.call("seccomp", SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC,
                   header);
    }
}

Batch::Added exec_call(Batch& batch, const core::Program& program, const std::string& path,
                       Batch::Argument arguments, Batch::Argument environment, int flags) {
    if (program.descriptor)
        return batch.call("exec", SYS_execveat, *program.descriptor, batch.text(""), arguments,
                          environment, flags | AT_EMPTY_PATH);
    return batch.call("exec", SYS_execveat, AT_FDCWD, batch.text(path), arguments, environment,
                      flags);
}

// One call for each path where the program may be; the first one's index.
std::uint32_t try_all(Batch& batch, const core::Program& program, Batch::Argument arguments,
                      Batch::Argument environment, int flags) {
    const auto first = static_cast<std::uint32_t>(batch.count());
    if (program.descriptor) exec_call(batch, program, "", arguments, environment, flags);
    for (const auto& path : program.candidates)
        exec_call(batch, program, path, arguments, environment, flags).search();
    return first;
}

std::size_t tries(const core::Program& program) {
    return program.descriptor ? 1 : program.candidates.size();
}

// As execvp(3): what stopped the search, else EACCES if any said so, else ENOENT.
core::Error worst_of(const Replies& replies, std::uint32_t first, std::size_t count) {
    core::Error worst = core::refused("exec", ENOENT);
    for (std::uint32_t i = 0; i < count; ++i) {
        const auto result = replies.of(first + i);
        if (result) continue;
        const auto code = result.error().code;
        if (code == std::errc::operation_canceled) break;
        if (count == 1 ||
            (code != std::errc::no_such_file_or_directory && code != std::errc::not_a_directory))
            worst = result.error();
    }
    return worst;
}

}  // namespace

// The kernel would keep what is hidden there for the process that runs.
Result<> Child::check_exec() const {
    if (!memory_->is_running && !files_->is_running) return {};
    return core::fail(std::errc::device_or_resource_busy,
                      "a process that shares its memory or descriptors runs already: start this "
                      "one with entry, or exec before that");
}

// What is done in the child in one step with the start of the program.
struct Child::Preparation {
    std::vector<core::Setting>& settings;
    Batch batch;
    Encoded calls = {};  // of the settings, first in the batch
};

// Settings that cannot be a part of that step are applied beforehand.
Task<Result<>> Child::prepare(Preparation& preparation) {
    auto& settings = preparation.settings;
    const auto last = static_cast<std::ptrdiff_t>(Encoded::takes_last(settings));
    std::vector<core::Setting> first(settings.begin(), settings.end() - last);
    auto outcome = co_await apply_all(first).result();
    const auto applied = settings.size() - static_cast<std::size_t>(last) - first.size();
    settings.erase(settings.begin(), settings.begin() + static_cast<std::ptrdiff_t>(applied));
    co_await std::move(outcome);
    preparation.batch = batch();
    const bool can_be_joined = parked_.empty() && plan.filters.empty() && check_exec();
    if (can_be_joined) (void)preparation.calls.add(preparation.batch, pid_, settings);
    if (preparation.calls.count() == settings.size()) co_return core::done();
    co_await apply_all(settings);
    preparation.batch = batch();
    preparation.calls = {};
    co_return core::done();
}

Task<Result<>> Child::exec_with(std::vector<core::Setting>& settings, core::Program program) {
    Preparation preparation{settings, batch()};
    co_await prepare(preparation);
    co_await check_exec();
    if (!plan.filters.empty()) co_await check_program(program);
    Batch& small = preparation.batch;
    const auto arguments = small.pointers(texts(small, program.arguments));
    const auto environment = small.pointers(texts(small, program.environment));
    if (small.size() < Batch::capacity / 4) {
        co_await start_program(preparation, program, {arguments, environment}, std::nullopt);
        co_return core::done();
    }

    // Too much for the buffer: a memory object carries it.
    co_await apply_all(settings);
    const Image image(program);
    core::MemoryRef object = co_await make_memory();
    co_await object->resize(image.size());
    core::Mapping mapping;
    mapping.length = image.size();
    mapping.protection = core::Protection{true, false, false};
    mapping.source = core::Mapping::Object{object, 0};
    const core::Range loaded = co_await map(std::move(mapping));
    co_await object->write(image.at(loaded.start), 0);
    const auto vectors = (program.arguments.size() + 1) * sizeof(std::uint64_t);
    preparation.batch = batch();
    preparation.calls = {};
    co_await start_program(preparation, program, {loaded.start, loaded.start + vectors}, loaded);
    co_return core::done();
}

// The calls that turn the child into the program, or leave it as it was.
Task<Result<>> Child::start_program(Preparation& preparation, const core::Program& program,
                                    Vectors vectors, std::optional<core::Range> image) {
    Batch& batch = preparation.batch;
    set_death_signal(batch, plan.death_signal);
    install_filters(batch, plan.filters);
    const auto first = try_all(batch, program, vectors.arguments, vectors.environment, 0);
    if (image) batch.call("munmap", SYS_munmap, image->start, image->length).always();
    must_not_outlive(batch);
    if (!batch.fits()) {
        if (image) co_await unmap(*image);
        co_return core::refused("exec", E2BIG);
    }
    const bool is_shared = files_->embryos.size() > 1;  // they keep its link open
    const bool is_traced = plan.hangs || is_shared;
    if (is_traced) co_await workshop_.tracer.seize(pid_, PTRACE_O_EXITKILL | PTRACE_O_TRACEEXEC);
    exec_was_seen_ = !is_traced;
    if (is_traced) core::spawn(watch_exec());
    auto outcome = co_await run_exec(preparation, first, tries(program)).result();
    if (is_traced && outcome) {
        core::Later<bool> seen;
        exec_waiter_ = &seen;
        if (!exec_was_seen_) (void)co_await seen;
        exec_waiter_ = nullptr;
        if (plan.hangs) outcome = send_signal(SIGSTOP);
        (void)workshop_.tracer.release(pid_);
        if (!outcome) (void)send_signal(SIGKILL);  // it must not run, and is none of ours any more
        if (plan.hangs && outcome) co_await stay_stopped();
    } else if (is_traced) {
        (void)co_await workshop_.tracer.give_up(pid_).result();
    }
    if (!outcome && !plan.filters.empty()) {
        // Its filters are in force, and may not let the stub go on.
        (void)send_signal(SIGKILL);
        outcome.error().why += " (after the seccomp filter was installed: the process is gone)";
    }
    co_return std::move(outcome);
}

// Once filters are installed there is no way back: the program is found before.
Task<Result<>> Child::check_program(core::Program& program) {
    constexpr int execve_check = 0x10000;  // AT_EXECVE_CHECK, Linux 6.14
    Batch batch = this->batch();
    const auto first = try_all(batch, program, 0, 0, execve_check);
    const Replies replies = co_await run(batch);
    const auto count = tries(program);
    for (std::uint32_t i = 0; i < count; ++i) {
        const auto found = replies.of(first + i);
        const bool cannot_ask = !found && found.error().code == std::errc::invalid_argument;
        if (cannot_ask) co_return core::done();
        if (!found) continue;
        if (!program.descriptor) program.candidates = {program.candidates[i]};
        co_return core::done();
    }
    co_return worst_of(replies, first, count);
}

Task<Result<>> Child::run_exec(Preparation& preparation, std::uint32_t first,
                               std::size_t candidates) {
    starting_ = true;
    auto answer = co_await run_or_close(preparation.batch).result();
    starting_ = false;
    if (!answer) co_return std::move(answer).error();
    if (!*answer) {  // the link was close-on-exec
        preparation.settings.clear();
        leave(false, false);
        started();
        co_return core::done();
    }
    co_await preparation.calls.settle(**answer, *this, preparation.settings);
    co_await (*answer)->checked(0, first);
    co_return worst_of(**answer, first, candidates);
}

// The kernel stops the process between exec and its first instruction.
Task<Result<>> Child::stopped_by_exec() {
    while (true) {
        const int signal = co_await workshop_.tracer.stopped(pid_);
        if (is_event(signal)) co_return core::done();
        co_await workshop_.tracer.pass_on(pid_, signal);
    }
}

// Signals that come meanwhile stop it, too. The end of the link in a common table does not tell.
Task<> Child::watch_exec() {
    const std::shared_ptr<Link> link = link_;
    const auto event = co_await stopped_by_exec().result();
    exec_was_seen_ = true;
    auto* const waiter = std::exchange(exec_waiter_, nullptr);
    if (event) link->close();
    if (waiter) (void)waiter->set(true);
}

// Common to all that start without exec.
void Child::before_start(Batch& batch) const {
    set_death_signal(batch, plan.death_signal);
    if (!plan.is_dumpable) batch.call("prctl", SYS_prctl, PR_SET_DUMPABLE, 0);
}

// The call of the pages returns: who called them takes them away.
Task<Result<>> Child::resume() {
    if (parent_ == 0)
        co_return core::fail(std::errc::invalid_argument,
                             "process {} was not adopted: there is nothing to go on with", pid_);
    if (!parked_.empty() || owed_ != 0)
        co_return core::fail(std::errc::device_or_resource_busy,
                             "process {} has threads that only entry starts", pid_);
    Batch batch = this->batch();
    before_start(batch);
    install_filters(batch, plan.filters);
    batch.call("return", PROC9_CALL_RETURN, plan.hangs ? SIGSTOP : 0);
    if (!batch.fits()) co_return core::refused("resume", E2BIG);
    starting_ = true;
    auto outcome = co_await run_checked(std::move(batch)).result();
    starting_ = false;
    if (outcome) {
        leave(true, true);
        started();
        if (plan.hangs) co_await stay_stopped();
    } else if (!plan.filters.empty()) {
        (void)send_signal(SIGKILL);  // they may be in force
    }
    co_return outcome;
}

Task<Result<>> Child::enter(std::vector<core::Registers> threads) {
    co_await make_owed();
    Batch batch = this->batch();
    before_start(batch);
    batch.call("close", SYS_close, link_number_);
    install_filters(batch, plan.filters);  // must let munmap pass
    tidy_up(batch);
    batch.call("munmap", SYS_munmap, stub_, PROC9_STUB_SIZE);
    if (!batch.fits()) co_return core::refused("entry", E2BIG);
    co_await seize_all();
    starting_ = true;
    const auto deadline = workshop_.loop.after(patience_with_entry, [this] { give_up_entry(); });
    auto outcome = co_await watch_entry(std::move(batch), std::move(threads)).result();
    starting_ = false;
    if (outcome) {
        memory_->pages_left.clear();
        files_->links_left.clear();
        leave(true, true);
        started();
    } else {
        (void)send_signal(SIGKILL);  // its stub is gone or does not obey: nothing can be saved
    }
    co_return outcome;
}

// All of its threads, or none: one may have a tracer already.
Task<Result<>> Child::seize_all() {
    Tracer& tracer = workshop_.tracer;
    auto threads = parked_;
    threads.push_back(pid_);
    for (auto next = threads.begin(); next != threads.end(); ++next) {
        auto seized = tracer.seize(*next, PTRACE_O_EXITKILL);
        if (seized) continue;
        for (auto one = threads.begin(); one != next; ++one)
            (void)co_await tracer.give_up(*one).result();
        auto seen = status();  // the kernel says EPERM of one that has ended
        if (seen && (*seen)["State"].starts_with('Z')) co_return core::refused("ptrace", ESRCH);
        co_return seized;
    }
    co_return core::done();
}

// Who waits for a stop of one of its threads goes on at once.
void Child::give_up_entry() {
    Tracer& tracer = workshop_.tracer;
    const core::Pid first = pid_;
    const auto others = parked_;
    (void)send_signal(SIGKILL);
    for (const auto thread : others) tracer.stop_waiting(thread);
    tracer.stop_waiting(first);
}

static bool is_mapped(core::Pid pid, core::Address at) {
    const auto lines = procfs::maps(pid).value_or(std::vector<core::MappedLine>{});
    return std::any_of(lines.begin(), lines.end(),
                       [at](const auto& line) { return line.range.contains({at, 1}); });
}

// The stub takes itself away and returns to where it was: that is the fault which stops the process
// with nothing of ours in it.
Task<Result<>> Child::watch_entry(Batch batch, std::vector<core::Registers> threads) {
    co_await stop_parked();
    forget_copies();
    const auto turn = co_await exchanges_.enter(nobody_);
    co_await link_->send_only(batch);
    while (true) {
        const int signal = co_await workshop_.tracer.stopped(pid_);
        const core::Address at = co_await arch::program_counter(pid_);
        // Anybody may send SEGV; only the fault finds nothing where it is.
        if (signal == SIGSEGV && hidden().contains({at, 1}) && !is_mapped(pid_, at)) break;
        co_await workshop_.tracer.pass_on(pid_, is_event(signal) ? 0 : signal);
    }
    co_await set_registers(pid_, threads.front());
    for (std::size_t i = 0; i < parked_.size(); ++i)
        co_await set_registers(parked_[i], threads.at(i + 1));
    if (plan.hangs) co_await send_signal(SIGSTOP);
    co_await workshop_.tracer.release(pid_);
    if (plan.hangs) co_await stay_stopped();
    // The first may have ended them all by now.
    for (const auto thread : parked_) (void)workshop_.tracer.release(thread);
    co_return core::done();
}

// As long as their pages are there: one may not have come to its wait yet. They will never see its answer.
Task<Result<>> Child::stop_parked() {
    for (const auto thread : parked_) {
        co_await workshop_.tracer.interrupt(thread);
        while (true) {
            const int signal = co_await workshop_.tracer.stopped(thread);
            if (is_event(signal)) break;
            co_await workshop_.tracer.pass_on(thread, signal);
        }
    }
    co_return core::done();
}

// Until the first thread has taken the signal: none of the others runs then. Somebody may have continued it
// before that was seen.
Task<Result<>> Child::stay_stopped() {
    for (int patience = 1000; patience > 0; --patience) {
        auto status = this->status();
        const bool runs = status && (*status)["State"].find_first_of("TtZ") != 0;
        if (!runs) co_return core::done();
        core::Later<bool> due;
        const auto timer =
            workshop_.loop.after(std::chrono::milliseconds(1), [&due] { (void)due.set(true); });
        co_await due;
    }
    co_return core::done();
}

void Child::started() {
    started_ = true;
    link_->on_close(nullptr);
    link_->close();
}

}  // namespace proc9::os
