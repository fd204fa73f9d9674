// The bytes that go to a stub, and what is made of bytes that a hostile one sends back.
#include "daemon/os/batch.hpp"

#include <sys/syscall.h>

#include <cstring>
#include <random>

#include "tests/unit/fake_host.hpp"
#include "tests/unit/run.hpp"

namespace proc9::os {
namespace {

using fake::errno_of;
using fake::why;

constexpr core::Address base{PROC9_STUB_BASE};

struct Decoded {
    explicit Decoded(const std::string& bytes) : message(bytes) {
        proc9_batch header{};
        std::memcpy(&header, bytes.data(), sizeof header);
        reply = header.reply;
        calls.resize(header.count);
        std::memcpy(calls.data(), bytes.data() + sizeof header, calls.size() * sizeof(proc9_call));
    }
    // What lies at an address of the stub's.
    [[nodiscard]] std::string at(std::uint64_t address, std::size_t size) const {
        return message.substr(address - (base + PROC9_STUB_TEXT).value, size);
    }
    [[nodiscard]] std::uint64_t word_at(std::uint64_t address) const {
        std::uint64_t word = 0;
        std::memcpy(&word, at(address, sizeof word).data(), sizeof word);
        return word;
    }

    std::string message;
    std::uint32_t reply = 0;
    std::vector<proc9_call> calls;
};

// The message that a stub would send back.
std::string answer_to(const Batch& batch, const std::vector<std::int64_t>& results) {
    std::string message = batch.encode(true);
    for (std::size_t i = 0; i < results.size(); ++i) {
        const auto place =
            sizeof(proc9_batch) + i * sizeof(proc9_call) + offsetof(proc9_call, result);
        std::memcpy(message.data() + place, &results[i], sizeof results[i]);
    }
    return message;
}

TEST(Batch, ResultsOfEarlierCallsAndDescriptorsAreMarkedAsSuch) {
    Batch batch(base);
    const auto sent = batch.send(std::make_shared<fake::FakeDescriptor>(7, "x"));
    const auto opened = batch.call("open", SYS_openat, -100, 5);
    batch.call("dup3", SYS_dup3, sent, opened, 0).always().keep_going();
    const Decoded message(batch.encode(true));
    ASSERT_EQ(message.calls.size(), 2U);
    EXPECT_EQ(message.calls[0].arguments[0], static_cast<std::uint64_t>(-100));
    EXPECT_EQ(message.calls[0].results | message.calls[0].descriptors, 0);
    EXPECT_EQ(message.calls[1].descriptors, 1);
    EXPECT_EQ(message.calls[1].results, 2);
    EXPECT_EQ(message.calls[1].arguments[1], 0U) << "the index of the call";
    EXPECT_EQ(message.calls[1].flags, PROC9_ALWAYS | PROC9_KEEP_GOING);
    EXPECT_EQ(batch.descriptors().at(0)->number(), 7);
}

TEST(Batch, TextsLieWhereThePointersSay) {
    Batch batch(base);
    const auto path = batch.text("/bin/sh");
    batch.call("chdir", SYS_chdir, path);
    batch.call("chdir", SYS_chdir, batch.text(""));
    const Decoded message(batch.encode(true));
    EXPECT_EQ(message.at(message.calls[0].arguments[0], 8), std::string("/bin/sh\0", 8));
    EXPECT_EQ(message.at(message.calls[1].arguments[0], 1), std::string(1, '\0'));
}

TEST(Batch, ArraysOfPointersEndWithZero) {
    Batch batch(base);
    const auto list = batch.pointers({batch.text("one"), batch.text("two")});
    batch.call("exec", SYS_execve, batch.text("x"), list, batch.pointers({}));
    const Decoded message(batch.encode(true));
    const auto array = message.calls[0].arguments[1];
    EXPECT_EQ(message.at(message.word_at(array), 4), std::string("one\0", 4));
    EXPECT_EQ(message.at(message.word_at(array + 8), 4), std::string("two\0", 4));
    EXPECT_EQ(message.word_at(array + 16), 0U);
    EXPECT_EQ(message.word_at(message.calls[0].arguments[2]), 0U);
}

TEST(Batch, AsksForNoMoreThanTheCallsAndTheSpaceBack) {
    Batch batch(base);
    const auto space = batch.space(10);
    batch.call("statx", SYS_statx, space, batch.text("a long text that is not sent back"));
    const Decoded answered(batch.encode(true));
    EXPECT_EQ(answered.reply, sizeof(proc9_batch) + sizeof(proc9_call) + 16);
    EXPECT_EQ(Decoded(batch.encode(false)).reply, 0U);
    EXPECT_EQ(answered.message.size(), batch.size());
}

TEST(Batch, KnowsWhenItDoesNotFitTheStubsBuffer) {
    Batch batch(base);
    batch.call("chdir", SYS_chdir, batch.bytes(std::string(PROC9_STUB_BUFFER - 100, 'x')));
    EXPECT_TRUE(batch.fits());
    batch.call("chdir", SYS_chdir, batch.bytes(std::string(100, 'x')));
    EXPECT_FALSE(batch.fits());
}

// ---------------------------------------------------------------------------------------------
// Replies

struct RepliesTest : testing::Test {
    Batch batch{base};
    Batch::Pointer space = batch.space(8);
    Batch::Added opened = batch.call("open", SYS_openat, 0);
    Batch::Added mapped = batch.call("mmap", SYS_mmap, opened, space);
    Batch::Added closed = batch.call("close", SYS_close, opened).keep_going();
};

TEST_F(RepliesTest, SayWhatTheKernelSaidAndOfWhichCall) {
    const Replies replies(batch, answer_to(batch, {3, -ENOMEM, 0}));
    EXPECT_EQ(replies.of(opened.index()), 3);
    EXPECT_EQ(why(replies.of(mapped.index())), "mmap: Cannot allocate memory");
    EXPECT_EQ(errno_of(replies.checked()), ENOMEM);
}

TEST_F(RepliesTest, OnlyTheLast4095NumbersAreErrors) {
    const Replies replies(batch, answer_to(batch, {-4096, -4095, 0}));
    EXPECT_EQ(replies.of(opened.index()), -4096);
    EXPECT_EQ(errno_of(replies.of(mapped.index())), 4095);
}

TEST_F(RepliesTest, WhatMayFailOrWasNotReachedIsNoErrorOfTheBatch) {
    const Replies kept(batch, answer_to(batch, {3, 0x1000, -EBADF}));
    EXPECT_EQ(errno_of(kept.checked()), 0);
    const Replies stopped(batch, answer_to(batch, {-ENOENT, PROC9_NOT_RUN, PROC9_NOT_RUN}));
    EXPECT_EQ(errno_of(stopped.checked()), ENOENT);
    EXPECT_EQ(errno_of(stopped.of(mapped.index())), ECANCELED);
}

TEST_F(RepliesTest, HostileBytesOfAnyLengthAreOnlyEverWrongNumbers) {
    std::mt19937 random(9);  // NOLINT: the same bytes each time
    for (std::size_t length = 0; length < 400; ++length) {
        std::string garbage(length, '\0');
        for (auto& c : garbage) c = static_cast<char>(random());
        const Replies replies(batch, garbage);
        (void)replies.checked();
        for (std::uint32_t i = 0; i < batch.count(); ++i) (void)replies.of(i);
        EXPECT_EQ(replies.data(space, 8).size(), 8U);
        EXPECT_EQ(replies.data(space, 5000).size(), 5000U);
    }
}

TEST_F(RepliesTest, AnAnswerThatIsCutShortReadsAsZeros) {
    const Replies replies(batch, answer_to(batch, {3, 0, 0}).substr(0, sizeof(proc9_batch)));
    EXPECT_EQ(replies.of(opened.index()), 0);
    EXPECT_EQ(replies.data(space, 8), std::string(8, '\0'));
}

}  // namespace
}  // namespace proc9::os
