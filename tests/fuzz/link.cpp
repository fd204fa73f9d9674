// A stub that is not ours: whatever it answers, with whatever descriptors, nothing is lost by it but its own process.
#include <fcntl.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>

#include "daemon/os/child.hpp"
#include "fs/ctl/command.hpp"
#include "tests/fuzz/fixture.hpp"

using namespace proc9;
using core::Address;
using fuzz::require;

namespace {

constexpr int highest_number = 256;

int open_descriptors() {
    int count = 0;
    for (int number = 0; number < highest_number; ++number)
        count += ::fcntl(number, F_GETFD) >= 0 ? 1 : 0;
    return count;
}

__attribute__((no_sanitize("address", "undefined", "coverage"))) int sleep_for_ever(void*) {
    for (long call = SYS_prctl;; call = SYS_pause) {  // dies with us
        __asm__ volatile("syscall"
                         : "+a"(call)
                         : "D"(PR_SET_PDEATHSIG), "S"(SIGKILL)
                         : "rcx", "r11", "memory");
    }
    return 0;
}

// A process that does nothing: a child of ours that shares our memory, which is quickly made.
core::Pid make_process() {
    alignas(16) static std::array<char, 4096> stack;
    return ::clone(sleep_for_ever, stack.data() + stack.size(), CLONE_VM | SIGCHLD, nullptr);
}

enum class Life { runs, ended, reaped };

Life life_of(core::Pid pid) {
    siginfo_t info{};
    if (::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG | WNOWAIT) != 0)
        return Life::reaped;
    return info.si_pid == 0 ? Life::runs : Life::ended;
}

// If it was traced, a stop may be heard of before its end.
void end(core::Pid pid) {
    ::kill(pid, SIGKILL);
    for (int status = 0x7f; WIFSTOPPED(status);) (void)::waitpid(pid, &status, 0);
}

// The other end.
class Peer {
public:
    Peer(FuzzedDataProvider& script, os::UniqueFd end) : script_(script), end_(std::move(end)) {}

    // False: it has said all that it will.
    bool act() {
        std::string batch(os::Batch::capacity, '\0');
        alignas(cmsghdr) std::array<char, CMSG_SPACE(PROC9_MOST_DESCRIPTORS * sizeof(int))>
            control{};
        iovec span{batch.data(), batch.size()};
        msghdr header{};
        header.msg_iov = &span;
        header.msg_iovlen = 1;
        header.msg_control = control.data();
        header.msg_controllen = control.size();
        const auto got = ::recvmsg(end_.get(), &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        if (got <= 0) return got < 0 && errno == EAGAIN;
        batch.resize(static_cast<std::size_t>(got));
        use_descriptors(header);
        return script_.remaining_bytes() > 0 && answer(std::move(batch));
    }
    void say_hello() { say(hello()); }
    void close() { end_.reset(); }

private:
    // Links of children that it was to make: it says something there, or nothing.
    void use_descriptors(msghdr& header) {
        for (const cmsghdr* item = CMSG_FIRSTHDR(&header); item;
             item = CMSG_NXTHDR(&header, const_cast<cmsghdr*>(item))) {
            if (item->cmsg_type != SCM_RIGHTS) continue;
            std::array<int, PROC9_MOST_DESCRIPTORS> numbers{};
            const std::size_t count = (item->cmsg_len - CMSG_LEN(0)) / sizeof(int);
            std::memcpy(numbers.data(), CMSG_DATA(item), count * sizeof(int));
            for (std::size_t i = 0; i < count; ++i) {
                const os::UniqueFd given(numbers.at(i));
                const std::string text = hello();
                if (script_.ConsumeBool())
                    (void)::send(given.get(), text.data(), text.size(),
                                 MSG_DONTWAIT | MSG_NOSIGNAL);
            }
        }
    }
    std::string hello() {
        if (script_.ConsumeBool()) return script_.ConsumeRandomLengthString(64);
        const proc9_hello said{script_.ConsumeIntegral<std::uint64_t>(),
                               script_.ConsumeIntegral<std::uint64_t>()};
        return {reinterpret_cast<const char*>(&said), sizeof said};
    }
    std::int64_t result() {
        switch (script_.ConsumeIntegralInRange(0, 4)) {
            case 0: return 0;
            case 1: return -script_.ConsumeIntegralInRange(1, 133);
            case 2: return script_.ConsumeIntegral<std::int64_t>();
            case 3: return PROC9_NOT_RUN;
            default: return script_.ConsumeIntegralInRange(1, 300);
        }
    }
    bool answer(std::string batch) {
        const int how = script_.ConsumeIntegralInRange(0, 9);
        if (how == 0) return false;
        if (how == 1) batch = script_.ConsumeRandomLengthString(512);
        if (how != 1) fill(batch);
        if (how == 2) batch.resize(script_.ConsumeIntegralInRange<std::size_t>(0, batch.size()));
        if (how == 3) batch += script_.ConsumeRandomLengthString(64);
        say(batch, how == 4);
        return true;
    }
    void fill(std::string& batch) {
        proc9_batch header{};
        if (batch.size() < sizeof header) return;
        std::memcpy(&header, batch.data(), sizeof header);
        std::size_t at = sizeof header;
        for (std::uint32_t i = 0; i < header.count && at + sizeof(proc9_call) <= batch.size();
             ++i) {
            proc9_call call{};
            std::memcpy(&call, batch.data() + at, sizeof call);
            call.result = result();
            if (script_.ConsumeProbability<float>() > 0.9F)
                call.flags = script_.ConsumeIntegral<std::uint16_t>();
            std::memcpy(batch.data() + at, &call, sizeof call);
            at += sizeof call;
        }
        const std::string data = script_.ConsumeRandomLengthString(128);
        std::copy_n(data.begin(), std::min(data.size(), batch.size() - at),
                    batch.begin() + static_cast<std::ptrdiff_t>(at));
        if (header.reply != 0) batch.resize(std::min<std::size_t>(batch.size(), header.reply));
    }
    void say(const std::string& bytes, bool with_descriptors = false) {
        alignas(cmsghdr) std::array<char, CMSG_SPACE(2 * sizeof(int))> control{};
        iovec span{const_cast<char*>(bytes.data()), bytes.size()};
        msghdr header{};
        header.msg_iov = &span;
        header.msg_iovlen = 1;
        if (with_descriptors) {
            const std::array<int, 2> numbers{0, end_.get()};
            header.msg_control = control.data();
            header.msg_controllen = control.size();
            cmsghdr* const rights = CMSG_FIRSTHDR(&header);
            rights->cmsg_level = SOL_SOCKET;
            rights->cmsg_type = SCM_RIGHTS;
            rights->cmsg_len = CMSG_LEN(sizeof numbers);
            std::memcpy(CMSG_DATA(rights), numbers.data(), sizeof numbers);
        }
        (void)::sendmsg(end_.get(), &header, MSG_DONTWAIT | MSG_NOSIGNAL);
    }

    FuzzedDataProvider& script_;
    os::UniqueFd end_;
};

struct Shop {
    os::Loop loop;
    os::Tracer tracer{loop};
    os::Morgue morgue{loop};
    os::Counters counters;
    os::Rounds rounds{loop};
    os::Workshop workshop{loop, tracer, morgue, rounds, counters, {1024, 1024}, 0, false};

    // Until the task has ended and what it left behind is seen to, the peer acting meanwhile.
    void run(core::Task<core::Result<>> task, Peer& peer) {
        bool is_done = false;
        int patience = 100;
        int rest = 8;
        std::function<void()> pump = [&] {
            if (!peer.act() || is_done || --patience == 0) peer.close();
            if (is_done && --rest == 0) return loop.stop();
            loop.post(pump);
        };
        const auto deadline = loop.after(std::chrono::seconds(2),
                                         [] { require(false, "who hears nothing more is done"); });
        core::spawn([](core::Task<core::Result<>> inner, bool& out) -> core::Task<> {
            (void)co_await inner.result();
            out = true;
        }(std::move(task), is_done));
        loop.post(pump);
        loop.run();
    }
};

core::Range range_of(FuzzedDataProvider& script) {
    return {Address{script.ConsumeIntegralInRange<std::uint64_t>(1, 0x7fffff) * core::page_size},
            script.ConsumeIntegralInRange<std::uint64_t>(1, 64) * core::page_size};
}

core::Mapping mapping_of(FuzzedDataProvider& script) {
    core::Mapping mapping;
    const auto range = range_of(script);
    if (script.ConsumeBool()) mapping.at = range.start;
    mapping.length = script.ConsumeBool() ? range.length : 0;
    if (script.ConsumeBool()) mapping.protection = core::Protection{true, true, false};
    mapping.shared = script.ConsumeBool();
    mapping.replace = script.ConsumeBool();
    if (script.ConsumeBool()) mapping.source = core::Mapping::File{"/bin/true", 0};
    return mapping;
}

// The example of a command that sets something.
std::vector<core::Setting> settings_of(FuzzedDataProvider& script) {
    std::vector<core::Setting> settings;
    const auto all = ctl::commands();
    for (int count = script.ConsumeIntegralInRange(1, 4); count > 0; --count) {
        const auto& command = all[script.ConsumeIntegralInRange<std::size_t>(0, all.size() - 1)];
        auto words = *core::split_words(command.example);
        words.erase(words.begin());
        if (ctl::is_setting(command))
            settings.push_back({std::string(command.name), words, nullptr});
    }
    return settings;
}

template <class T>
core::Task<core::Result<>> without_answer(core::Task<core::Result<T>> task) {
    (void)co_await task.result();
    co_return core::done();
}

core::Task<core::Result<>> apply(os::Child& child, std::vector<core::Setting> settings) {
    co_return co_await child.apply_all(settings).result();
}

core::Task<core::Result<>> one(FuzzedDataProvider& script, os::Child& child) {
    const int number = script.ConsumeIntegralInRange(0, 100);
    switch (script.ConsumeIntegralInRange(0, 17)) {
        case 0: return without_answer(child.map(mapping_of(script)));
        case 1: return without_answer(child.map_vdso(range_of(script).start));
        case 2: return child.unmap(range_of(script));
        case 3: return child.protect(range_of(script), {true, false, false});
        case 4: return child.move(range_of(script), range_of(script).start);
        case 5: return child.open(number, "/dev/null", {.read = true}, 0);
        case 6: return child.duplicate(number, script.ConsumeIntegralInRange(0, 100));
        case 7: return child.close(number);
        case 8: return child.set_close_on_exec(number, true);
        case 9: return child.seek(number, 7);
        case 10: return apply(child, settings_of(script));
        case 11: return without_answer(child.settings());
        case 12: return without_answer(child.fork());
        case 13: return without_answer(child.share({"mem", "fd"}, {}));
        case 14: return child.add_thread();
        case 15: {
            core::Program program;
            program.candidates = {"/bin/a", "/bin/b"};
            program.arguments = {"a"};
            return child.exec(std::move(program));
        }
        case 16: return child.move_away();
        default: return child.resume();
    }
}

core::Task<core::Result<>> verbs(FuzzedDataProvider& script, os::Child& child) {
    for (int count = script.ConsumeIntegralInRange(1, 4); count > 0 && child.is_alive(); --count)
        (void)co_await one(script, child).result();
    co_return core::done();
}

std::shared_ptr<os::Link> link_of(Shop& shop, os::UniqueFd end) {
    return std::make_shared<os::Link>(shop.loop, std::move(end), shop.counters);
}

// Who answers for a process that is not its own: it gets nothing, and the process lives.
void meet_stranger(FuzzedDataProvider& script) {
    const core::Pid victim = make_process();
    {
        Shop shop;
        shop.tracer.add(victim);  // as every embryo is
        auto ends = *os::Link::make_pair();
        Peer peer(script, std::move(ends.second));
        auto link = link_of(shop, std::move(ends.first));
        const auto pid =
            script.PickValueInArray<core::Pid>({victim, ::getpid(), 1, 0, -1, 1 << 22});
        const bool is_adoption = script.ConsumeBool();
        for (int count = script.ConsumeIntegralInRange(0, 2); count > 0; --count) peer.say_hello();
        auto refused = [](core::Task<core::Result<std::unique_ptr<os::Child>>> task)
            -> core::Task<core::Result<>> {
            const auto child = co_await task.result();
            require(!child, "a pid is not believed");
            co_return core::done();
        };
        shop.run(refused(is_adoption ? os::Child::adopt(shop.workshop, std::move(link), 1, 0)
                                     : os::Child::greet(shop.workshop, std::move(link), pid)),
                 peer);
    }
    require(life_of(victim) == Life::runs, "who was only named lives on");
    end(victim);
}

void build(FuzzedDataProvider& script) {
    const core::Pid pid = make_process();  // before the link, of which it has no copy then
    {
        Shop shop;
        auto ends = *os::Link::make_pair();
        Peer peer(script, std::move(ends.second));
        os::UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
        os::Child child(shop.workshop, pid, std::move(pidfd), link_of(shop, std::move(ends.first)));
        shop.run(verbs(script, child), peer);
    }
    if (life_of(pid) != Life::reaped) end(pid);  // it was taken for a program that had been started
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const int before = open_descriptors();
    FuzzedDataProvider script(data, size);
    script.ConsumeBool() ? meet_stranger(script) : build(script);
    require(open_descriptors() == before, "no descriptor is left open");
    require(::waitpid(-1, nullptr, WNOHANG) < 0, "no process is left");
    return 0;
}
