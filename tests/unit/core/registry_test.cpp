#include "fs/core/registry.hpp"

#include "tests/unit/fake_host.hpp"
#include "tests/unit/run.hpp"

namespace proc9::core {
namespace {

using fake::errno_of;
using fake::good;
using fake::run;
using fake::why;
using testing::Contains;
using testing::Not;

struct RegistryTest : testing::Test {
    fake::FakeHost host;
    Registry registry{host};
    Request request{.who = {1000, 1000}, .thread = 7, .cancellation = {}};

    ProcessRef make(std::string name = "") {
        return good(run(registry.efork(request, std::move(name))));
    }
    Saved tell() {
        Saving saving;
        Saved told = registry.save(saving);
        descriptors = saving.descriptors();
        Restoring restoring;
        next.restore(told, restoring);
        return told;
    }
    std::set<int> descriptors;  // that are kept for the next one
    fake::FakeHost next_host;
    Registry next{next_host};
    void end(const ProcessRef& process) { host.embryo(process->id()).exit({}); }
};

TEST_F(RegistryTest, ANewProcessIsFoundByIdNameAndSerial) {
    host.leader_of_thread[7] = 5;
    const auto process = make("hello");
    EXPECT_EQ(registry.by_id(process->id()), process);
    EXPECT_EQ(registry.by_name("hello"), process);
    EXPECT_EQ(registry.by_serial(process->serial), process);
    EXPECT_EQ(good(registry.find("hello")), process);
    EXPECT_EQ(good(registry.find(std::to_string(process->id()))), process);
    EXPECT_EQ(process->creator, 5);
    EXPECT_EQ(process->owner, request.who);
    EXPECT_EQ(registry.statistics.eforks, 1U);
}

TEST_F(RegistryTest, WhatIsNotThereIsEnoent) {
    for (const auto* const name : {"", "hello", "999", "-1", "1x"})
        EXPECT_EQ(errno_of(registry.find(name)), ENOENT) << name;
    EXPECT_EQ(registry.by_serial(1), nullptr);
}

TEST_F(RegistryTest, AnAdoptedProcessIsAChildOfTheCallerAndGoesWhenThatReapsIt) {
    host.leader_of_thread[7] = 5;
    const auto process = good(run(registry.adopt(request, 3, "child")));
    EXPECT_THAT(host.calls, Contains("adopt 1000 5:3"));
    EXPECT_EQ(process->creator, 5);
    EXPECT_EQ(registry.by_name("child"), process);
    auto& body = host.embryo(process->id());
    body.exit({});
    EXPECT_EQ(registry.by_name("child"), process);
    body.reaped_hook();
    EXPECT_EQ(registry.by_name("child"), nullptr);
    EXPECT_EQ(registry.by_id(process->id()), nullptr);
}

TEST_F(RegistryTest, WhatAnAdoptedProcessHasMappedAreRegionsAndCanBeBuiltOn) {
    const auto process = good(run(registry.adopt(request, 3, "")));
    auto& memory = process->memory;
    ASSERT_EQ(memory.regions().size(), 2U);
    host.embryo(process->id()).pages.at(0x600000).bytes =
        std::make_shared<std::string>(page_size, 'x');
    Region& region = *memory.at(Address{0x600000});
    EXPECT_EQ(errno_of(run(memory.materialise(region))), 0);
    EXPECT_EQ(good(region.object->read(2, 0)), "xx");
    EXPECT_EQ(errno_of(run(memory.unmap({Address{0x400000}, page_size}))), 0);
    EXPECT_EQ(memory.regions().size(), 1U);
}

TEST_F(RegistryTest, AnAdoptedProcessGoesOn) {
    const auto process = good(run(registry.adopt(request, 3, "")));
    EXPECT_EQ(errno_of(run(process->resume())), 0);
    EXPECT_TRUE(host.embryo(process->id()).started);
    EXPECT_EQ(process->state(), Process::State::running);
    EXPECT_EQ(errno_of(process->check_embryo()), EPERM);
}

TEST_F(RegistryTest, NamesThatWouldHideSomethingAreRefusedBeforeAnythingIsMade) {
    for (const auto* const name :
         {"ctl", "clone", "help", "self", "stats.json", "error", ".", ".."})
        EXPECT_EQ(errno_of(run(registry.efork(request, name))), EEXIST) << name;
    for (const auto& name :
         {std::string("42"), std::string("a/b"), std::string(256, 'x'), std::string("a\0b", 3)})
        EXPECT_EQ(errno_of(run(registry.efork(request, name))), EINVAL) << name;
    EXPECT_TRUE(host.calls.empty());
    EXPECT_EQ(errno_of(run(registry.efork(request, std::string(255, 'x')))), 0);
}

TEST_F(RegistryTest, ANameIsFreeWhenItsProcessHasGoneOrTheEforkFailed) {
    registry.remove(make("a"));
    host.fail_at(1, std::errc::resource_unavailable_try_again);
    EXPECT_EQ(errno_of(run(registry.efork(request, "a"))), EAGAIN);
    const auto process = make("a");
    EXPECT_EQ(errno_of(run(registry.efork(request, "a"))), EEXIST);
    registry.drop_name(*process);
    EXPECT_EQ(registry.by_name("a"), nullptr);
    EXPECT_NE(make("a"), process);
}

TEST_F(RegistryTest, RenameGivesTheOldNameBackAndToItsOwnIsNoError) {
    const auto first = make("a");
    const auto second = make("b");
    EXPECT_EQ(errno_of(registry.rename(*first, "a")), 0);
    EXPECT_EQ(errno_of(registry.rename(*first, "b")), EEXIST);
    EXPECT_EQ(errno_of(registry.rename(*first, "")), EINVAL);
    EXPECT_EQ(registry.by_name("a"), first);
    good(registry.rename(*first, "c"));
    EXPECT_EQ(registry.by_name("a"), nullptr);
    EXPECT_EQ(registry.by_name("c"), first);
    EXPECT_EQ(registry.by_name("b"), second);
}

TEST_F(RegistryTest, AnEmbryoThatIsRemovedDiesAndItsMemoryGoes) {
    auto process = make("a");
    const auto pid = process->id();
    good(run(process->memory.create(Address{0x600000}, 0600)));
    registry.remove(process);
    registry.remove(process);  // twice is once
    EXPECT_THAT(host.calls, Contains("signal 9").Times(1));
    EXPECT_EQ(registry.by_id(pid), nullptr);
    EXPECT_EQ(errno_of(process->check_embryo()), ESRCH);
    process.reset();
    EXPECT_EQ(host.living_embryos(), 0U);
    EXPECT_EQ(host.living_memories(), 0);
}

TEST_F(RegistryTest, AnExitedProcessStaysUntilItIsReaped) {
    const auto process = make("a");
    end(process);
    EXPECT_EQ(registry.by_name("a"), process);
    EXPECT_EQ(registry.statistics.exits, 1U);
    registry.remove(process);
    EXPECT_THAT(host.calls, Not(Contains("signal 9")));
}

TEST_F(RegistryTest, AKilledEmbryoThatNobodyWaitsForGoesByItself) {
    const auto process = make();
    process->doomed = true;
    good(process->body->send_signal(9));
    host.deliver_exits();
    EXPECT_TRUE(registry.all().empty());
}

TEST_F(RegistryTest, OfMoreThan1024ExitedTheOldestGoesAndOnlyTheUsersOwn) {
    Request other{.who = {2000, 2000}, .thread = 8, .cancellation = {}};
    const auto others = good(run(registry.efork(other, "")));
    end(others);
    const auto oldest = make();
    const auto living = make();
    end(oldest);
    for (int i = 0; i < 1023; ++i) end(make());
    EXPECT_NE(registry.by_serial(oldest->serial), nullptr);
    end(make());
    EXPECT_EQ(registry.by_serial(oldest->serial), nullptr);
    EXPECT_NE(registry.by_serial(living->serial), nullptr);
    EXPECT_NE(registry.by_serial(others->serial), nullptr);
}

TEST_F(RegistryTest, OneThatWasReapedDoesNotCountAsExited) {
    const auto kept = make();
    end(kept);
    for (int i = 0; i < 1030; ++i) {
        const auto process = make();
        end(process);
        registry.remove(process);
    }
    EXPECT_NE(registry.by_serial(kept->serial), nullptr);
}

TEST_F(RegistryTest, OnlyTheOwnerAndRootMayTouchAProcess) {
    const auto process = make();
    EXPECT_EQ(errno_of(Registry::check_owner({1000, 5}, *process)), 0);
    EXPECT_EQ(errno_of(Registry::check_owner({0, 0}, *process)), 0);
    EXPECT_EQ(errno_of(Registry::check_owner({1001, 1000}, *process)), EACCES);
    EXPECT_EQ(why(Registry::check_owner({1001, 1000}, *process)),
              fmt::format("process {} is another user's", process->id()));
}

TEST_F(RegistryTest, EveryUserReadsTheirOwnLastError) {
    registry.set_error({1000, 1}, "mine\n");
    EXPECT_EQ(registry.error_of({1000, 2}), "mine\n");
    EXPECT_EQ(registry.error_of({1001, 1}), "");
}

TEST_F(RegistryTest, ASerialIsNeverUsedAgain) {
    const auto first = make();
    const auto serial = first->serial;
    registry.remove(first);
    EXPECT_GT(make()->serial, serial);
    EXPECT_EQ(registry.by_serial(serial), nullptr);
}

TEST_F(RegistryTest, TheNextOneHasAllThatThisOneTold) {
    const auto process = make("hello");
    process->arguments = {"a", "b c"};
    good(process->environment.set("A", "1"));
    good(process->environment.set("FILE", "text\n", true));
    process->threads.front()["r12"] = 7;
    process->error = "env: why";
    process->pending_links["CuAbcdef"] = "/tmp";
    process->extraction.placeholders["cwd"] = {3, true};
    Mapping mapping;
    mapping.at = Address{0x600000};
    mapping.length = 2 * page_size;
    Region* const region = good(run(process->memory.map(mapping)));
    good(run(process->memory.materialise(*region)));
    const auto sharer = good(run(registry.share(request, *process, {"mem"}, "sharer", {})));
    const auto ended = make();
    end(ended);
    registry.set_error(request.who, "efork: why");

    const Saved told = tell();
    Saving again;
    EXPECT_EQ(next.save(again), told);
    EXPECT_EQ(again.descriptors(), descriptors);
    EXPECT_FALSE(descriptors.empty());
    const auto same = next.by_name("hello");
    ASSERT_NE(same, nullptr);
    EXPECT_EQ(&same->memory, &next.by_name("sharer")->memory);
    EXPECT_EQ(next.by_id(ended->id())->state(), Process::State::exited);
    EXPECT_GT(good(run(next.efork(request, "")))->serial, ended->serial);
}

TEST_F(RegistryTest, OneWhoEndsInBetweenHasEnded) {
    const auto process = make("hello");
    (void)tell();
    next_host.embryo(process->id()).exit({"signal 9 KILL"});
    EXPECT_EQ(next.by_name("hello")->state(), Process::State::exited);
}

}  // namespace
}  // namespace proc9::core
