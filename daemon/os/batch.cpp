#include "daemon/os/batch.hpp"

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>

namespace proc9::os {
namespace {

constexpr std::size_t word = sizeof(std::uint64_t);

bool failed(std::int64_t result) {
    return result == PROC9_NOT_RUN || (result < 0 && result >= -PROC9_MOST_ERRNO);
}

std::size_t call_offset(std::size_t index) {
    return sizeof(proc9_batch) + index * sizeof(proc9_call);
}

}  // namespace

Batch::Added Batch::Added::flag(std::uint16_t bit) {
    batch_->calls_[index_].flags |= bit;
    return *this;
}

Batch::Added Batch::add(const char* name, std::uint32_t number,
                        std::initializer_list<Argument> arguments) {
    calls_.push_back({number, 0});
    std::copy(arguments.begin(), arguments.end(), calls_.back().arguments.begin());
    names_.push_back(name);
    return {this, static_cast<std::uint32_t>(calls_.size() - 1)};
}

Batch::Sent Batch::send(core::DescriptorRef descriptor) {
    descriptors_.push_back(std::move(descriptor));
    return {static_cast<std::uint32_t>(descriptors_.size() - 1)};
}

Batch::Pointer Batch::bytes(std::string_view bytes) {
    const Pointer pointer{data_.size()};
    data_ += bytes;
    data_.resize((data_.size() + word - 1) / word * word);
    return pointer;
}

Batch::Pointer Batch::text(std::string_view text) {
    const Pointer pointer{data_.size()};
    data_ += text;
    data_.resize((data_.size() + word) / word * word);  // one zero byte at least
    return pointer;
}

Batch::Pointer Batch::space(std::size_t size) {
    const Pointer pointer = bytes(std::string(size, '\0'));
    answer_end_ = data_.size();
    return pointer;
}

Batch::Pointer Batch::with_pointer(std::string_view bytes, Pointer to, std::size_t where) {
    std::string whole(bytes);
    where = std::min(where, whole.size());
    whole.resize(std::max(whole.size(), where + word));
    const std::uint64_t offset = to.offset;
    std::memcpy(whole.data() + where, &offset, word);
    relocations_.push_back(data_.size() + where);
    return this->bytes(whole);
}

Batch::Pointer Batch::pointers(const std::vector<Pointer>& list) {
    std::string array((list.size() + 1) * word, '\0');
    for (std::size_t i = 0; i < list.size(); ++i) {
        const std::uint64_t offset = list[i].offset;
        std::memcpy(array.data() + i * word, &offset, word);
        relocations_.push_back(data_.size() + i * word);
    }
    return bytes(array);
}

Batch::Mark Batch::mark() const {
    return {calls_.size(), data_.size(), relocations_.size(), descriptors_.size(), answer_end_};
}

void Batch::cut(const Mark& mark) {
    calls_.erase(calls_.begin() + static_cast<std::ptrdiff_t>(mark.calls), calls_.end());
    names_.resize(mark.calls);
    data_.resize(mark.data);
    relocations_.resize(mark.relocations);
    descriptors_.resize(mark.descriptors);
    answer_end_ = mark.answer_end;
}

std::size_t Batch::data_offset() const { return call_offset(calls_.size()); }
std::size_t Batch::size() const { return data_offset() + data_.size(); }
std::uint64_t Batch::address_of(std::size_t offset) const {
    return (buffer_ + data_offset() + offset).value;
}

std::string Batch::encode(bool answer) const {
    std::string message(data_offset(), '\0');
    const std::size_t reply = data_offset() + answer_end_;
    const proc9_batch header{static_cast<std::uint32_t>(calls_.size()),
                             answer ? static_cast<std::uint32_t>(reply) : 0U};
    std::memcpy(message.data(), &header, sizeof header);
    for (std::size_t i = 0; i < calls_.size(); ++i) {
        proc9_call call{};
        call.number = calls_[i].number;
        call.flags = calls_[i].flags;
        for (std::size_t k = 0; k < most_arguments; ++k) {
            const Argument& argument = calls_[i].arguments.at(k);
            const auto bit = static_cast<std::uint8_t>(1U << k);
            call.arguments[k] = argument.kind == Argument::Kind::pointer
                                    ? address_of(argument.value)
                                    : argument.value;
            if (argument.kind == Argument::Kind::result) call.results |= bit;
            if (argument.kind == Argument::Kind::sent) call.descriptors |= bit;
        }
        std::memcpy(message.data() + call_offset(i), &call, sizeof call);
    }
    message += data_;
    for (const auto place : relocations_) {
        char* const at = message.data() + data_offset() + place;
        std::uint64_t value = 0;
        std::memcpy(&value, at, word);
        value = address_of(value);
        std::memcpy(at, &value, word);
    }
    return message;
}

Replies::Replies(const Batch& batch, std::string message)
    : data_offset_(call_offset(batch.count())), message_(std::move(message)) {
    message_.resize(std::max(message_.size(), data_offset_));
    for (std::size_t i = 0; i < batch.count(); ++i) {
        proc9_call call{};
        std::memcpy(&call, message_.data() + call_offset(i), sizeof call);
        names_.push_back(batch.name_of(i));
        results_.push_back(call.result);
        flags_.push_back(call.flags);
    }
}

core::Result<std::int64_t> Replies::of(std::uint32_t index) const {
    const std::int64_t result = results_[index];
    if (result == PROC9_NOT_RUN) return core::refused(names_[index], ECANCELED);
    if (failed(result)) return core::refused(names_[index], static_cast<int>(-result));
    return result;
}

bool Replies::was_interrupted() const {
    return std::find(results_.begin(), results_.end(), -EINTR) != results_.end();
}

core::Result<> Replies::checked(std::uint32_t from, std::uint32_t to) const {
    for (std::uint32_t i = from; i < results_.size() && i < to; ++i) {
        if (failed(results_[i]) && results_[i] != PROC9_NOT_RUN &&
            (flags_[i] & PROC9_KEEP_GOING) == 0)
            return core::refused(names_[i], static_cast<int>(-results_[i]));
    }
    return {};
}

std::uint64_t Replies::argument(std::uint32_t index, std::size_t place) const {
    proc9_call call{};
    std::memcpy(&call, message_.data() + call_offset(index), sizeof call);
    return call.arguments[place];  // NOLINT: the structure is C's
}

// How much it is may be the stub's word: it is not more than a message has room for.
std::string Replies::data(Batch::Pointer pointer, std::size_t size) const {
    const std::size_t begin = std::min<std::size_t>(data_offset_ + pointer.offset, message_.size());
    const std::size_t most = std::min(size, Batch::capacity);
    std::string bytes = message_.substr(begin, most);
    bytes.resize(most);
    return bytes;
}

}  // namespace proc9::os
