// What the fuzzers share: a caller on a fake host, and what must hold whatever was said.
//
//     Scene scene;
//     const auto outcome = run(some_task(scene.request, ...));     // a fake host answers at once
//     require(outcome || outcome.error().number() != EIO, "no error is the daemon's own");
//     scene.check();
#pragma once

#include <fuzzer/FuzzedDataProvider.h>

#include <cerrno>
#include <cstdlib>

#include "fs/ctl/dispatch.hpp"
#include "tests/unit/fake_host.hpp"

namespace proc9::fuzz {

inline void require(bool holds, std::string_view what) {
    if (holds) return;
    fmt::print(stderr, "does not hold: {}\n", what);
    std::abort();
}

template <class T>
std::shared_ptr<std::optional<T>> started(core::Task<T> task) {
    auto answer = std::make_shared<std::optional<T>>();
    core::spawn([](core::Task<T> inner, std::shared_ptr<std::optional<T>> out) -> core::Task<> {
        out->emplace(co_await inner.result());
    }(std::move(task), answer));
    return answer;
}
template <class T>
T run(core::Task<T> task) {
    auto answer = started(std::move(task));
    require(answer->has_value(), "nothing waits on a fake host");
    return std::move(**answer);
}
inline void run(core::Task<> task) {
    run([](core::Task<> inner) -> core::Task<bool> {
        co_await std::move(inner);
        co_return true;
    }(std::move(task)));
}
template <class T>
T good(core::Result<T> result) {
    require(result.has_value(), result ? "" : result.error().why);
    if constexpr (!std::is_void_v<T>) return std::move(*result);
}

// A refusal is an errno, and the daemon's own fault is none of them.
template <class T>
void check_error(const core::Result<T>& result) {
    constexpr int highest = 4095;
    if (result) return;
    const int number = result.error().number();
    require(number > 0 && number <= highest && number != EIO, result.error().why);
}

struct Scene {
    fake::FakeHost host;
    core::Registry registry{host};
    core::Request request{.who = {1000, 1000}, .thread = 7, .cancellation = {}};
    bool was_interrupted = false;

    Scene() {
        constexpr std::uint64_t few_pages = 64;
        host.room = few_pages * core::page_size;
        host.files["/dev/null"] = "";
        host.files["/data"] = std::string(2 * core::page_size, 'd');
    }
    Scene(const Scene&) = delete;
    Scene& operator=(const Scene&) = delete;
    // Whatever was done to it, it can be destroyed.
    ~Scene() {
        const auto all = registry.all();
        for (const auto& [id, process] : all) registry.remove(process);
        host.deliver_exits();
    }

    core::ProcessRef make(std::string name) {
        return good(run(registry.efork(request, std::move(name))));
    }
    core::Result<> say(const core::ProcessRef& process, std::string line) {
        ctl::Session session{process, false};
        request.seen_unstopped = nullptr;
        return run(ctl::execute(registry, request, session, std::move(line)));
    }
    // Who waits does so for an end, or until interrupted.
    template <class T>
    T finish(core::Task<T> task) {
        const auto answer = started(std::move(task));
        if (!answer->has_value()) host.deliver_exits();
        if (!answer->has_value()) {
            was_interrupted = true;
            request.cancellation.request();
        }
        require(answer->has_value(), "who waits can be interrupted");
        request.cancellation = {};
        return std::move(**answer);
    }
    // What examples of the tables speak of.
    core::ProcessRef furnish() {
        for (const auto* const name : {"ls", "sort"}) make(name);
        auto process = make("");
        for (const auto* const line :
             {"env HOME=/root", "fd 1 open /dev/null r", "map 0x600000 64K rw-"})
            good(say(process, line));
        return process;
    }

    void check() {
        for (const auto& [id, process] : registry.all()) {
            check_regions(*process);
            require(process->threads.size() == process->body->waiting_threads().size() + 1,
                    "every thread has registers");
        }
    }
    void check_regions(core::Process& process) {
        std::uint64_t end = 0;
        for (const auto& [start, region] : process.memory.regions()) {
            require(region.range.start.value == start, "a region is where it is listed");
            require(start >= end, "regions do not overlap");
            require(region.range.end().value <= core::address_space_end, "regions are inside");
            end = region.range.end().value;
        }
    }
};

}  // namespace proc9::fuzz
