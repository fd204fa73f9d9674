// System calls to be made in another process, in one message.
//
//     Batch batch;
//     const auto fd = batch.call("openat", SYS_openat, AT_FDCWD, batch.text(path), O_RDONLY);
//     batch.call("mmap", SYS_mmap, at, length, prot, flags, fd, offset);
//     batch.call("close", SYS_close, fd).always();
//     const Replies replies = co_await link.run(batch);      // did it happen?
//     co_await replies.checked();                            // what did the kernel say?
//
// A batch is built for the place where the stub's buffer is now (Batch(base)): pointers are the
// addresses that texts will have there.
#pragma once

#include <array>
#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "daemon/stub/wire.h"
#include "fs/core/host.hpp"

namespace proc9::os {

// Bytes of a number or a structure, as they lie in memory.
template <class T>
std::string_view bytes_of(const T& value) {
    return {reinterpret_cast<const char*>(&value), sizeof value};  // NOLINT
}
template <class T>
std::string_view bytes_of(const std::vector<T>& values) {
    return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};  // NOLINT
}

class Batch {
public:
    // Room for everything in a batch, in bytes.
    static constexpr std::size_t capacity = PROC9_STUB_BUFFER;

    explicit Batch(core::Address stub_base) : buffer_(stub_base + PROC9_STUB_TEXT) {}

    // An argument: a number, the result of an earlier call, a descriptor sent along, or a text.
    struct Result {
        std::uint32_t index;
    };
    struct Sent {
        std::uint32_t index;
    };
    struct Pointer {
        std::size_t offset;  // in the data that follows the calls
    };
    struct Argument {
        enum class Kind { value, result, sent, pointer } kind;
        std::uint64_t value;

        template <class T>
            requires std::integral<T> || std::is_enum_v<T>
        Argument(T number) : kind(Kind::value), value(static_cast<std::uint64_t>(number)) {}
        Argument(core::Address address) : kind(Kind::value), value(address.value) {}
        Argument(Result result) : kind(Kind::result), value(result.index) {}
        Argument(Sent sent) : kind(Kind::sent), value(sent.index) {}
        Argument(Pointer pointer) : kind(Kind::pointer), value(pointer.offset) {}
    };

    // A call that was added; converts to its result as an argument of later calls.
    class Added {
    public:
        Added(Batch* batch, std::uint32_t index) : batch_(batch), index_(index) {}
        operator Argument() const { return Result{index_}; }
        [[nodiscard]] std::uint32_t index() const { return index_; }
        Added always() { return flag(PROC9_ALWAYS); }
        Added keep_going() { return flag(PROC9_KEEP_GOING); }
        Added search() { return flag(PROC9_SEARCH); }

    private:
        Added flag(std::uint16_t bit);
        Batch* batch_;
        std::uint32_t index_;
    };

    template <class... Args>
    Added call(const char* name, long number, Args... args) {
        static_assert(sizeof...(args) <= most_arguments);
        return add(name, static_cast<std::uint32_t>(number), {Argument(args)...});
    }

    Sent send(core::DescriptorRef descriptor);
    Pointer text(std::string_view text);  // with a zero byte behind it
    Pointer bytes(std::string_view bytes);
    Pointer space(std::size_t size);  // for an answer; sent back, see Replies::data
    // Bytes with the address of something else in them, or behind them.
    Pointer with_pointer(std::string_view bytes, Pointer to,
                         std::size_t where = std::string_view::npos);
    Pointer pointers(const std::vector<Pointer>& list);  // an array of addresses, zero-ended

    [[nodiscard]] bool fits() const { return size() <= capacity; }
    [[nodiscard]] std::size_t size() const;
    [[nodiscard]] const char* name_of(std::size_t index) const { return names_[index]; }
    [[nodiscard]] std::size_t count() const { return calls_.size(); }
    [[nodiscard]] const std::vector<core::DescriptorRef>& descriptors() const {
        return descriptors_;
    }
    // How much is there, and back to that.
    struct Mark {
        std::size_t calls;
        std::size_t data;
        std::size_t relocations;
        std::size_t descriptors;
        std::size_t answer_end;
    };
    [[nodiscard]] Mark mark() const;
    void cut(const Mark& mark);
    // The message. Without `answer` the stub says nothing.
    [[nodiscard]] std::string encode(bool answer) const;

private:
    static constexpr std::size_t most_arguments = 6;

    Added add(const char* name, std::uint32_t number, std::initializer_list<Argument> arguments);
    [[nodiscard]] std::size_t data_offset() const;
    [[nodiscard]] std::uint64_t address_of(std::size_t offset) const;

    struct Call {
        std::uint32_t number;
        std::uint16_t flags;
        std::array<Argument, most_arguments> arguments = {0, 0, 0, 0, 0, 0};
    };

    core::Address buffer_;
    std::vector<Call> calls_;
    std::vector<const char*> names_;
    std::string data_;
    std::vector<std::size_t> relocations_;  // offsets in data_ that hold offsets of data_
    std::vector<core::DescriptorRef> descriptors_;
    std::size_t answer_end_ = 0;
};

// What the kernel said to each call.
class Replies {
public:
    Replies(const Batch& batch, std::string message);

    // Of the first call that failed and was not allowed to; else success.
    [[nodiscard]] core::Result<> checked() const { return checked(0, ~std::uint32_t{0}); }
    [[nodiscard]] core::Result<> checked(std::uint32_t from, std::uint32_t to) const;
    [[nodiscard]] bool was_interrupted() const;  // one of them: EINTR
    // One result; an error if it failed or was not reached.
    [[nodiscard]] core::Result<std::int64_t> of(std::uint32_t index) const;
    // As the stub has left it: a descriptor that it moved, or any number.
    [[nodiscard]] std::uint64_t argument(std::uint32_t index, std::size_t place) const;
    // What stands at space() number `pointer`, size as asked.
    [[nodiscard]] std::string data(Batch::Pointer pointer, std::size_t size) const;

private:
    std::vector<const char*> names_;
    std::vector<std::int64_t> results_;
    std::vector<std::uint16_t> flags_;
    std::size_t data_offset_;
    std::string message_;
};

}  // namespace proc9::os
