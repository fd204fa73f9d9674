// ctl, clone and wait: files that remember who opened them.
#include "tests/unit/node/tree_fixture.hpp"

namespace proc9::node {
namespace {

using fake::errno_of;
using fake::good;
using fake::run;
using fake::Started;
using testing::Contains;
using testing::HasSubstr;

struct OpenFiles : testing::Test, Grove {
    core::ProcessRef process = make("hello");
    [[nodiscard]] std::string at(std::string_view name) const { return path_of(process, name); }
};

constexpr OpenFlags for_both{.read = true, .write = true};

// ---------------------------------------------------------------------------------------------
// wait

struct Wait : OpenFiles {
    core::Request waiter{.who = {1000, 1000}, .thread = 7, .cancellation = {}};
    void end() { body(process).exit({"exit 3", 5, 6}); }
    [[nodiscard]] std::string line() const {
        return fmt::format("{} 5 6 0 'exit 3'\n", process->id());
    }
};

TEST_F(Wait, BlocksUntilExitAndThenSaysHowItWas) {
    auto file = open(at("wait"));
    const Started reading(file->read(waiter, 100, 0));
    EXPECT_FALSE(reading.is_done());
    end();
    ASSERT_TRUE(reading.is_done());
    EXPECT_EQ(good(reading.answer()), line());
}

TEST_F(Wait, ReadToTheEndAndClosedItReaps) {
    end();
    auto file = open(at("wait"));
    EXPECT_EQ(good(file.read(10)) + good(file.read(100, 10)), line());
    EXPECT_EQ(good(file.read(100, 100)), "");
    EXPECT_EQ(registry.by_name("hello"), process);
    file.close();
    EXPECT_EQ(registry.by_name("hello"), nullptr);
}

TEST_F(Wait, ReadInPartOrNotAtAllItReapsNothing) {
    end();
    { auto file = open(at("wait")); }
    {
        auto file = open(at("wait"));
        EXPECT_EQ(good(file.read(10)).size(), 10U);
    }
    EXPECT_EQ(registry.by_name("hello"), process);
}

TEST_F(Wait, AnInterruptedReadIsEintrAndOthersWaitOn) {
    auto file = open(at("wait"));
    core::Request other = waiter;
    const Started first(file->read(waiter, 100, 0));
    const Started second(file->read(other, 100, 0));
    waiter.cancellation.request();
    EXPECT_EQ(errno_of(first.answer()), EINTR);
    EXPECT_FALSE(second.is_done());
    end();
    EXPECT_EQ(good(second.answer()), line());
}

TEST_F(Wait, NonBlockingItSaysTryAgain) {
    auto file = open(at("wait"), {.read = true, .non_blocking = true});
    EXPECT_EQ(errno_of(file.read()), EAGAIN);
    end();
    EXPECT_EQ(good(file.read()), line());
}

TEST_F(Wait, PollIsToldOnceAndNotAfterTheFileIsClosed) {
    int told = 0;
    auto file = open(at("wait"));
    auto closed = open(at("wait"));
    EXPECT_FALSE(file->readable([&told] { ++told; }));
    EXPECT_FALSE(file->readable([&told] { ++told; }));  // polled again
    EXPECT_FALSE(closed->readable([&told] { told += 100; }));
    closed.close();
    end();
    EXPECT_EQ(told, 1);
    EXPECT_TRUE(file->readable([] {}));
}

TEST_F(Wait, OneThatWasKilledBeforeStartIsWaitedForToo) {
    auto file = open(at("wait"));
    const Started reading(file->read(waiter, 100, 0));
    good(process->body->send_signal(9));
    host.deliver_exits();
    EXPECT_THAT(good(reading.answer()), HasSubstr("'signal 9 KILL'"));
}

TEST_F(Wait, CannotBeWritten) {
    auto file = open(at("wait"));
    EXPECT_EQ(errno_of(file.write("x")), EACCES);
    EXPECT_EQ(errno_of(try_open(at("wait"), for_both)), EACCES);
}

// ---------------------------------------------------------------------------------------------
// ctl

TEST_F(OpenFiles, CtlReadsAsIdAndStateAndWhereTheLastMappingIs) {
    auto file = open(at("ctl"), for_both);
    EXPECT_EQ(good(file.read()), fmt::format("{} embryo\n", process->id()));
    EXPECT_EQ(file.write("map any 4K rw-\n", 99), 15U);
    EXPECT_EQ(good(file.read(100, 114)), fmt::format("{} embryo 0x7f0000000000\n", process->id()))
        << "the offset that the write left is ignored";
    EXPECT_EQ(good(file.read(100, 200)), "") << "then it ends";
    EXPECT_EQ(file.write("stop\n"), 5U);
    EXPECT_EQ(file.write("start\n"), 6U);
    EXPECT_EQ(file.write("exec /bin/sh\n"), 13U);
    EXPECT_THAT(good(file.read()), HasSubstr(" running"));
    EXPECT_EQ(file.write("stop\n"), 5U);
    EXPECT_THAT(good(file.read()), HasSubstr(" stopped"));
}

TEST_F(OpenFiles, CtlIsReadInSmallPieces) {
    auto file = open(at("ctl"), for_both);
    std::string text;
    for (std::uint64_t offset = 0;; ++offset) {
        const auto piece = good(file.read(1, offset));
        if (piece.empty()) break;
        text += piece;
    }
    EXPECT_EQ(text, fmt::format("{} embryo\n", process->id()));
}

TEST_F(OpenFiles, CtlEndsForWhoAsksForSeveralPiecesAtOnceAsSshfsDoes) {
    auto file = open(at("ctl"), for_both);
    const std::string text = fmt::format("{} embryo\n", process->id());
    for (int round = 0; round < 2; ++round) {
        EXPECT_EQ(good(file.read(4096, 0)), text);
        for (const std::uint64_t offset : {4096U, 8192U})
            EXPECT_EQ(good(file.read(4096, offset)), "");
        EXPECT_EQ(good(file.read(4096, text.size())), "") << "the end";
    }
}

TEST_F(OpenFiles, TheRootsCtlReadsAsTheIdOfWhatWasMadeThroughIt) {
    auto file = open("ctl", for_both);
    EXPECT_EQ(good(file.read()), "");
    EXPECT_EQ(file.write("efork new\n"), 10U);
    EXPECT_EQ(good(file.read()), fmt::format("{}\n", registry.by_name("new")->id()));
    file.close();
    EXPECT_NE(registry.by_name("new"), nullptr) << "it outlives the file that made it";
}

TEST_F(OpenFiles, ALineHeldBackRunsWhenCtlIsClosed) {
    auto file = open(at("ctl"), for_both);
    EXPECT_EQ(file.write("name later", 0, true), 10U);
    EXPECT_EQ(process->name, "hello");
    file.close();
    EXPECT_EQ(process->name, "later");
}

TEST_F(OpenFiles, EveryCallerHasACtlOfItsOwnSoThatOneThatWaitsBlocksNobody) {
    core::Request other{.who = {1000, 1000}, .thread = 9, .cancellation = {}};
    EXPECT_NE(id(at("ctl")).pack(), good(find(other, at("ctl"))).id.pack());
    EXPECT_EQ(id(at("status")).pack(), good(find(other, at("status"))).id.pack());
    EXPECT_FALSE(good(find(at("ctl"))).lasting);
}

TEST_F(OpenFiles, TwoWritesThroughOneFileDoNotMixTheirLines) {
    auto file = open(at("ctl"), for_both);
    core::Request other{.who = {1000, 1000}, .thread = 9, .cancellation = {}};
    host.hold("open");
    const Started first(file->write(request, "fd 0 open /bin/sh r\nname first\n", 0, false));
    const Started second(file->write(other, "name second\n", 0, false));
    EXPECT_FALSE(second.is_done());
    host.release();
    EXPECT_EQ(good(first.answer()), 31U);
    EXPECT_EQ(good(second.answer()), 12U);
    EXPECT_EQ(process->name, "second");
}

// ---------------------------------------------------------------------------------------------
// clone

struct Clone : OpenFiles {
    File file = open("clone", for_both);
    core::ProcessRef made = good(registry.find(number()));

    std::string number() {
        auto text = good(file.read());
        text.pop_back();
        return text;
    }
    [[nodiscard]] bool is_there() const { return registry.by_serial(made->serial) != nullptr; }
};

TEST_F(Clone, ClosedBeforeStartItsProcessGoes) {
    EXPECT_EQ(file.write("map 0x600000 4K rw-\n"), 20U);
    file.close();
    EXPECT_FALSE(is_there());
    EXPECT_THAT(host.calls, Contains("signal 9"));
}

TEST_F(Clone, ClosedBeforeStartItsOwnProcessGoesEvenIfItMadeAnother) {
    EXPECT_EQ(file.write("efork another\n"), 14U);
    file.close();
    EXPECT_FALSE(is_there());
    EXPECT_NE(registry.by_name("another"), nullptr);
}

TEST_F(Clone, ToldToPersistItStays) {
    EXPECT_EQ(file.write("persist\n"), 8U);
    file.close();
    EXPECT_TRUE(is_there());
}

TEST_F(Clone, StartedItStays) {
    EXPECT_EQ(file.write("exec /bin/sh\n"), 13U);
    file.close();
    EXPECT_TRUE(is_there());
}

TEST_F(Clone, AnEforkThatFailsOpensNothing) {
    host.fail_at(1, std::errc::resource_unavailable_try_again);
    EXPECT_EQ(errno_of(try_open("clone", for_both)), EAGAIN);
}

// ---------------------------------------------------------------------------------------------
// Files with a text

TEST_F(OpenFiles, ATextIsReadWholeFromOneMoment) {
    process->arguments = {"one"};
    auto file = open(at("args"));
    EXPECT_EQ(good(file.read(2)), "on");
    process->arguments = {"two"};
    EXPECT_EQ(good(file.read(10, 2)), "e\n");
    EXPECT_EQ(good(file.read()), "two\n");
}

TEST_F(OpenFiles, OfManyLinesTheFirstThatFailsEndsTheWrite) {
    auto file = open(at("maps"), for_writing);
    const std::string line = "600000-601000 rw-p 0 00:00 0\n";
    EXPECT_EQ(file.write(line + "nonsense\n" + line), line.size());
    EXPECT_EQ(errno_of(file.write("nonsense\n")), EINVAL);
    EXPECT_EQ(good(read(at("error"))), "maps: not a line of a maps file: \"nonsense\"\n");
}

TEST_F(OpenFiles, AnErrorIsReadByWhoMadeIt) {
    auto file = open("ctl", for_writing);
    EXPECT_EQ(errno_of(file.write("efork hello\n")), EEXIST);
    EXPECT_THAT(good(read("error")), HasSubstr("efork: the name \"hello\" is in use by process "));
    request.who = {2000, 2000};
    EXPECT_EQ(good(read("error")), "");
}

}  // namespace
}  // namespace proc9::node
