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
#include <sstream>

#include "daemon/keeper/keeper.hpp"
#include "daemon/os/exits.hpp"
#include "daemon/os/memory.hpp"
#include "daemon/os/parent.hpp"
#include "daemon/os/procfs.hpp"
#include "daemon/os/settings/facts.hpp"
#include "daemon/os/stub_image.hpp"
#include "daemon/os/zygote.hpp"
#include "fs/core/signals.hpp"

namespace proc9::os {
namespace {

using core::Result;
using core::Task;

constexpr auto patience_with_hello = std::chrono::seconds(10);
constexpr auto patience_with_adoption = std::chrono::seconds(3);
constexpr auto patience_with_tracer = std::chrono::milliseconds(100);
constexpr auto patience_with_dying = std::chrono::seconds(1);
constexpr auto time_between_rounds = std::chrono::milliseconds(500);
constexpr auto patience_with_strangers = std::chrono::seconds(1);
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

constexpr std::size_t longest_piece = 48U << 10U;  // of memory, in a message

// Between the batch and the process's own memory, by a call that answers EFAULT where others would fall. Which of the
// calls says how much.
std::uint32_t copy_within(Batch& batch, long call, Batch::Pointer here, core::Address there,
                          std::size_t size) {
    const std::array<std::uint64_t, 2> area{there.value, size};
    const std::array<std::uint64_t, 2> room{0, size};
    const auto local = batch.with_pointer(bytes_of(room), here, 0);
    const auto remote = batch.bytes(bytes_of(area));
    const auto self = batch.call("getpid", SYS_getpid);
    const auto name = call == SYS_process_vm_readv ? "process_vm_readv" : "process_vm_writev";
    return batch.call(name, call, self, local, 1, remote, 1, 0).index();
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

Result<> check_open(core::Pid pid) {
    const auto users = TRY(procfs::fields(pid))["Uid"];
    if (users.starts_with(fmt::format("{}\t", procfs::owner(pid)))) return {};
    return core::fail(std::errc::permission_denied, "process {} has more rights than its owner",
                      pid);
}

}  // namespace

Morgue::~Morgue() {
    constexpr int patience_ms = 500;  // a killed process is gone at once, or stuck in the kernel
    for (const auto& [number, dying] : waiting_) {
        pollfd ended{number, POLLIN, 0};
        if (dying.was_killed && ::poll(&ended, 1, patience_ms) > 0) (void)wait_for(number, 0);
    }
}

Morgue::Morgue(Loop& loop)
    : loop_(loop),
      child_signals_(on_children(loop,
                                 [this] {
                                     if (!round_)
                                         round_ = loop_.after(patience_with_strangers,
                                                              [this] { reap_strangers(); });
                                 })),
      // Another daemon may have left some.
      round_(loop_.after(patience_with_strangers, [this] { reap_strangers(); })) {}

// ENOENT on a kernel without CONFIG_PROC_CHILDREN: then they stay.
void Morgue::reap_strangers() {
    round_.reset();
    const auto file = fmt::format("task/{}/children", keeper::parent());
    std::istringstream children(procfs::read(keeper::parent(), file).value_or(""));
    for (core::Pid pid = 0; children >> pid;) {
        siginfo_t info{};
        const bool is_this = pid == ::getpid();  // a child of the keeper, which asks how it is
        if (!is_this && !ours_.contains(pid)) (void)wait_id(pid, info, WEXITED | WNOHANG | __WALL);
    }
}

void Rounds::begin(Child& child) {
    asked_[&child] = false;
    if (!next_) next_ = loop_.after(time_between_rounds, [this] { look(); });
}

void Rounds::look() {
    next_.reset();
    std::vector<Child*> slow;
    for (auto& [child, was_asked] : asked_) {
        if (std::exchange(was_asked, true)) slow.push_back(child);
    }
    for (Child* const child : slow) {
        if (asked_.contains(child)) child->look_after();
    }
    if (!asked_.empty()) next_ = loop_.after(time_between_rounds, [this] { look(); });
}

void Morgue::take(core::Pid pid, UniqueFd pidfd, bool was_killed) {
    const int number = pidfd.get();
    const auto ended = wait_for(number, 0);
    if (!ended || *ended) {
        ours_.erase(pid);
        return;
    }
    waiting_.emplace(number, Dying{pid, std::move(pidfd), nullptr, was_killed});
    watch(number);
}

// What woke us may have been the end of its number's last owner; or a foreign tracer holds it back, and it
// stays readable.
void Morgue::watch(int number) {
    waiting_.at(number).watch = loop_.on_readable(number, [this, number] {
        const auto ended = wait_for(number, 0);
        if (!ended || *ended) {
            ours_.erase(waiting_.at(number).pid);
            waiting_.erase(number);
        } else {
            waiting_.at(number).watch =
                loop_.after(patience_with_tracer, [this, number] { watch(number); });
        }
    });
}

void Morgue::take_dying(core::Pid pid, UniqueFd pidfd) {
    const int number = pidfd.get();
    expect(pid);
    take(pid, std::move(pidfd), true);
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
    if (workshop.tracer.is_known(pid)) co_return core::refused("clone3", ESRCH);  // that of another
    const auto deadline =
        workshop.loop.after(patience_with_hello, [waiting = link.get()] { waiting->close(); });
    const auto hello = co_await link->hello().result();
    // Nor is it the end of another child that was named instead.
    if (workshop.tracer.is_known(pid)) co_return core::refused("hello", ESRCH);
    if (!hello || hello->speaker != pid) {
        workshop.morgue.take_dying(pid, std::move(pidfd));
        co_return core::refused("hello", ESRCH);
    }
    auto child = std::make_unique<Child>(workshop, pid, std::move(pidfd), std::move(link));
    child->link_number_ = hello->number;
    co_return std::move(child);
}

static Task<> bury_one(Workshop& workshop, std::shared_ptr<Link> link) {
    const auto deadline =
        workshop.loop.after(patience_with_hello, [waiting = link.get()] { waiting->close(); });
    const auto hello = co_await link->hello().result();
    if (!hello) co_return;
    UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, hello->speaker, 0)));
    link->close();
    if (pidfd) workshop.morgue.take_dying(hello->speaker, std::move(pidfd));
}

void Child::bury(Workshop& workshop, const std::vector<std::shared_ptr<Link>>& links) {
    for (const auto& link : links) core::spawn(bury_one(workshop, link));
}

Task<Result<std::unique_ptr<Child>>> Child::adopt(Workshop& workshop, std::shared_ptr<Link> link,
                                                  core::Pid parent, std::uint32_t user) {
    co_await link->send_pages(stub_code());
    const auto users = fmt::format("{0}\t{0}\t{0}\t{0}", user);
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
    if (workshop.serves_all) co_await check_open(hello.speaker);
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
    if (!is_adopted()) workshop_.morgue.expect(pid_);
    watch_exit();
    workshop_.tracer.add(pid_);
    link_->on_close([this] {
        // A stub that closed its link without being told to is not ours any more.
        if (!started_ && !starting_ && !is_dying_) (void)send_signal(SIGKILL);
    });
}

Child::~Child() {
    exit_watch_.reset();
    workshop_.rounds.end(*this);
    if (exchanges_.busy()) link_->close();  // a copy that was being made ahead
    workshop_.tracer.gone(pid_);
    const bool dies = !started_ && !exited_;
    discard();
    leave(false, false);
    if (is_dying_) {
        workshop_.morgue.take_dying(pid_, std::move(pidfd_));
    } else {
        workshop_.morgue.take(pid_, std::move(pidfd_), dies);
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
    } else if (!send_signal(SIGKILL)) {
        link_->close();  // then a stub ends by itself
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

Result<> Child::check_seen() const {
    if (!started_ || exited_ || !account_ || !account_->is_limited()) return {};
    return check_open(pid_);
}

// kill(2) would ask whether the sender is the real or the saved user.
Result<> Child::check_signalled() const {
    if (!started_ || !account_ || !account_->is_limited()) return {};
    std::istringstream users(TRY(procfs::fields(pid_))["Uid"]);
    std::uint32_t real = 0;
    std::uint32_t effective = 0;
    std::uint32_t saved = 0;
    users >> real >> effective >> saved;
    if (real == account_->uid || saved == account_->uid) return {};
    return core::fail(std::errc::operation_not_permitted, "process {} runs as user {} now", pid_,
                      real);
}

Result<> Child::belong_to(AccountRef account) {
    place_ = TRY(Account::take_process(account));
    account_ = std::move(account);
    return {};
}

Result<std::shared_ptr<Zygote>> Child::maker() const {
    if (!maker_)
        return core::fail(std::errc::operation_not_permitted, "nobody made process {}", pid_);
    return maker_;
}

std::shared_ptr<const Origin> Child::origin() const {
    return maker_ ? maker_->origin() : Origin::daemon();
}

Result<core::MemoryRef> Child::make_memory() { return os::make_memory(account_); }

Result<> Child::send_signal(int number) {
    if (exited_) return core::fail(std::errc::no_such_process, "process {} is gone", pid_);
    TRY(check_signalled());
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

void Child::break_off() {
    const auto still_wanted = [link = link_, at = link_->sent()] {
        return link->is_waiting() && link->sent() == at;
    };
    core::spawn([](Tracer& tracer, core::Pid pid, std::function<bool()> wanted) -> Task<> {
        (void)co_await tracer.break_call(pid, std::move(wanted)).result();
    }(workshop_.tracer, pid_, still_wanted));
}

void Child::look_after() {
    if (!link_->is_waiting() || exited_ || !is_stopped()) return;
    was_stopped_ = true;
    break_off();
}

void Child::interrupt(bool on) {
    interrupted_ = on && !link_->is_waiting();
    if (!on || !link_->is_waiting() || exited_) return;
    break_off();
    // Where the kernel waits for what the interrupted request itself holds, a directory's lock, not
    // even that ends the call before the request is answered.
    patience_ = workshop_.loop.after(patience_with_stub, [this] {
        (void)send_signal(SIGKILL);
        const std::shared_ptr<Link> link = link_;  // who waits may drop this
        link->close();
    });
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
    if (account_) workshop_.rounds.begin(*this);
    auto replies = co_await link_->run_or_close(batch).result();
    workshop_.rounds.end(*this);
    patience_.reset();
    const bool was_stopped = std::exchange(was_stopped_, false);
    if (was_stopped && replies && *replies && (*replies)->was_interrupted())
        co_return core::fail(std::errc::device_or_resource_busy,
                             "process {} was stopped: write start", pid_);
    co_return std::move(replies);
}

Task<Result<>> Child::run_checked(Batch batch) {
    const Replies replies = co_await run(batch);
    co_return replies.checked();
}

// ---------------------------------------------------------------------------------------------
// What the kernel says

Result<std::vector<core::MappedLine>> Child::maps() {
    TRY(check_seen());
    auto lines = TRY(procfs::maps(pid_));
    const auto hidden = hidden_ranges();
    std::erase_if(lines, [&](const core::MappedLine& line) {
        return line.name == "[vsyscall]" ||
               std::any_of(hidden.begin(), hidden.end(),
                           [&](const auto& range) { return range.contains(line.range); });
    });
    return lines;
}

// A program's is reached by the daemon, which may have to wait for a file that is mapped there: not for others than its
// own user.
Result<std::size_t> Child::transfer(long call, char* here, core::Address there, std::size_t size) {
    if (account_ && account_->is_limited())
        return core::fail(std::errc::operation_not_permitted,
                          "a shared file of a running process: open it by its own name");
    const iovec local{here, size};
    const iovec remote{reinterpret_cast<void*>(there.value), size};  // NOLINT: another's address
    const auto done = TRY(check("process_vm_readv", keeper::by_parent([&] {
                                    return ::syscall(call, pid_, &local, 1, &remote, 1, 0);
                                })));
    return static_cast<std::size_t>(done);
}

// An embryo's by itself.
Task<Result<std::string>> Child::peek(core::Address from, std::size_t size) {
    std::string bytes;
    if (started_) {
        bytes.resize(size);
        bytes.resize(co_await transfer(SYS_process_vm_readv, bytes.data(), from, size));
        co_return std::move(bytes);
    }
    while (bytes.size() < size) {
        const auto part = std::min(size - bytes.size(), longest_piece);
        Batch batch = this->batch();
        const auto here = batch.space(part);
        const auto calls =
            copy_within(batch, SYS_process_vm_readv, here, from + bytes.size(), part);
        const auto replies = co_await exchange(batch);
        if (!replies) co_return core::refused("process_vm_readv", ESRCH);
        const auto got = replies->of(calls);
        if (!got && bytes.empty()) co_return got.error();
        const auto count = std::min(part, static_cast<std::size_t>(got.value_or(0)));
        bytes += replies->data(here, count);
        if (count < part) break;
    }
    co_return std::move(bytes);
}

Task<Result<std::size_t>> Child::poke(core::Address to, std::string bytes) {
    if (started_) co_return transfer(SYS_process_vm_writev, bytes.data(), to, bytes.size());
    std::size_t done = 0;
    while (done < bytes.size()) {
        const auto part = std::string_view(bytes).substr(done, longest_piece);
        Batch batch = this->batch();
        const auto here = batch.bytes(part);
        const auto calls = copy_within(batch, SYS_process_vm_writev, here, to + done, part.size());
        const Replies replies = co_await run(batch);
        const auto got = replies.of(calls);
        if (!got && done == 0) co_return got.error();
        const auto count = std::min(part.size(), static_cast<std::size_t>(got.value_or(0)));
        done += count;
        if (count < part.size()) break;
    }
    co_return done;
}

Result<std::vector<int>> Child::descriptors() {
    TRY(check_seen());
    auto numbers = TRY(procfs::numbers(pid_, "fd"));
    for (const int link : hidden_links()) std::erase(numbers, link);
    return numbers;
}

Result<std::string> Child::descriptor_target(int number) {
    TRY(check_seen());
    TRY(check_not_link(number));
    auto target = procfs::link(pid_, fmt::format("fd/{}", number));
    if (!target && target.error().code == std::errc::no_such_file_or_directory)
        return core::fail(std::errc::bad_file_descriptor, "no descriptor {}", number);
    return target;
}

Result<core::DescriptorRef> Child::take_descriptor(int number) {
    TRY(check_seen());
    TRY(check_not_link(number));
    UniqueFd fd = TRY(check_fd("pidfd_getfd", keeper::by_parent([&] {
                                   return static_cast<int>(
                                       ::syscall(SYS_pidfd_getfd, pidfd_.get(), number, 0));
                               })));
    return core::DescriptorRef(std::make_shared<HeldDescriptor>(std::move(fd)));
}

Result<std::string> Child::link(std::string_view name) {
    TRY(check_seen());
    return procfs::link(pid_, name);
}

Result<std::string> Child::text(std::string_view name) { return procfs::read(pid_, name); }

Result<std::vector<core::Pid>> Child::threads() { return procfs::numbers(pid_, "task"); }

Result<std::map<std::string, std::string>> Child::status() { return procfs::status(pid_); }

}  // namespace proc9::os
