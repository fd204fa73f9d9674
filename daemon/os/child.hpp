// One real process that the zygote made: a core::Embryo on Linux.
#pragma once

#include <sys/resource.h>

#include <memory>
#include <set>
#include <span>

#include "daemon/os/account.hpp"
#include "daemon/os/link.hpp"
#include "daemon/os/loop.hpp"
#include "daemon/os/pool.hpp"
#include "daemon/os/tracer.hpp"
#include "fs/core/host.hpp"
#include "fs/core/saved.hpp"
#include "fs/core/turnstile.hpp"

namespace proc9::os {

class Zygote;
struct Origin;

// Keeps exited and dying children until they are reaped; every child's pidfd ends here. And who knows clone(2) can make
// more children of ours (CLONE_PARENT), whom nobody else reaps.
class Morgue {
public:
    explicit Morgue(Loop& loop);
    Morgue(const Morgue&) = delete;
    Morgue& operator=(const Morgue&) = delete;
    ~Morgue();  // waits a moment for those that were killed

    void expect(core::Pid pid) { ours_.insert(pid); }  // it will be taken
    // Reaps the child when it has exited. The pid is free again only then.
    void take(core::Pid pid, UniqueFd pidfd, bool was_killed);
    // One that was asked to end: it is killed if it does not.
    void take_dying(core::Pid pid, UniqueFd pidfd);

private:
    void watch(int number);
    void reap_strangers();

    Loop& loop_;
    std::set<core::Pid> ours_;
    Loop::WatchRef child_signals_;
    Loop::WatchRef round_;
    struct Dying {
        core::Pid pid;
        UniqueFd pidfd;
        Loop::WatchRef watch;
        bool was_killed = false;
        Loop::WatchRef patience = nullptr;
    };
    std::map<int, Dying> waiting_;
};

// Looks after embryos that were asked something and have not answered for a while.
class Rounds {
public:
    explicit Rounds(Loop& loop) : loop_(loop) {}
    void begin(Child& child);
    void end(Child& child) { asked_.erase(&child); }

private:
    void look();

    Loop& loop_;
    Loop::WatchRef next_;
    std::map<Child*, bool> asked_;  // already in the last round
};

struct Workshop {  // what every child needs; outlives them all
    Loop& loop;
    Tracer& tracer;
    Morgue& morgue;
    Rounds& rounds;
    Counters& counters;
    rlimit descriptor_limit;  // RLIMIT_NOFILE of new processes; the daemon's own is raised
    std::size_t pool_size;    // how many are made ahead, at most
    bool serves_all;          // not only the daemon's own user
};

// What is set before the start but done by it.
struct StartPlan {
    int death_signal = 0;
    bool hangs = false;
    bool is_dumpable = true;  // else it would be closed to a daemon that is an ordinary user
    std::vector<std::string> filters;  // seccomp, in the order of their installation

    [[nodiscard]] core::Saved save() const;
    static StartPlan restore(const core::Saved& saved);
};

// Of links that children are to have.
struct Ends {
    std::vector<std::shared_ptr<Link>> ours;
    std::vector<core::DescriptorRef> theirs;
    static core::Result<Ends> make(Workshop& workshop, std::size_t count);
};

// Those who have one address space, or one descriptor table: what is hidden there is hidden from all.
struct Sharers {
    std::set<Child*> embryos;             // not yet started
    bool is_running = false;              // one was started by `entry`, and has it still
    std::vector<core::Range> pages_left;  // of those that left without being able to tidy up
    std::vector<int> links_left;

    [[nodiscard]] core::Saved save() const;  // not who they are
    static std::shared_ptr<Sharers> restore(const core::Saved& saved);
};

class Child : public core::Embryo {
public:
    Child(Workshop& workshop, core::Pid pid, UniqueFd pidfd, std::shared_ptr<Link> link,
          core::Pid parent = 0);
    ~Child() override;

    // Takes the process for a child if the kernel says that it is ours, and waits until its stub
    // says hello at the other end. Else it is killed. ESRCH, ECHILD.
    static core::Task<core::Result<std::unique_ptr<Child>>>
    greet(Workshop& workshop, std::shared_ptr<Link> link, core::Pid pid);
    // Who was to make children with those links failed; if it did make one, nobody else would reap it.
    static void bury(Workshop& workshop, const std::vector<std::shared_ptr<Link>>& links);

    // A child of `parent` that waits at the other end of a foreign link for the pages of a stub. ESRCH
    // if it does not, EPERM if the kernel says that it is another's.
    static core::Task<core::Result<std::unique_ptr<Child>>>
    adopt(Workshop& workshop, std::shared_ptr<Link> link, core::Pid parent, std::uint32_t user);
    [[nodiscard]] bool is_adopted() const override { return parent_ != 0; }

    [[nodiscard]] core::Pid pid() const override { return pid_; }
    [[nodiscard]] bool is_alive() const { return !exited_ && link_->is_open(); }

    // More children, each of which finds its link in one of `links`: blank ones of a zygote, or copies
    // (how is PROC9_CALL_CLONE or _FORK). Answers the pids of as many as could be made, at least one.
    core::Task<core::Result<std::vector<core::Pid>>>
    clone(std::vector<core::DescriptorRef> links, core::Birth birth, int how = PROC9_CALL_CLONE);

    // Whose children it is like, and what it is born with.
    void made_by(std::shared_ptr<Zygote> zygote) { maker_ = std::move(zygote); }
    [[nodiscard]] core::Result<std::shared_ptr<Zygote>> maker() const;  // EPERM: a zygote has none
    [[nodiscard]] std::shared_ptr<const Origin> origin() const;
    // Who has to answer for it, and for its copies. EAGAIN if that is too many.
    core::Result<> belong_to(AccountRef account);

    // For the settings: system calls in the child, and what has to wait for the start.
    StartPlan plan;
    [[nodiscard]] Batch batch() const { return Batch(stub_); }
    core::Task<core::Result<Replies>> run(const Batch& batch);
    core::Task<core::Result<>> run_checked(Batch batch);
    [[nodiscard]] core::Range hidden() const { return {stub_, PROC9_STUB_SIZE}; }
    core::Task<core::Result<>> move_away();  // the stub leaves the program that it was exec'd from

    core::Task<core::Result<core::Range>> map(core::Mapping mapping) override;
    core::Task<core::Result<std::vector<core::MappedLine>>>
    map_vdso(std::optional<core::Address> at) override;
    core::Task<core::Result<>> unmap(core::Range range) override;
    core::Task<core::Result<>> protect(core::Range range, core::Protection protection) override;
    core::Task<core::Result<>> move(core::Range range, core::Address to) override;
    core::Task<core::Result<>> save(core::Range range, core::MemoryRef to,
                                    std::uint64_t offset) override;
    core::Task<core::Result<>> load(core::Load load) override;
    core::Task<core::Result<>> open(int number, std::string path, core::OpenMode mode,
                                    std::uint32_t perm) override;
    using core::Embryo::install;
    core::Task<core::Result<>> install(std::vector<core::Numbered> descriptors,
                                       bool close_on_exec) override;
    core::Task<core::Result<>> duplicate(int from, int to) override;
    core::Task<core::Result<>> close(int number) override;
    core::Task<core::Result<>> set_close_on_exec(int number, bool on) override;
    core::Task<core::Result<>> seek(int number, std::uint64_t offset) override;
    core::Task<core::Result<std::string>> read(core::DescriptorRef file, std::size_t most) override;
    core::Task<core::Result<>> apply_all(std::vector<core::Setting>& settings) override;
    core::Result<std::vector<core::Setting>> passed_on() override;
    void was_set(core::Setting setting, bool is_inherited);
    core::Task<core::Result<std::unique_ptr<core::Embryo>>> fork() override;
    core::Task<core::Result<std::unique_ptr<core::Embryo>>> share(core::Words contexts,
                                                                  core::Birth birth) override;
    core::Task<core::Result<>> exec_with(std::vector<core::Setting>& settings,
                                         core::Program program) override;
    core::Task<core::Result<>> enter(std::vector<core::Registers> threads) override;
    core::Task<core::Result<>> resume() override;
    core::Task<core::Result<>> add_thread() override;
    [[nodiscard]] std::vector<core::Pid> waiting_threads() const override { return parked_; }
    void interrupt(bool on) override;
    // It does not answer: if that is because a signal has stopped it, what it does is broken off.
    void look_after();

    void discard() override;
    core::Result<> send_signal(int number) override;
    [[nodiscard]] bool is_stopped() const override;
    void on_exit(std::function<void(core::ExitStatus)> hook) override;
    void on_reaped(std::function<void()> hook) override { reaped_hook_ = std::move(hook); }

    core::Result<std::vector<core::MappedLine>> maps() override;
    core::Task<core::Result<std::string>> peek(core::Address from, std::size_t size) override;
    core::Task<core::Result<std::size_t>> poke(core::Address to, std::string bytes) override;
    core::Result<core::MemoryRef> make_memory() override;
    core::MemoryRef hold_memory(int descriptor) override;
    core::Saved save_state(core::Saving& saving) override;
    static std::unique_ptr<Child> restore(Workshop& workshop, const core::Saved& saved,
                                          core::Restoring& restoring);
    void answers_to(AccountRef account);  // as belong_to, whatever the limit is
    core::Result<std::vector<int>> descriptors() override;
    core::Result<std::string> descriptor_target(int number) override;
    core::Result<core::DescriptorRef> take_descriptor(int number) override;
    core::Result<std::string> link(std::string_view name) override;
    core::Result<std::string> text(std::string_view name) override;
    core::Result<std::vector<core::Pid>> threads() override;
    core::Result<std::map<std::string, std::string>> status() override;
    core::Task<core::Result<std::vector<core::Setting>>> settings() override;

private:
    struct Vectors {  // of arguments and environment: where they are
        Batch::Argument arguments;
        Batch::Argument environment;
    };
    core::Task<core::Result<std::optional<Replies>>> run_or_close(const Batch& batch);
    core::Task<core::Result<std::optional<Replies>>> exchange(const Batch& batch);
    struct Preparation;
    core::Task<core::Result<>> prepare(Preparation& preparation);
    struct Original;
    core::Task<core::Result<Children>>
    copies(std::size_t count);  // at least one, made by one message
    core::Task<core::Result<Children>>
    cast(std::size_t count);  // of the oldest copy, unseen by who looks here
    static core::Task<core::Result<std::unique_ptr<Child>>>
    raise(const Original& original, std::shared_ptr<Link> link, core::Pid pid);
    void forget_copies();

    // The hidden things make room for what the user wants there.
    core::Task<core::Result<>> clear(core::Range range);
    core::Task<core::Result<>> clear(int number);
    core::Task<core::Result<>> clear(std::span<const core::Numbered> descriptors);
    core::Task<core::Result<>> move_link(int least);
    [[nodiscard]] std::vector<core::Range> hidden_ranges() const;  // everybody's, in order
    [[nodiscard]] std::vector<int> hidden_links() const;
    [[nodiscard]] core::Result<> check_exec() const;
    void tidy_up(Batch& batch) const;  // what others left
    // No embryo any more. It may have taken along what was hidden: else that stays to be removed.
    void leave(bool is_tidy, bool is_running);
    [[nodiscard]] Batch forget_others() const;
    core::Task<> watch_exec();
    core::Result<> check_not_link(int number) const;
    core::Task<std::pair<std::size_t, core::Result<>>>
    install_some(std::span<core::Numbered> descriptors, bool close_on_exec);
    core::Task<core::Result<>> move_stub(core::Range range);
    [[nodiscard]] core::Result<core::Range> free_place(core::Range range) const;
    // With a page on either side: the kernel would join what touches them into one mapping.
    [[nodiscard]] static core::Range with_margin(core::Range range) {
        return {core::Address{range.start.value - core::page_size},
                range.length + 2 * core::page_size};
    }

    core::Task<core::Result<>> save_from_outside(core::Range range, core::MemoryRef to,
                                                 std::uint64_t offset);
    core::Result<std::size_t> transfer(long call, char* here, core::Address there,
                                       std::size_t size);
    // A program with more rights than its owner has is closed to him, as the kernel would say to him itself.
    [[nodiscard]] core::Result<> check_seen() const;
    [[nodiscard]] core::Result<> check_signalled() const;
    core::Task<core::Result<core::Range>> map_file(const core::Mapping& mapping,
                                                   const core::Mapping::File& file);
    core::Task<> drop(std::int64_t fd);
    core::Task<core::Result<>> start_program(Preparation& preparation, const core::Program& program,
                                             Vectors vectors, std::optional<core::Range> image);
    core::Task<core::Result<>> check_program(core::Program& program);
    core::Task<core::Result<>> run_exec(Preparation& preparation, std::uint32_t first,
                                        std::size_t candidates);
    core::Task<core::Result<>> stopped_by_exec();
    core::Task<core::Result<>> seize_all();
    core::Task<core::Result<>> watch_entry(Batch batch, std::vector<core::Registers> threads);
    core::Task<core::Result<>> stop_parked();
    void give_up_entry();
    core::Task<core::Result<>> stay_stopped();

    // What concerns a single thread, or moves the pages that the others wait in, is done while there
    // are no others.
    [[nodiscard]] core::Result<core::Pid> seen_from_outside(std::int64_t inside);
    core::Task<core::Result<std::size_t>> unpark();
    core::Task<core::Result<>> park(std::size_t count);
    core::Task<core::Result<>> make_thread();
    core::Task<core::Result<>> make_owed();
    core::Task<core::Result<>> move_pages(core::Range place);

    void break_off();
    void watch_exit();
    void watch_reaping();
    void look_for_exit();
    [[nodiscard]] core::Result<std::optional<core::ExitStatus>> ended() const;
    // Whoever says hello on that link, a child of `parent`.
    static core::Task<core::Result<std::unique_ptr<Child>>>
    meet(Workshop& workshop, std::shared_ptr<Link> link, core::Pid parent, std::string users);
    void before_start(Batch& batch) const;
    void started();

    Workshop& workshop_;
    std::shared_ptr<Zygote> maker_;
    AccountRef account_;
    Account::Share place_;
    core::Pid pid_;
    core::Pid parent_;  // whose child it is; 0: the daemon's
    UniqueFd pidfd_;
    std::shared_ptr<Link> link_;
    std::shared_ptr<Sharers> memory_ = std::make_shared<Sharers>();
    std::shared_ptr<Sharers> files_ = std::make_shared<Sharers>();
    std::vector<core::Pid> parked_;            // threads besides the first
    std::vector<std::int32_t> parked_inside_;  // their ids in the child's own pid namespace
    std::size_t owed_ = 0;                     // threads that could not be made again yet
    core::Address stub_{PROC9_STUB_BASE};
    int link_number_ = PROC9_LINK;
    bool started_ = false;
    bool starting_ = false;
    bool interrupted_ = false;   // the next verb is not begun
    bool was_stopped_ = false;   // amid the one under way
    core::Request nobody_;       // whose turn it is: the requests have had theirs
    core::Turnstile exchanges_;  // one at a time
    std::optional<std::vector<core::Setting>> passed_on_;  // as copies have it
    std::string users_;  // as in /proc/PID/status, if that was read since they may have changed
    Pool copies_;        // equal to this one
    std::vector<core::Setting>
        not_inherited_;  // what was set that a fork does not get from the kernel
    std::optional<core::ExitStatus> exited_;
    std::function<void(core::ExitStatus)> exit_hook_;
    std::function<void()> reaped_hook_;
    Loop::WatchRef exit_watch_;
    bool exec_was_seen_ = false;  // the stop that it makes when it is traced
    core::Later<bool>* exec_waiter_ = nullptr;
    bool is_dying_ = false;    // it was told to take itself away
    Loop::WatchRef patience_;  // with a stub that does not answer after an interruption
};

}  // namespace proc9::os
