#include <algorithm>
#include <array>

#include "fs/core/signals.hpp"
#include "fs/ctl/dispatch.hpp"
#include "fs/ctl/verbs.hpp"

namespace proc9::ctl {
namespace {

using core::done;
using core::fail;
using State = core::Process::State;

constexpr int signal_continue = 18;
constexpr int signal_stop = 19;
// 0, CHLD, CONT, STOP, TSTP, TTIN, TTOU, URG, WINCH: what does not end a process that handles nothing.
constexpr std::array harmless = {0, 17, signal_continue, signal_stop, 20, 21, 22, 23, 28};

core::Result<> send(Invocation& call, int number) {
    if (call.process().state() == State::exited)
        return fail(std::errc::no_such_process, "process {} is gone", call.process().id());
    call.request.seen_unstopped = nullptr;  // it may be stopped now
    return call.body().send_signal(number);
}

// The registers that a start is told, by their names on this machine.
core::Result<core::Registers> registers_in(const core::Host& host, const Arguments& arguments) {
    core::Registers registers;
    for (const std::string name :
         {"addr", "sp", "tls", "arg0", "arg1", "arg2", "arg3", "arg4", "arg5"}) {
        if (!arguments.has(name)) continue;
        const auto value = TRY(core::parse_number(arguments[name]));
        registers[TRY(host.register_for(name == "addr" ? "pc" : name, value))] = value;
    }
    return registers;
}

}  // namespace

Outcome exec(Invocation call) {
    std::optional<std::string> path;
    core::Words words;
    if (call.arguments.has("path")) path = call.arguments["path"];
    if (!call.arguments.rest().empty()) {
        words.push_back(*path);
        words.insert(words.end(), call.arguments.rest().begin(), call.arguments.rest().end());
    }
    std::vector<core::Setting> none;
    std::vector<core::Setting>& settings = call.before ? *call.before : none;
    co_await call.process().exec_with(settings, std::move(path), std::move(words));
    ++call.registry.statistics.starts;
    co_return done();
}

Outcome enter(Invocation call) {
    const core::Host& host = call.registry.host();
    auto registers = co_await registers_in(host, call.arguments);
    const std::string counter = co_await host.register_for("pc", 0);
    if (!registers.contains(counter) && !call.process().threads.front().contains(counter))
        co_return fail(std::errc::invalid_argument, "no address: give one, or set the register {}",
                       counter);
    co_await call.process().enter(std::move(registers));
    ++call.registry.statistics.starts;
    co_return done();
}

Outcome resume(Invocation call) {
    co_await call.process().resume();
    ++call.registry.statistics.starts;
    co_return done();
}

Outcome thread(Invocation call) {
    auto registers = co_await registers_in(call.registry.host(), call.arguments);
    co_await call.process().add_thread(std::move(registers));
    co_return done();
}

Outcome set_register(Invocation call) {
    const core::Words words{call.arguments["name"], call.arguments["value"]};
    co_return set_register(call.registry.host(), call.process().threads.front(), words);
}

core::Result<> set_register(const core::Host& host, core::Registers& registers,
                            const core::Words& words) {
    if (words.size() != 2)
        return fail(std::errc::invalid_argument, "not a register's name and its value");
    const auto value = TRY(core::parse_number(words[1]));
    registers[TRY(host.register_for(words[0], value))] = value;
    return {};
}

Outcome die_on_close(Invocation call) {
    call.session.kills_on_close = true;
    co_return done();
}

Outcome kill(Invocation call) {
    int number = core::signal_kill;
    if (call.arguments.has("sig")) number = co_await core::parse_signal(call.arguments["sig"]);
    if (number == core::signal_kill && call.process().state() == State::embryo) {
        call.body().discard();
    } else {
        co_await send(call, number);
    }
    const bool ends = std::find(harmless.begin(), harmless.end(), number) == harmless.end();
    const bool later =
        call.body().is_stopped() && number != core::signal_kill;  // it ends when continued
    if (call.process().state() != State::embryo || !ends || later) co_return done();
    // Its directory has gone when the writer goes on.
    const core::ProcessRef dying = call.session.process;
    dying->doomed = true;
    core::Later<bool> gone;
    const auto watcher = dying->on_exit([&gone] { (void)gone.set(true); });
    call.request.cancellation.on_request([&gone] { (void)gone.set(false); });
    const bool seen = co_await gone;
    call.request.cancellation.disarm();
    if (!seen) dying->forget(watcher);
    co_return done();
}

Outcome note(Invocation call) {
    const int number = co_await core::parse_signal(call.arguments["sig"]);
    co_await send(call, number);
    co_return done();
}

Outcome stop(Invocation call) {
    co_await send(call, signal_stop);
    co_return done();
}

Outcome start(Invocation call) {
    co_await send(call, signal_continue);
    co_return done();
}

Outcome rename(Invocation call) {
    co_await call.registry.rename(call.process(), call.arguments["name"]);
    co_return done();
}

Outcome persist(Invocation call) {
    call.process().persistent = true;
    co_return done();
}

}  // namespace proc9::ctl
