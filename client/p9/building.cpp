#include "client/p9/building.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <sstream>

#include "client/p9/mount.hpp"

namespace proc9::p9 {
namespace {

constexpr std::size_t column = 46;  // of the summary, in a line without its indentation

// A usage that does not fit into its column ends with a bracket.
Verb parse_line(const std::string& line) {
    const bool fits = line.size() > column && line[column] == ' ' && line[column - 1] == ' ';
    const std::size_t end = fits ? column : line.rfind("] ") + 1;
    std::string usage = line.substr(0, end);
    usage.erase(usage.find_last_not_of(' ') + 1);
    const std::size_t space = std::min(usage.find(' '), usage.size());
    return {usage.substr(0, space), usage.substr(std::min(space + 1, usage.size())),
            line.substr(line.find_first_not_of(' ', end))};
}

std::vector<Verb> parse_help(const std::string& text) {
    std::vector<Verb> verbs;
    std::istringstream lines(text);
    bool of_process = false;
    for (std::string line; std::getline(lines, line);) {
        if (!line.starts_with("  ")) {
            of_process = line.starts_with("Commands of N/ctl");
        } else if (of_process) {
            verbs.push_back(parse_line(line.substr(2)));
        }
    }
    return verbs;
}

bool same_verb(const Verb& verb, const std::string& name) { return verb.name == name; }

template <typename Predicate>
bool some_form(const std::string& name, Predicate holds) {
    const auto& verbs = building_verbs();
    return std::any_of(verbs.begin(), verbs.end(), [&](const Verb& verb) {
        return same_verb(verb, name) && holds(verb.parameters);
    });
}

bool has_required(const std::string& parameters) {
    return !parameters.empty() && parameters.front() != '[';
}
bool is_more_than_one_word(const std::string& parameters) {
    return parameters.find_first_of(" [") != std::string::npos;
}

// getopt(3) must see all forms take a value if one of them must.
std::string value_of(const Verb& verb) {
    const bool optional = !has_required(verb.parameters) && some_form(verb.name, has_required);
    return optional ? "WORDS" : verb.parameters;
}

}  // namespace

const std::vector<Verb>& building_verbs() {
    static const std::vector<Verb> verbs = parse_help(try_read("help").value_or(""));
    return verbs;
}

std::vector<Option> building_options() {
    std::vector<Option> options;
    for (const auto& verb : building_verbs())
        options.push_back({verb.name, '\0', value_of(verb), verb.summary});
    return options;
}

std::string building_line(const Given& given) {
    if (given.value.empty()) return given.option + '\n';
    const bool is_words = some_form(given.option, is_more_than_one_word);
    return fmt::format("{} {}\n", given.option, is_words ? given.value : quoted(given.value));
}

std::string quoted(const std::string& word) {
    std::string text = "\"";
    for (const char byte : word) {
        if (byte == '"' || byte == '\\') {
            text += {'\\', byte};
        } else if (static_cast<unsigned char>(byte) < ' ') {
            text += fmt::format("\\x{:02x}", static_cast<unsigned char>(byte));
        } else {
            text += byte;
        }
    }
    return text + '"';
}

}  // namespace proc9::p9
