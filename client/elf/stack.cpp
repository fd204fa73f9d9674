#include "client/elf/stack.hpp"

#include <elf.h>

#include <cstring>

#include "client/elf/refused.hpp"

namespace proc9::elf {
namespace {

constexpr std::uint64_t word_size = sizeof(std::uint64_t);
constexpr std::uint64_t alignment = 16;

std::uint64_t size_of_strings(const Start& start) {
    std::uint64_t size = 0;
    for (const auto* const texts : {&start.arguments, &start.environment}) {
        for (const auto& text : *texts) size += text.size() + 1;
    }
    for (const auto& entry : start.auxiliary) size += entry.text ? entry.text->size() + 1 : 0;
    return size;
}

// One behind the other, upwards: programs that change their title rely on that for the arguments and the environment.
class Strings {
public:
    explicit Strings(Address bottom) : bottom_(bottom) {}

    Address add(const std::string& text) {
        const Address at = bottom_ + bytes_.size();
        bytes_.append(text).push_back('\0');
        return at;
    }
    void add_all(const std::vector<std::string>& texts, std::vector<std::uint64_t>& pointers) {
        for (const auto& text : texts) pointers.push_back(add(text));
        pointers.push_back(0);
    }
    [[nodiscard]] const std::string& bytes() const { return bytes_; }

private:
    Address bottom_;
    std::string bytes_;
};

}  // namespace

Stack build_stack(Address top, std::uint64_t most, const Start& start) {
    const std::uint64_t size = size_of_strings(start) + word_size;  // the last word is zero
    if (size > most) refuse("arguments and environment do not fit into {} bytes of stack", most);
    const Address bottom = top - size;
    Strings strings(bottom);
    std::vector<std::uint64_t> words{start.arguments.size()};
    strings.add_all(start.arguments, words);
    strings.add_all(start.environment, words);
    for (const auto& [type, value, text] : start.auxiliary)
        words.insert(words.end(), {type, text ? strings.add(*text) : value});
    words.insert(words.end(), {AT_NULL, 0});
    const Address pointer = (bottom - words.size() * word_size) & ~(alignment - 1);
    if (top - pointer > most)
        refuse("arguments and environment do not fit into {} bytes of stack", most);
    std::string bytes(bottom - pointer, '\0');
    std::memcpy(bytes.data(), words.data(), words.size() * word_size);
    return {pointer, bytes + strings.bytes() + std::string(word_size, '\0')};
}

}  // namespace proc9::elf
