#include <algorithm>
#include <array>
#include <sstream>

#include "fs/ctl/verbs.hpp"

namespace proc9::ctl {
namespace {

using core::done;
using core::fail;

constexpr std::size_t longest_environment = 6U << 20U;  // what exec takes, at most

core::Result<> assign(core::Environment& environment, const std::string& word) {
    const auto equals = word.find('=');
    if (equals == std::string::npos)
        return fail(std::errc::invalid_argument, "{} is not NAME=VALUE", core::requote(word));
    return environment.set(word.substr(0, equals), word.substr(equals + 1));
}

Outcome inherit_descriptors(Invocation& call, core::Pid writer) {
    auto taken = co_await call.registry.host().take_inheritable(writer);
    co_await call.body().install(std::move(taken), false);
    co_return done();
}

Outcome inherit_environment(Invocation& call, core::Pid writer) {
    auto file = co_await call.registry.host().environment_of(writer);
    std::istringstream text(co_await call.body().read(std::move(file), longest_environment));
    for (std::string word; std::getline(text, word, '\0');) {
        // A process may hold words there that are no variables; they are not passed on.
        if (word.find('=') != std::string::npos && word.front() != '=')
            co_await assign(call.process().environment, word);
    }
    co_return done();
}

Outcome inherit_directory(Invocation& call, core::Pid writer) {
    core::Setting setting{"chdir", {}};
    setting.directory = co_await call.registry.host().directory_of(writer);
    co_await call.body().apply(std::move(setting));
    co_return done();
}

// What is the same already is left alone: to set it might take a privilege.
Outcome inherit_settings(Invocation& call, core::Pid /*writer*/) {
    const auto own = co_await call.body().passed_on();
    auto wanted = co_await call.registry.host().settings_of(call.request.thread);
    std::erase_if(wanted, [&own](const core::Setting& setting) {
        return std::find(own.begin(), own.end(), setting) != own.end();
    });
    co_await call.body().apply_all(wanted);
    co_return done();
}

struct Inheritance {
    std::string_view name;
    Outcome (*run)(Invocation& call, core::Pid writer);
    bool is_in_all;
};
constexpr std::array<Inheritance, 4> inheritances = {{
    {"fd", inherit_descriptors, true},
    {"env", inherit_environment, true},
    {"cwd", inherit_directory, true},
    {"settings", inherit_settings, false},
}};

}  // namespace

Outcome set_variable(Invocation call) {
    co_await assign(call.process().environment, call.arguments["name=value"]);
    co_return done();
}

Outcome unset_variable(Invocation call) {
    const std::string& name = call.arguments["name"];
    if (!call.process().environment.remove(name))
        co_return fail(std::errc::no_such_file_or_directory, "no variable {}", core::requote(name));
    co_return done();
}

Outcome clear_environment(Invocation call) {
    call.process().environment.clear();
    co_return done();
}

Outcome set_arguments(Invocation call) {
    call.process().arguments = call.arguments.rest();
    co_return done();
}

// Whatever is nothing but a property of the process: the host knows what the words mean.
Outcome set(Invocation call) {
    core::Setting setting{std::string(call.command), call.arguments.words()};
    co_await call.body().apply(std::move(setting));
    co_return done();
}

Outcome inherit(Invocation call) {
    const std::string& what = call.arguments["what"];
    const bool known =
        what == "all" || std::any_of(inheritances.begin(), inheritances.end(),
                                     [&](const auto& row) { return row.name == what; });
    if (!known)
        co_return fail(std::errc::invalid_argument, "{} is not fd, env, cwd, all or settings",
                       core::requote(what));
    const core::Pid writer = co_await call.registry.host().process_of_thread(call.request.thread);
    for (const auto& row : inheritances) {
        if (what == row.name || (what == "all" && row.is_in_all)) co_await row.run(call, writer);
    }
    co_return done();
}

}  // namespace proc9::ctl
