// Real embryos without a tree: a test is a task that runs on a Loop with a LinuxHost.
//
//     TEST(Embryo, ...) {
//         in_machine([](Machine& machine) -> Task<Result<>> {
//             const auto embryo = co_await machine.efork();
//             ...
//             co_return core::done();                // any refusal fails the test
//         });
//     }
//
// A test that is not done after ten seconds has failed.
#pragma once

#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "daemon/os/linux_host.hpp"
#include "tests/unit/run.hpp"

namespace proc9::os {

using core::Result;
using core::Task;
using EmbryoRef = std::unique_ptr<core::Embryo>;

class Folder {  // a new one under /tmp, removed at the end
public:
    Folder() {
        std::string name = "/tmp/proc9-unit-XXXXXX";
        path_ = ::mkdtemp(name.data());
    }
    Folder(const Folder&) = delete;
    Folder& operator=(const Folder&) = delete;
    ~Folder() { std::filesystem::remove_all(path_); }
    [[nodiscard]] std::string path(std::string_view name) const {
        return path_ + "/" + std::string(name);
    }
    [[nodiscard]] std::string read(std::string_view name) const {
        std::ifstream file(path(name));
        return {std::istreambuf_iterator<char>(file), {}};
    }
    void write(std::string_view name, std::string_view text) const {
        std::ofstream(path(name)) << text;
    }

private:
    std::string path_;
};

class Machine {
public:
    explicit Machine(std::size_t pool_size) : host(loop, {pool_size, false, {}, std::nullopt}) {
        me.who = {::geteuid(), ::getegid()};
        me.thread = ::getpid();
    }

    Loop loop;
    LinuxHost host;
    Folder folder;
    core::Request me;  // a request of the test itself

    Task<Result<EmbryoRef>> efork() { return host.efork(me, {}); }

    // Waits until somebody sets it, the loop running meanwhile.
    Task<Result<core::ExitStatus>> exit_of(core::Embryo& embryo) {
        core::Later<core::ExitStatus> ended;
        embryo.on_exit([&ended](core::ExitStatus status) { (void)ended.set(std::move(status)); });
        co_return co_await ended;
    }
    // Everything that has happened so far is noticed.
    Task<Result<>> moment() {
        core::Later<bool> due;
        const auto timer =
            loop.after(std::chrono::milliseconds(1), [&due] { (void)due.set(true); });
        co_await due;
        co_return core::done();
    }
    // The pool is full, and nothing is on its way to it: a child that nobody has greeted yet when
    // the machine ends would be left behind.
    Task<Result<>> pool_at_rest(std::size_t size) {
        co_await until([this, size] { return host.figures().pooled >= size; });
        for (int i = 0; i < 5; ++i) co_await moment();
        co_return core::done();
    }
    // Until a condition holds that no event announces; looked at between the events of the loop.
    Task<Result<>> until(std::function<bool()> condition) {
        while (!condition()) co_await moment();
        co_return core::done();
    }
};

using Story = Task<Result<>> (*)(Machine&);

inline void in_machine(Story story, std::size_t pool_size = 0) {
    Machine machine(pool_size);
    std::optional<Result<>> outcome;
    const auto whole = [](Machine& m, Story s, std::optional<Result<>>& answer) -> Task<> {
        answer.emplace(co_await s(m).result());
        m.loop.stop();
    };
    const auto deadline = machine.loop.after(std::chrono::seconds(10), [&] {
        ADD_FAILURE() << "not done after ten seconds";
        machine.loop.stop();
    });
    core::spawn(whole(machine, story, outcome));
    if (!outcome) machine.loop.run();
    if (outcome) {
        EXPECT_EQ(fake::why(*outcome), "");
    }
}

// A command under way beside the story.
template <class T>
using Beside = fake::Started<T>;

inline core::Mapping anonymous(std::uint64_t start, std::uint64_t length) {
    core::Mapping mapping;
    mapping.at = core::Address{start};
    mapping.length = length;
    mapping.protection = core::Protection{true, true, false};
    return mapping;
}

inline core::Mapping of_object(std::uint64_t start, core::MemoryRef memory,
                               core::Protection protection) {
    core::Mapping mapping = anonymous(start, memory->size());
    mapping.protection = protection;
    mapping.source = core::Mapping::Object{std::move(memory), 0};
    return mapping;
}

// Made outside of the stories: GCC 12 cannot compile braces inside co_await.
inline core::Program program(std::string path) {
    core::Program made;
    made.candidates = {path};
    made.arguments = {std::move(path)};
    return made;
}
inline core::Program shell(std::string script) {
    core::Program made = program("/bin/sh");
    made.arguments.insert(made.arguments.end(), {"-c", std::move(script)});
    return made;
}
inline std::vector<core::Registers> entry_at(std::uint64_t pc, std::uint64_t argument = 0) {
    const core::Registers registers{{"pc", pc}, {"arg0", argument}};
    return {registers};
}

}  // namespace proc9::os
