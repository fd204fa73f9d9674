#include <getopt.h>

#include <cctype>

#include "client/p9/command.hpp"

namespace proc9::p9 {
namespace {

// For getopt_long(3), which keeps pointers: the options and the words must outlive it.
struct Grammar {
    std::vector<::option> names;
    std::string letters;
};

Grammar grammar_of(const std::vector<Option>& options, bool stops_at_operand) {
    Grammar grammar{{}, stops_at_operand ? "+" : ""};
    for (const auto& option : options) {
        const auto takes = static_cast<int>(option.takes());
        if (!option.name.empty()) grammar.names.push_back({option.name.c_str(), takes, nullptr, 0});
        if (option.letter != '\0')
            grammar.letters += option.letter + std::string(static_cast<std::size_t>(takes), ':');
    }
    grammar.names.push_back({nullptr, 0, nullptr, 0});
    return grammar;
}

std::string name_of(const std::vector<Option>& options, int letter) {
    for (const auto& option : options) {
        if (option.letter == letter && !option.name.empty()) return option.name;
    }
    return {static_cast<char>(letter)};
}

// `-TERM` and `-9` are `--signal=`.
std::string spelled_out(const std::string& word) {
    const bool is_signal = word.size() > 1 && word[0] == '-' &&
                           (std::isupper(static_cast<unsigned char>(word[1])) != 0 ||
                            std::isdigit(static_cast<unsigned char>(word[1])) != 0);
    return is_signal ? "--signal=" + word.substr(1) : word;
}

std::vector<char*> pointers(std::vector<std::string>& words) {
    std::vector<char*> pointers;
    pointers.reserve(words.size() + 1);
    for (auto& word : words) pointers.push_back(word.data());
    pointers.push_back(nullptr);
    return pointers;
}

void check_number(const Command& command, const Arguments& given) {
    const auto many = given.operands.size();
    if (given.has("help") || (many >= command.least && many <= command.most)) return;
    throw Misuse("usage: p9 " + command.name + " " + command.usage);
}

}  // namespace

std::optional<std::string> Arguments::value(const std::string& option) const {
    std::optional<std::string> found;
    for (const auto& given : options) {
        if (given.option == option) found = given.value;
    }
    return found;
}

Arguments parse(const Command& command, std::vector<std::string> words) {
    const std::vector<Option> options = options_of(command);
    const bool has_anothers_words = command.usage.ends_with("[ARG...]");
    const bool stops_at_operand = has_anothers_words || command.name.empty();
    const Grammar grammar = grammar_of(options, stops_at_operand);
    for (auto& word : words) {
        if (name_of(command.options, 's') == "signal") word = spelled_out(word);
    }
    words.insert(words.begin(), command.name.empty() ? "p9" : "p9 " + command.name);
    std::vector<char*> argv = pointers(words);

    Arguments given;
    ::optind = 0;  // from the start, with another grammar
    int index = 0;
    for (int found = 0;
         (found = ::getopt_long(static_cast<int>(words.size()), argv.data(),
                                grammar.letters.c_str(), grammar.names.data(), &index)) != -1;) {
        if (found == '?') throw Misuse("try: p9 help " + command.name);
        given.options.push_back({found == 0 ? grammar.names[static_cast<std::size_t>(index)].name
                                            : name_of(options, found),
                                 ::optarg ? ::optarg : ""});
    }
    given.operands.assign(argv.begin() + ::optind, argv.end() - 1);
    check_number(command, given);
    return given;
}

}  // namespace proc9::p9
