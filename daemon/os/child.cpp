#include "daemon/os/child.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <csignal>

#include "daemon/os/exits.hpp"
#include "daemon/os/procfs.hpp"
#include "daemon/os/stub_image.hpp"
#include "fs/core/signals.hpp"

namespace proc9::os {
namespace {

using core::Result;
using core::Task;

constexpr auto patience_with_hello = std::chrono::seconds(10);
constexpr auto patience_with_adoption = std::chrono::seconds(3);
constexpr auto patience_with_tracer = std::chrono::milliseconds(100);
constexpr auto patience_with_dying = std::chrono::seconds(1);
constexpr auto patience_with_stub = std::chrono::seconds(3);

// The kernel says that it is a child of that process, and which users it has.
Result<> check_adopted(core::Pid pid, core::Pid parent, const std::string& users) {
    const auto status = TRY(procfs::fields(pid));
    const bool is_a_child = status["PPid"] == std::to_string(parent);
    const bool is_ours = status["Uid"] == users;
    const bool is_alone = status["Threads"] == "1";
    if (is_a_child && is_ours && !is_alone)
        return core::fail(std::errc::device_or_resource_busy, "process {} has {} threads", pid,
                          status["Threads"]);
    if (is_a_child && is_ours) return {};
    return core::fail(std::errc::operation_not_permitted,
                      "process {} is not a child of process {} with its ids", pid, parent);
}

bool is_stopped(const procfs::Fields& status) { return status["State"].starts_with('T'); }

// By a signal that it will take as soon as it gets a processor.
bool will_stop(const procfs::Fields& status) {
    constexpr auto bit = [](int signal) { return std::uint64_t{1} << (signal - 1); };
    constexpr auto stops = bit(SIGSTOP) | bit(SIGTSTP) | bit(SIGTTIN) | bit(SIGTTOU);
    const auto set = [&](std::string_view name) {
        return core::parse_number("0x" + status[name]).value_or(0);
    };
    const auto waits = (set("SigPnd") | set("ShdPnd")) & ~set("SigBlk") & ~set("SigCgt");
    return (waits & stops) != 0;
}

}  // namespace

Morgue::~Morgue() {
    constexpr int patience_ms = 500;  // a killed process is gone at once, or stuck in the kernel
    for (const auto& [number, dying] : waiting_) {
        pollfd ended{number, POLLIN, 0};
        if (dying.was_killed && ::poll(&ended, 1, patience_ms) > 0) (void)wait_for(number, 0);
    }
}

void Morgue::take(UniqueFd pidfd, bool was_killed) {
    const int number = pidfd.get();
    const auto ended = wait_for(number, 0);
    if (!ended || *ended) return;
    waiting_.emplace(number, Dying{std::move(pidfd), nullptr, was_killed});
    watch(number);
}

// What woke us may have been the end of its number's last owner; or a foreign tracer holds it back, and it
// stays readable.
void Morgue::watch(int number) {
    waiting_.at(number).watch = loop_.on_readable(number, [this, number] {
        const auto ended = wait_for(number, 0);
        if (!ended || *ended) {
            waiting_.erase(number);
        } else {
            waiting_.at(number).watch =
                loop_.after(patience_with_tracer, [this, number] { watch(number); });
        }
    });
}

void Morgue::take_dying(UniqueFd pidfd) {
    const int number = pidfd.get();
    take(std::move(pidfd), true);
    const auto found = waiting_.find(number);
    if (found == waiting_.end()) return;
    found->second.patience = loop_.after(patience_with_dying, [number] {
        (void)::syscall(SYS_pidfd_send_signal, number, SIGKILL, nullptr, 0);
    });
}

Task<Result<std::unique_ptr<Child>>> Child::greet(Workshop& workshop, std::shared_ptr<Link> link,
                                                  core::Pid pid) {
    UniqueFd pidfd =
        co_await check_fd("pidfd_open", static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
    co_await wait_for(pidfd.get(), WNOWAIT);  // only a parent can: a zygote may say any number
    const auto deadline =
        workshop.loop.after(patience_with_hello, [waiting = link.get()] { waiting->close(); });
    auto child = std::make_unique<Child>(workshop, pid, std::move(pidfd), link);
    const Link::Hello hello = co_await link->hello();
    if (hello.speaker != pid) co_return core::refused("hello", ESRCH);
    child->link_number_ = hello.number;
    co_return std::move(child);
}

static Task<> bury_one(Workshop& workshop, std::shared_ptr<Link> link) {
    const auto deadline =
        workshop.loop.after(patience_with_hello, [waiting = link.get()] { waiting->close(); });
    const auto hello = co_await link->hello().result();
    if (!hello) co_return;
    UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, hello->speaker, 0)));
    link->close();
    if (pidfd) workshop.morgue.take_dying(std::move(pidfd));
}

void Child::bury(Workshop& workshop, const std::vector<std::shared_ptr<Link>>& links) {
    for (const auto& link : links) core::spawn(bury_one(workshop, link));
}

Task<Result<std::unique_ptr<Child>>> Child::adopt(Workshop& workshop, std::shared_ptr<Link> link,
                                                  core::Pid parent) {
    co_await link->send_pages(stub_code());
    const auto users = fmt::format("{0}\t{0}\t{0}\t{0}", ::geteuid());
    auto met = co_await meet(workshop, std::move(link), parent, users).result();
    if (!met && met.error().code == std::errc::no_such_process)
        co_return core::fail(std::errc::no_such_process,
                             "no child of process {} calls the pages of a stub", parent);
    co_return met;
}

Task<Result<std::unique_ptr<Child>>> Child::meet(Workshop& workshop, std::shared_ptr<Link> link,
                                                 core::Pid parent, std::string users) {
    const auto deadline =
        workshop.loop.after(patience_with_adoption, [waiting = link.get()] { waiting->close(); });
    const Link::Hello hello = co_await link->hello();
    if (hello.speaker <= 0) co_return core::refused("adopt", ESRCH);  // it spoke too early
    UniqueFd pidfd = co_await check_fd(
        "pidfd_open", static_cast<int>(::syscall(SYS_pidfd_open, hello.speaker, 0)));
    if (workshop.tracer.is_known(hello.speaker))
        co_return core::fail(std::errc::file_exists, "process {} is here already", hello.speaker);
    co_await check_adopted(hello.speaker, parent, users);
    auto child =
        std::make_unique<Child>(workshop, hello.speaker, std::move(pidfd), std::move(link), parent);
    child->link_number_ = hello.number;
    child->stub_ = hello.pages;
    co_return std::move(child);
}

Child::Child(Workshop& workshop, core::Pid pid, UniqueFd pidfd, std::shared_ptr<Link> link,
             core::Pid parent)
    : workshop_(workshop),
      pid_(pid),
      parent_(parent),
      pidfd_(std::move(pidfd)),
      link_(std::move(link)),
      copies_(workshop.loop, workshop.pool_size, Pool::Kind::of_copies,
              [this](std::size_t count) { return cast(count); }) {
    memory_->embryos.insert(this);
    files_->embryos.insert(this);
    watch_exit();
    workshop_.tracer.add(pid_);
    link_->on_close([this] {
        // A stub that closed its link without being told to is not ours any more.
        if (!started_ && !starting_ && !is_dying_) (void)send_signal(SIGKILL);
    });
}

Child::~Child() {
    exit_watch_.reset();
    if (exchanges_.busy()) link_->close();  // a copy that was being made ahead
    workshop_.tracer.gone(pid_);
    const bool dies = !started_ && !exited_;
    discard();
    leave(false, false);
    if (is_dying_) {
        workshop_.morgue.take_dying(std::move(pidfd_));
    } else {
        workshop_.morgue.take(std::move(pidfd_), dies);
    }
}

void Child::discard() {
    if (started_ || exited_ || is_dying_) return;
    const bool is_missed = memory_->is_running || files_->is_running;
    Batch last = batch();
    last.call("close", SYS_close, link_number_);
    last.call("munmap", SYS_munmap, stub_, PROC9_STUB_SIZE);
    // Others run with what is hidden there: it takes that away itself, and falls.
    if (is_missed && link_->send_only(last)) {
        leave(true, false);
        is_dying_ = true;
        patience_ =
            workshop_.loop.after(patience_with_dying, [this] { (void)send_signal(SIGKILL); });
    } else {
        (void)send_signal(SIGKILL);
    }
}

void Child::leave(bool is_tidy, bool is_running) {
    const bool was_in = memory_->embryos.erase(this) != 0;
    files_->embryos.erase(this);
    memory_->is_running |= is_running;
    files_->is_running |= is_running;
    if (!was_in || is_running) return;
    if (!is_tidy) {
        memory_->pages_left.push_back(hidden());
        files_->links_left.push_back(link_number_);
    }
    memory_ = std::make_shared<Sharers>();  // of its own, or none
    files_ = std::make_shared<Sharers>();
}

std::vector<core::Range> Child::hidden_ranges() const {
    auto ranges = memory_->pages_left;
    for (const Child* const embryo : memory_->embryos) ranges.push_back(embryo->hidden());
    std::sort(ranges.begin(), ranges.end(),
              [](const auto& a, const auto& b) { return a.start < b.start; });
    return ranges;
}

std::vector<int> Child::hidden_links() const {
    auto links = files_->links_left;
    for (const Child* const embryo : files_->embryos) links.push_back(embryo->link_number_);
    return links;
}

void Child::tidy_up(Batch& batch) const {
    for (const auto& pages : memory_->pages_left)
        batch.call("munmap", SYS_munmap, pages.start, pages.length).keep_going();
    for (const int link : files_->links_left) batch.call("close", SYS_close, link).keep_going();
}

void Child::watch_exit() {
    exit_watch_ = workshop_.loop.on_readable(pidfd_.get(), [this] { look_for_exit(); });
}

// A child of another process is reaped by that one, as soon as it likes; or first by us, as its tracer.
Result<std::optional<core::ExitStatus>> Child::ended() const {
    if (parent_ == 0) return wait_for(pidfd_.get(), WNOWAIT);
    if (auto traced = wait_for(pidfd_.get(), 0); traced && *traced) return traced;
    return end_of_foreign(pid_, pidfd_.get());
}

void Child::watch_reaping() {
    if (parent_ == 0) return;
    exit_watch_ = workshop_.loop.on_hang_up(pidfd_.get(), [this] {
        if (const auto hook = std::exchange(reaped_hook_, nullptr)) hook();  // may destroy this
    });
}

void Child::look_for_exit() {
    const auto ended = this->ended();
    if (!ended || !*ended) {
        // Dead, but a foreign tracer holds it back, and its pidfd stays readable.
        exit_watch_ = workshop_.loop.after(patience_with_tracer, [this] { watch_exit(); });
        return;
    }
    exit_watch_.reset();
    watch_reaping();
    exited_ = **ended;
    forget_copies();
    leave(false, false);
    patience_.reset();
    // Who waits is resumed at once and may drop the last reference to this.
    const core::ExitStatus status = *exited_;
    const auto hook = std::exchange(exit_hook_, nullptr);
    const std::shared_ptr<Link> link = link_;
    Tracer& tracer = workshop_.tracer;
    const core::Pid pid = pid_;
    link->on_close(nullptr);
    for (const auto thread : std::exchange(parked_, {})) tracer.gone(thread);
    tracer.gone(pid);
    link->close();
    if (hook) hook(status);
}

void Child::on_exit(std::function<void(core::ExitStatus)> hook) {
    if (exited_) {
        hook(*exited_);
    } else {
        exit_hook_ = std::move(hook);
    }
}

Result<> Child::send_signal(int number) {
    if (exited_) return core::fail(std::errc::no_such_process, "process {} is gone", pid_);
    TRY(check("pidfd_send_signal",
              ::syscall(SYS_pidfd_send_signal, pidfd_.get(), number, nullptr, 0)));
    return {};
}

// In one look the state comes before the signals: one may be taken in between.
bool Child::is_stopped() const {
    const auto look = [](const procfs::Record& file) {
        return procfs::Fields(file.read().value_or(""));
    };
    const auto file = procfs::Record::open(pid_, "status");
    if (exited_ || !file) return false;
    const auto first = look(*file);
    return os::is_stopped(first) || will_stop(first) || os::is_stopped(look(*file));
}

void Child::interrupt(bool on) {
    interrupted_ = on && !link_->is_waiting();
    if (!on || !link_->is_waiting() || exited_) return;
    const auto still_wanted = [this, batch = batches_] {
        return batch == batches_ && link_->is_waiting();
    };
    core::spawn([](Tracer& tracer, core::Pid pid, std::function<bool()> wanted) -> Task<> {
        (void)co_await tracer.break_call(pid, std::move(wanted)).result();
    }(workshop_.tracer, pid_, still_wanted));
    patience_ = workshop_.loop.after(patience_with_stub, [this] { (void)send_signal(SIGKILL); });
}

Task<Result<Replies>> Child::run(const Batch& batch) {
    auto replies = co_await run_or_close(batch);
    if (!replies) co_return core::Error{std::errc::no_such_process, "the process is gone"};
    co_return std::move(*replies);
}

// They are not equal any more.
void Child::forget_copies() {
    copies_.clear();
    users_.clear();
}

Task<Result<std::optional<Replies>>> Child::run_or_close(const Batch& batch) {
    forget_copies();
    co_return co_await exchange(batch).result();
}

Task<Result<std::optional<Replies>>> Child::exchange(const Batch& batch) {
    const auto turn = co_await exchanges_.enter(nobody_);
    if (std::exchange(interrupted_, false)) co_return core::refused("call", EINTR);
    ++batches_;
    auto replies = co_await link_->run_or_close(batch).result();
    patience_.reset();
    co_return std::move(replies);
}

Task<Result<>> Child::run_checked(Batch batch) {
    const Replies replies = co_await run(batch);
    co_return replies.checked();
}

// ---------------------------------------------------------------------------------------------
// What the kernel says

Result<std::vector<core::MappedLine>> Child::maps() {
    auto lines = TRY(procfs::maps(pid_));
    const auto hidden = hidden_ranges();
    std::erase_if(lines, [&](const core::MappedLine& line) {
        return line.name == "[vsyscall]" ||
               std::any_of(hidden.begin(), hidden.end(),
                           [&](const auto& range) { return range.contains(line.range); });
    });
    return lines;
}

Result<std::string> Child::peek(core::Address from, std::size_t size) {
    std::string bytes(size, '\0');
    const iovec local{bytes.data(), size};
    const iovec remote{reinterpret_cast<void*>(from.value), size};  // NOLINT: another's address
    const auto got =
        TRY(check("process_vm_readv", ::process_vm_readv(pid_, &local, 1, &remote, 1, 0)));
    bytes.resize(static_cast<std::size_t>(got));
    return bytes;
}

Result<std::size_t> Child::poke(core::Address to, std::string_view bytes) {
    forget_copies();
    const iovec local{const_cast<char*>(bytes.data()), bytes.size()};  // NOLINT: only read
    const iovec remote{reinterpret_cast<void*>(to.value),
                       bytes.size()};  // NOLINT: another's address
    return static_cast<std::size_t>(
        TRY(check("process_vm_writev", ::process_vm_writev(pid_, &local, 1, &remote, 1, 0))));
}

Result<std::vector<int>> Child::descriptors() {
    auto numbers = TRY(procfs::numbers(pid_, "fd"));
    for (const int link : hidden_links()) std::erase(numbers, link);
    return numbers;
}

Result<std::string> Child::descriptor_target(int number) {
    TRY(check_not_link(number));
    auto target = procfs::link(pid_, fmt::format("fd/{}", number));
    if (!target && target.error().code == std::errc::no_such_file_or_directory)
        return core::fail(std::errc::bad_file_descriptor, "no descriptor {}", number);
    return target;
}

Result<core::DescriptorRef> Child::take_descriptor(int number) {
    TRY(check_not_link(number));
    UniqueFd fd = TRY(check_fd(
        "pidfd_getfd", static_cast<int>(::syscall(SYS_pidfd_getfd, pidfd_.get(), number, 0))));
    return core::DescriptorRef(std::make_shared<HeldDescriptor>(std::move(fd)));
}

Result<std::string> Child::link(std::string_view name) { return procfs::link(pid_, name); }

Result<std::string> Child::text(std::string_view name) { return procfs::read(pid_, name); }

Result<std::vector<core::Pid>> Child::threads() { return procfs::numbers(pid_, "task"); }

Result<std::map<std::string, std::string>> Child::status() { return procfs::status(pid_); }

}  // namespace proc9::os
