#include "fs/core/text.hpp"

#include <algorithm>
#include <charconv>
#include <limits>
#include <numeric>

namespace proc9::core {
namespace {

bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r'; }

int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

}  // namespace

Result<std::string> checked_word(std::string word) {
    if (word.find('\0') != std::string::npos)
        return fail(std::errc::invalid_argument, "a word holds a zero byte");
    return word;
}

namespace {

// Reads `line` from `at`; each function leaves `at` behind what it took.
class Lexer {
public:
    explicit Lexer(std::string_view line) : line_(line) {}

    Result<Words> words() {
        Words found;
        for (skip_blanks(); !done(); skip_blanks()) {
            auto word = TRY(this->word());
            found.push_back(TRY(checked_word(std::move(word))));
        }
        return found;
    }

private:
    [[nodiscard]] bool done() const { return at_ == line_.size(); }
    void skip_blanks() {
        while (!done() && is_blank(line_[at_])) ++at_;
    }

    Result<std::string> word() {
        std::string text;
        while (!done() && !is_blank(line_[at_])) {
            switch (line_[at_]) {
                case '\'': TRY(literal(text)); break;
                case '"': TRY(escaped(text)); break;
                default: text += line_[at_++];
            }
        }
        return text;
    }

    Result<> literal(std::string& text) {
        for (++at_; !done(); ++at_) {
            if (line_[at_] != '\'') {
                text += line_[at_];
            } else if (at_ + 1 < line_.size() && line_[at_ + 1] == '\'') {
                text += line_[at_++];
            } else {
                ++at_;
                return {};
            }
        }
        return fail(std::errc::invalid_argument, "a ' is not closed");
    }

    Result<> escaped(std::string& text) {
        for (++at_; !done(); ++at_) {
            if (line_[at_] == '"') {
                ++at_;
                return {};
            }
            text += line_[at_] == '\\' ? TRY(escape()) : line_[at_];
        }
        return fail(std::errc::invalid_argument, "a \" is not closed");
    }

    Result<char> escape() {
        constexpr std::string_view names = "ntr0\\\"";
        constexpr std::string_view values("\n\t\r\0\\\"", 6);
        if (++at_ == line_.size()) return fail(std::errc::invalid_argument, "a \\ at the end");
        if (const auto i = names.find(line_[at_]); i != std::string_view::npos) return values[i];
        if (line_[at_] == 'x' && at_ + 2 < line_.size()) {
            const int high = hex_digit(line_[at_ + 1]);
            const int low = hex_digit(line_[at_ + 2]);
            if (high >= 0 && low >= 0) {
                at_ += 2;
                return static_cast<char>(high * 16 + low);
            }
        }
        return fail(std::errc::invalid_argument, "unknown escape \\{}", line_[at_]);
    }

    std::string_view line_;
    std::size_t at_ = 0;
};

bool is_hexadecimal(std::string_view word) {
    return !word.empty() &&
           word.find_first_not_of("0123456789abcdefABCDEF") == std::string_view::npos;
}

Result<std::uint64_t> digits(std::string_view word, std::string_view text, int base) {
    std::uint64_t value = 0;
    const auto [end, problem] =
        std::from_chars(text.data(), text.data() + text.size(), value, base);
    if (problem == std::errc::result_out_of_range)
        return fail(std::errc::invalid_argument, "{} does not fit in 64 bits", word);
    if (problem != std::errc{} || end != text.data() + text.size())
        return fail(std::errc::invalid_argument, "{} is not a number{}", requote(word),
                    base != 16 && is_hexadecimal(word) ? fmt::format("; did you mean 0x{}?", word)
                                                       : "");
    return value;
}

std::size_t distance(std::string_view a, std::string_view b) {
    std::vector<std::size_t> row(b.size() + 1);
    std::iota(row.begin(), row.end(), std::size_t{0});
    for (std::size_t i = 1; i <= a.size(); ++i) {
        std::size_t diagonal = std::exchange(row[0], i);
        for (std::size_t j = 1; j <= b.size(); ++j) {
            const std::size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
            diagonal = std::exchange(row[j], std::min({row[j] + 1, row[j - 1] + 1, replaced}));
        }
    }
    return row.back();
}

// Two neighbours changed places, which is what most slips of the fingers are.
bool is_swap(std::string_view a, std::string_view b) {
    if (a.size() != b.size()) return false;
    const auto [first, other] = std::mismatch(a.begin(), a.end(), b.begin());
    if (a.end() - first < 2 || first[0] != other[1] || first[1] != other[0]) return false;
    return std::equal(first + 2, a.end(), other + 2);
}

}  // namespace

Result<Words> split_words(std::string_view line) { return Lexer(line).words(); }

std::string quote_word(std::string_view word) {
    const auto needs_escape = [](char c) { return static_cast<unsigned char>(c) < 0x20; };
    if (std::any_of(word.begin(), word.end(), needs_escape)) {
        std::string text = "\"";
        for (const char c : word) {
            if (needs_escape(c)) {
                text += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
            } else {
                if (c == '"' || c == '\\') text += '\\';
                text += c;
            }
        }
        return text + '"';
    }
    const bool plain = !word.empty() && word.front() != '#' && word.front() != '{' &&
                       word.find_first_of(" '\"") == std::string_view::npos;
    if (plain) return std::string(word);
    std::string text = "'";
    for (const char c : word) {
        text += c;
        if (c == '\'') text += c;
    }
    return text + "'";
}

std::string join_words(std::span<const std::string> words) {
    std::string line;
    for (const auto& word : words) {
        if (!line.empty()) line += ' ';
        line += quote_word(word);
    }
    return line;
}

Result<std::uint64_t> parse_number(std::string_view word) {
    if (word.starts_with("0x") || word.starts_with("0X")) return digits(word, word.substr(2), 16);
    if (word.size() > 1 && word.front() == '0') return digits(word, word.substr(1), 8);
    return digits(word, word, 10);
}

Result<std::uint64_t> parse_size(std::string_view word) {
    constexpr std::string_view units = "KMG";
    const auto unit = word.empty() ? std::string_view::npos : units.find(word.back());
    if (unit == std::string_view::npos) return parse_number(word);
    const std::uint64_t count = TRY(parse_number(word.substr(0, word.size() - 1)));
    const unsigned shift = 10 * (static_cast<unsigned>(unit) + 1);
    if (count > (std::numeric_limits<std::uint64_t>::max() >> shift))
        return fail(std::errc::invalid_argument, "{} does not fit in 64 bits", word);
    return count << shift;
}

Result<std::uint32_t> parse_octal(std::string_view word) {
    const auto value = TRY(digits(word, word, 8));
    if (value > 07777) return fail(std::errc::invalid_argument, "{} is more than 07777", word);
    return static_cast<std::uint32_t>(value);
}

Result<std::uint64_t> parse_number_up_to(std::string_view what, std::string_view word,
                                         std::uint64_t limit) {
    const auto number = TRY(parse_number(word));
    if (number > limit)
        return fail(std::errc::invalid_argument, "{} {} is more than {}", what, word, limit);
    return number;
}

Result<std::int64_t> parse_signed(std::string_view what, std::string_view word, std::int64_t least,
                                  std::int64_t most) {
    std::int64_t value = 0;
    const std::string_view text = word.starts_with('+') ? word.substr(1) : word;
    const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (problem != std::errc{} || end != text.data() + text.size())
        return fail(std::errc::invalid_argument, "{} is not a number", requote(word));
    if (value < least || value > most)
        return fail(std::errc::invalid_argument, "{} {} is not from {} to {}", what, word, least,
                    most);
    return value;
}

Words split_list(std::string_view text) {
    Words parts;
    while (!text.empty()) {
        const auto comma = text.find(',');
        parts.emplace_back(text.substr(0, comma));
        text.remove_prefix(comma == std::string_view::npos ? text.size() : comma + 1);
    }
    return parts;
}

std::string_view nearest(std::string_view word, std::span<const std::string_view> candidates) {
    std::string_view best;
    std::size_t least = std::max<std::size_t>(2, word.size() / 3) + 1;
    for (const auto candidate : candidates) {
        if (is_swap(word, candidate)) return candidate;
        // Of a word as long as a write may be, each comparison would take a while.
        if (word.size() >= candidate.size() + least) continue;
        if (const auto d = distance(word, candidate); d < least) {
            least = d;
            best = candidate;
        }
    }
    return best;
}

std::string requote(std::string_view line) {
    constexpr std::size_t most = 200;
    std::string text = "\"";
    for (const char c : line.substr(0, most)) {
        if (static_cast<unsigned char>(c) < 0x20) {
            text += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
        } else {
            text += c;
        }
    }
    if (line.size() > most) text += "...";
    return text + '"';
}

}  // namespace proc9::core
