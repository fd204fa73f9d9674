// A core::Host without an operating system: it writes down what it is asked, keeps just enough of a
// model to answer, and fails or waits where a test says so.
//
//     FakeHost host;
//     host.fail_at(2, std::errc::not_enough_memory);     // the second call from now
//     host.hold("open");                                 // the next call that begins so waits
//     EXPECT_THAT(host.calls, ElementsAre("efork 1000", "map 600000 1000 rw-p anonymous"));
//
// A call that fails has changed nothing. Nothing happens by itself: a process that was killed exits
// when the test calls deliver_exits().
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "fs/core/host.hpp"
#include "fs/core/saved.hpp"

namespace proc9::fake {

class FakeHost;

class FakeDescriptor : public core::Descriptor {
public:
    FakeDescriptor(int number, std::string target) : number_(number), target_(std::move(target)) {}
    [[nodiscard]] int number() const override { return number_; }
    [[nodiscard]] const std::string& target() const { return target_; }

private:
    int number_;
    std::string target_;
};

class FakeMemory : public core::Memory {
public:
    FakeMemory(FakeHost& host, int number);
    ~FakeMemory() override;
    FakeMemory(const FakeMemory&) = delete;
    FakeMemory& operator=(const FakeMemory&) = delete;

    [[nodiscard]] int number() const override { return number_; }
    [[nodiscard]] std::uint64_t size() const override { return bytes->size(); }
    [[nodiscard]] std::uint32_t mode() const override { return mode_; }
    core::Result<> resize(std::uint64_t size) override;
    core::Result<> set_mode(std::uint32_t mode) override;
    [[nodiscard]] Times times() const override { return times_; }
    core::Result<> set_times(const NewTimes& times) override {
        times_.accessed = times[0];
        times_.modified = times[1];
        return {};
    }
    core::Result<> punch(std::uint64_t offset, std::uint64_t length) override {
        for (auto i = offset; i < std::min<std::uint64_t>(offset + length, size()); ++i)
            bytes->at(i) = '\0';
        return {};
    }
    core::Result<std::string> read(std::size_t size, std::uint64_t offset) override;
    core::Result<std::size_t> write(std::string_view more, std::uint64_t offset) override;
    [[nodiscard]] std::vector<Extent> extents(std::uint64_t offset,
                                              std::uint64_t length) const override;
    [[nodiscard]] std::uint64_t allocated() const override;
    [[nodiscard]] core::Result<std::uint64_t> seek(std::uint64_t offset, bool data) const override;
    bool seal() override;

    std::shared_ptr<std::string> bytes = std::make_shared<std::string>();
    bool is_mapped_elsewhere = false;  // then it cannot be sealed
    bool sealed = false;

    // What somebody else who has it open does, behind our back.
    void truncate_elsewhere(std::uint64_t size) { bytes->resize(size); }
    void chmod_elsewhere(std::uint32_t mode) { mode_ = mode; }

private:
    FakeHost& host_;
    int number_;
    std::uint32_t mode_ = 0777;
    Times times_{};
};

class FakeEmbryo : public core::Embryo {
public:
    FakeEmbryo(FakeHost& host, core::Pid pid);
    ~FakeEmbryo() override;
    FakeEmbryo(const FakeEmbryo&) = delete;
    FakeEmbryo& operator=(const FakeEmbryo&) = delete;

    struct Page {
        core::Protection protection;
        bool shared = false;
        std::shared_ptr<std::string> bytes;  // none: zeros
        std::uint64_t offset = 0;            // of the page in them
        std::string name;                    // "anonymous", "memory#1", a path, "[vdso]"
    };
    std::map<std::uint64_t, Page> pages;
    std::map<int, core::DescriptorRef> open_descriptors;
    std::vector<core::Pid> waiting;  // threads besides the first
    bool started = false;
    bool stopped = false;                // by a signal
    std::function<void()> reaped_hook;   // an adopted one's parent has waited for it
    std::vector<core::Setting> applied;  // in order
    std::optional<std::vector<core::Setting>>
        told;  // what settings() answers; none: what was applied

    void exit(core::ExitStatus status);  // what waited of it gets ESRCH

    [[nodiscard]] core::Pid pid() const override { return pid_; }
    [[nodiscard]] bool is_adopted() const override { return false; }
    core::Task<core::Result<core::Range>> map(core::Mapping mapping) override;
    core::Task<core::Result<std::vector<core::MappedLine>>>
    map_vdso(std::optional<core::Address> at) override;
    core::Task<core::Result<>> unmap(core::Range range) override;
    core::Result<std::vector<core::Setting>> passed_on() override;
    core::Task<core::Result<>> protect(core::Range range, core::Protection protection) override;
    core::Task<core::Result<>> move(core::Range range, core::Address to) override;
    core::Task<core::Result<>> save(core::Range readable, core::MemoryRef to,
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
    core::Task<core::Result<>> apply_all(std::vector<core::Setting>& settings) override;
    core::Task<core::Result<>> exec_with(std::vector<core::Setting>& settings,
                                         core::Program program) override;
    core::Task<core::Result<>> enter(std::vector<core::Registers> threads) override;
    core::Task<core::Result<>> resume() override;
    core::Task<core::Result<>> add_thread() override;
    [[nodiscard]] std::vector<core::Pid> waiting_threads() const override { return waiting; }
    void interrupt(bool on) override;
    [[nodiscard]] bool is_stopped() const override { return stopped; }

    void discard() override { (void)send_signal(9); }
    core::Result<> send_signal(int number) override;
    void on_exit(std::function<void(core::ExitStatus)> hook) override;
    void on_reaped(std::function<void()> hook) override { reaped_hook = std::move(hook); }

    core::Task<core::Result<std::string>> peek(core::Address from, std::size_t size) override;
    core::Task<core::Result<std::size_t>> poke(core::Address to, std::string bytes) override;
    core::Result<core::MemoryRef> make_memory() override;
    core::MemoryRef hold_memory(int number) override;
    core::Saved save_state(core::Saving& saving) override;
    core::Task<core::Result<std::string>> read(core::DescriptorRef file, std::size_t most) override;
    core::Result<std::vector<core::MappedLine>> maps() override;
    core::Task<core::Result<std::unique_ptr<core::Embryo>>> fork() override;
    core::Task<core::Result<std::unique_ptr<core::Embryo>>> share(core::Words contexts,
                                                                  core::Birth birth) override;
    core::Result<std::vector<int>> descriptors() override;
    core::Result<std::string> descriptor_target(int number) override;
    core::Result<core::DescriptorRef> take_descriptor(int number) override;
    core::Result<std::string> link(std::string_view name) override;
    core::Result<std::string> text(std::string_view name) override;
    core::Result<std::vector<core::Pid>> threads() override;
    core::Result<std::map<std::string, std::string>> status() override;
    core::Task<core::Result<std::vector<core::Setting>>> settings() override;

private:
    friend class FakeHost;
    // Every verb begins with it: recorded, failed, held, in that order.
    core::Task<core::Result<>> step(std::string line);
    [[nodiscard]] bool is_free(core::Range range) const;
    void put(core::Range range, const Page& first);

    FakeHost& host_;
    core::Pid pid_;
    std::string cwd_ = "/";
    std::string root_ = "/";
    bool exited_ = false;
    bool interrupt_next_ = false;
    int killed_by_ = 0;
    std::function<void(core::ExitStatus)> exit_hook_;
    core::Later<std::optional<core::Error>>* held_ = nullptr;
};

class FakeHost : public core::Host {
public:
    std::vector<std::string> calls;
    std::map<std::string, std::string> files{{"/bin/echo", "program"}, {"/bin/sh", "program"}};
    std::map<core::Pid, std::map<int, std::string>> descriptors_of_others{
        {7, {{0, "tty"}, {1, "pipe:[1]"}}}};
    std::map<core::Pid, std::vector<core::Setting>> settings;
    std::map<core::Pid, core::Words> environments{{7, {"HOME=/root", "PATH=/bin"}}};
    std::map<core::Pid, core::Pid> leader_of_thread;  // those not named lead themselves
    std::uint64_t clock = 1000;
    std::uint64_t room = 1U << 30U;                  // no memory and no mapping is larger
    std::optional<std::vector<core::Setting>> told;  // of embryos made from now on

    void fail_at(int n, std::errc code);  // the n-th call from now, the next is 1
    [[nodiscard]] bool has_failed() const { return countdown_ == 0; }
    void hold(std::string prefix) { held_prefix_ = std::move(prefix); }
    [[nodiscard]] bool is_holding() const { return holder_ != nullptr; }
    void release();  // what is held goes on

    [[nodiscard]] FakeEmbryo& embryo(core::Pid pid) { return *embryos_.at(pid); }
    [[nodiscard]] std::size_t living_embryos() const { return embryos_.size(); }
    [[nodiscard]] int living_memories() const { return living_memories_; }
    void deliver_exits();

    void identify(core::Request& /*request*/) override {}
    core::Task<core::Result<std::unique_ptr<core::Embryo>>> efork(const core::Request& request,
                                                                  core::Birth birth) override;
    core::Task<core::Result<std::unique_ptr<core::Embryo>>>
    adopt(const core::Request& request, core::Pid parent, int link) override;
    core::Result<core::MemoryRef> make_memory() override;
    core::DescriptorRef hold_descriptor(int number) override;
    std::unique_ptr<core::Embryo> restore(const core::Saved& saved,
                                          core::Restoring& restoring) override;
    core::Result<std::pair<core::DescriptorRef, core::DescriptorRef>> make_pipe() override;
    [[nodiscard]] std::vector<std::string> register_names() const override;
    [[nodiscard]] core::Result<std::string> register_for(const std::string& name,
                                                         std::uint64_t value) const override;
    [[nodiscard]] std::uint64_t now_ms() const override { return clock; }
    core::Result<core::Pid> process_of_thread(core::Pid thread) override;
    core::Result<core::DescriptorRef> take_descriptor(const core::Request& request, core::Pid from,
                                                      int number) override;
    core::Task<core::Result<std::unique_ptr<core::Source>>>
    freeze(const core::Request& request, core::Pid from, bool is_embryo) override;
    core::Result<std::vector<core::Numbered>> take_inheritable(core::Pid caller) override;
    core::Result<core::DescriptorRef> environment_of(core::Pid caller) override;
    core::Result<core::DescriptorRef> directory_of(core::Pid caller) override;
    core::Result<std::vector<core::Setting>> settings_of(core::Pid thread) override;

private:
    friend class FakeEmbryo;
    friend class FakeMemory;
    core::Result<> note(std::string line);  // recorded, and failed if it is the one
    core::DescriptorRef describe(std::string target);

    int countdown_ = -1;
    std::errc failure_{};
    std::optional<std::string> held_prefix_;
    FakeEmbryo* holder_ = nullptr;
    std::map<core::Pid, FakeEmbryo*> embryos_;
    core::Pid last_pid_ = 100;
    int last_number_ = 0;
    int last_memory_ = 0;
    int living_memories_ = 0;
};

}  // namespace proc9::fake
