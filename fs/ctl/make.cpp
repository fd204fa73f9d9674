#include "fs/ctl/verbs.hpp"

namespace proc9::ctl {
namespace {

using core::done;
using core::fail;

struct End {
    core::ProcessRef process;
    int number = 0;
};

core::Result<End> parse_end(Invocation& call, const std::string& who,
                            const std::string& descriptor) {
    End end;
    end.process = TRY(call.registry.find(who));
    TRY(core::Registry::check_owner(call.request.who, *end.process));
    TRY(end.process->check_embryo());
    Arguments argument;
    argument.set("fd", descriptor);
    end.number = TRY(argument.descriptor("fd"));
    return end;
}

Outcome install(Invocation& call, End& end, core::DescriptorRef descriptor) {
    const auto turn = co_await end.process->turn(call.request);
    co_await end.process->body->install(end.number, std::move(descriptor), false);
    co_return done();
}

Outcome connect(Invocation& call, End from, End to) {
    auto ends = co_await call.registry.host().make_pipe();
    co_await install(call, from, std::move(ends.second));
    auto other = co_await install(call, to, std::move(ends.first)).result();
    if (!other) {
        core::Request rollback;  // the user's own may have been interrupted
        rollback.who = call.request.who;
        const auto turn = co_await from.process->turn(rollback);
        co_await from.process->body->close(from.number);
        co_return std::move(other).error();
    }
    co_return done();
}

// share=ID:CTX,...
Outcome efork_sharing(Invocation& call, core::Birth birth) {
    const std::string& word = call.arguments["share"];
    const auto colon = word.find(':');
    core::Words contexts =
        core::split_list(colon == std::string::npos ? "" : word.substr(colon + 1));
    if (contexts.empty())
        co_return fail(std::errc::invalid_argument, "{} is not ID:CTX,... of mem fd fs sig",
                       core::requote(word));
    const auto other = co_await call.registry.find(word.substr(0, colon));
    co_await core::Registry::check_owner(call.request.who, *other);
    const auto turn = co_await other->turn(call.request);
    call.session.process = co_await call.registry.share(call.request, *other, std::move(contexts),
                                                        call.arguments["name"], std::move(birth));
    co_return done();
}

// from=ID
Outcome efork_equal(Invocation& call) {
    const auto other = co_await call.registry.find(call.arguments["from"]);
    co_await core::Registry::check_owner(call.request.who, *other);
    const auto turn = co_await other->turn(call.request);
    call.session.process =
        co_await call.registry.fork(call.request, *other, call.arguments["name"]);
    co_return done();
}

Outcome make(Invocation call) {
    if (call.arguments.has("name") && call.arguments["name"].empty())
        co_return fail(std::errc::invalid_argument, "the name is empty");
    if (call.arguments.has("from")) co_return co_await efork_equal(call).result();
    core::Birth birth;
    birth.namespaces = core::split_list(call.arguments["ns"]);
    if (call.arguments.has("pid"))
        birth.pid = static_cast<core::Pid>(
            co_await core::parse_number_up_to("pid", call.arguments["pid"], core::highest_pid));
    if (call.arguments.has("share"))
        co_return co_await efork_sharing(call, std::move(birth)).result();
    call.session.process =
        co_await call.registry.efork(call.request, call.arguments["name"], std::move(birth));
    co_return done();
}

}  // namespace

Outcome efork(Invocation call) {
    co_await make(call);
    call.request.seen_unstopped = call.session.process.get();  // nobody knows it yet
    co_return done();
}

Outcome adopt(Invocation call) {
    const int link = co_await call.arguments.descriptor("fd");
    call.session.process = co_await call.registry.adopt(call.request, link, call.arguments["name"]);
    co_return done();
}

Outcome fork(Invocation call) {
    const auto made =
        co_await call.registry.fork(call.request, call.process(), call.arguments["name"]);
    call.process().last_made = std::to_string(made->id());
    co_return done();
}

Outcome pipe(Invocation call) {
    const core::Words& words = call.arguments.rest();
    constexpr std::size_t group = 4;
    if (words.empty() || words.size() % group != 0)
        co_return fail(std::errc::invalid_argument, "usage: pipe A FD B FD [A FD B FD ...]");
    std::vector<std::pair<End, End>> pipes;  // all are checked before the first is made
    for (std::size_t i = 0; i < words.size(); i += group) {
        End from = co_await parse_end(call, words[i], words[i + 1]);
        End to = co_await parse_end(call, words[i + 2], words[i + 3]);
        pipes.emplace_back(std::move(from), std::move(to));
    }
    for (auto& [from, to] : pipes) co_await connect(call, from, to);
    co_return done();
}

}  // namespace proc9::ctl
