// Every row of the command table, in every state.
#include <nlohmann/json.hpp>

#include "fs/ctl/match.hpp"
#include "tests/unit/ctl/ctl_fixture.hpp"

namespace proc9::ctl {

void PrintTo(const Command& command, std::ostream* stream) { *stream << usage(command); }

namespace {

using fake::errno_of;
using fake::good;
using fake::Started;
using fake::why;
using testing::HasSubstr;
using Kind = Parameter::Kind;

bool takes_the_rest(const Command& command) {
    return std::any_of(command.parameters.begin(), command.parameters.end(),
                       [](const auto& parameter) { return parameter.kind == Kind::rest; });
}

std::string lower(std::string_view name) {
    std::string key(name.substr(0, name.find('[')));
    for (auto& c : key) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    return key;
}

// The same command as JSON, written as the documentation of the parameters says.
std::string json_of(const Command& command, const Arguments& arguments) {
    nlohmann::json object = {{"cmd", command.name}};
    for (const auto& parameter : command.parameters) {
        const std::string key = lower(parameter.name);
        const std::string value = arguments[key];
        if (parameter.kind == Kind::literal) {
            object["op"] = parameter.name;
        } else if (parameter.kind == Kind::rest) {
            if (!arguments.rest().empty()) object[key] = arguments.rest();
        } else if (arguments.has(key) && key.find('=') != std::string::npos) {
            object[key.substr(0, key.find('='))] = value.substr(0, value.find('='));
            object[key.substr(key.find('=') + 1)] = value.substr(value.find('=') + 1);
        } else if (arguments.has(key) && parameter.kind == Kind::flag) {
            object[key] = true;
        } else if (arguments.has(key)) {
            object[key] = value;
        }
    }
    return object.dump();
}

class EveryCommand : public testing::TestWithParam<Command> {
protected:
    Scene scene;

    [[nodiscard]] static std::string example() { return std::string(GetParam().example); }
    [[nodiscard]] static bool is_building() { return GetParam().when == When::building; }
    static void furnish(Scene& one) { one.furnish(GetParam().name != "map"); }
    static core::Result<> say(Scene& one, const std::string& line) {
        Session& session = GetParam().when == When::root ? one.root : one.own;
        const Started saying(execute(one.registry, one.request, session, line));
        one.host.deliver_exits();  // kill waits for it
        return saying.answer();
    }
};

TEST_P(EveryCommand, ItsExampleRuns) {
    furnish(scene);
    EXPECT_EQ(why(say(scene, example())), "");
    EXPECT_EQ(scene.registry.statistics.refusals, 0U);
}

TEST_P(EveryCommand, AsJsonItDoesTheSame) {
    furnish(scene);
    const Match match = good(match_words(good(core::split_words(GetParam().example))));
    const std::string json = json_of(*match.command, match.arguments);
    Scene other;
    furnish(other);
    EXPECT_EQ(why(say(scene, example())), "");
    EXPECT_EQ(why(say(other, json)), "") << json;
    EXPECT_EQ(scene.host.calls, other.host.calls) << json;
    EXPECT_EQ(scene.process().environment.words(), other.process().environment.words()) << json;
    EXPECT_EQ(scene.process().arguments, other.process().arguments) << json;
    EXPECT_EQ(scene.process().threads, other.process().threads) << json;
    EXPECT_EQ(scene.process().name, other.process().name) << json;
}

TEST_P(EveryCommand, WithTooManyWordsItSaysItsUsage) {
    if (takes_the_rest(GetParam())) return;
    const auto outcome = say(scene, example() + " x x x x x");
    EXPECT_EQ(errno_of(outcome), EINVAL);
    EXPECT_THAT(why(outcome), HasSubstr("usage: "));
    EXPECT_THAT(why(outcome), HasSubstr(usage(GetParam())));
    EXPECT_EQ(scene.host.calls.size(), 1U) << "nothing but the first efork";
}

TEST_P(EveryCommand, WithTooFewWordsItSaysItsUsage) {
    if (GetParam().parameters.front().kind != Kind::word) return;
    EXPECT_THAT(why(say(scene, std::string(GetParam().name))), HasSubstr(usage(GetParam())));
    const auto json = fmt::format(R"({{"cmd":"{}"}})", GetParam().name);
    EXPECT_THAT(why(say(scene, json)), HasSubstr(usage(GetParam())));
}

TEST_P(EveryCommand, BuildingIsRefusedOnceItWasStarted) {
    furnish(scene);
    good(scene.say("exec /bin/sh"));
    const auto calls = scene.host.calls.size();
    EXPECT_EQ(errno_of(say(scene, example())), is_building() ? EPERM : 0);
    EXPECT_TRUE(!is_building() || scene.host.calls.size() == calls);
}

TEST_P(EveryCommand, BuildingIsRefusedWhenItDiedUnstarted) {
    furnish(scene);
    const bool signals = example().starts_with("kill") || example().starts_with("note") ||
                         example().starts_with("st");
    scene.body().exit({"signal 9 KILL", 0, 0});
    EXPECT_EQ(errno_of(say(scene, example())), is_building() || signals ? ESRCH : 0);
}

TEST_P(EveryCommand, BuildingIsRefusedWhileItIsStopped) {
    furnish(scene);
    good(scene.say("stop"));
    EXPECT_EQ(errno_of(say(scene, example())), is_building() ? EBUSY : 0);
    good(scene.say("start"));
    EXPECT_TRUE(!is_building() || say(scene, example()));
}

TEST_P(EveryCommand, BelongsToTheRootsCtlOrToAProcess) {
    furnish(scene);
    Session nobody{nullptr, true};
    Session& wrong = GetParam().when == When::root ? scene.own : nobody;
    EXPECT_EQ(errno_of(scene.say(wrong, example())), EINVAL);
    EXPECT_TRUE(scene.host.calls.empty());
}

TEST_P(EveryCommand, OfAProcessIsRefusedToAnotherUser) {
    furnish(scene);
    if (GetParam().name == "efork" || GetParam().name == "adopt") return;
    scene.request.who = {2000, 2000};
    EXPECT_EQ(errno_of(say(scene, example())), EACCES);
    EXPECT_TRUE(scene.host.calls.empty());
}

TEST_P(EveryCommand, FailsWithTheErrorOfTheCallThatFailed) {
    furnish(scene);
    scene.host.fail_at(1, std::errc::not_enough_memory);
    const auto outcome = say(scene, example());
    if (!scene.host.has_failed()) return;
    EXPECT_EQ(errno_of(outcome), ENOMEM);
    const auto& process = scene.process();
    const std::string error =
        GetParam().when == When::root ? scene.registry.error_of(scene.request.who) : process.error;
    EXPECT_THAT(error, testing::StartsWith(fmt::format("{}: told to fail", GetParam().name)));
    EXPECT_THAT(error, HasSubstr(core::requote(example())));
    EXPECT_EQ(process.state(), core::Process::State::embryo);
}

std::string test_name(const testing::TestParamInfo<Command>& row) {
    std::string name = fmt::format("{}_{}", row.index, row.param.name);
    for (const auto& parameter : row.param.parameters) {
        if (parameter.kind == Kind::literal) name += fmt::format("_{}", parameter.name);
    }
    std::replace(name.begin(), name.end(), '-', '_');
    return name;
}

INSTANTIATE_TEST_SUITE_P(Table, EveryCommand,
                         testing::ValuesIn(commands().begin(), commands().end()), test_name);

}  // namespace
}  // namespace proc9::ctl
