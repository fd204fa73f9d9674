// p9 help: from the tables, and for a command that builds from the mount.
#include <fmt/format.h>

#include "client/p9/building.hpp"
#include "client/p9/command.hpp"
#include "client/p9/mount.hpp"

namespace proc9::p9 {
namespace {

std::string spelled(const Option& option) {
    const std::string letter =
        option.letter == '\0' ? "   "
                              : fmt::format("-{}{}", option.letter, option.name.empty() ? "" : ",");
    const std::string name = option.name.empty() ? "" : " --" + option.name;
    return fmt::format("  {}{}{}{}", letter, name, option.value.empty() ? "" : " ", option.value);
}

// The summary stands beside what it is of, or below if that is too long.
std::string entry(const std::string& what, const std::string& summary) {
    constexpr std::size_t column = 38;
    const bool fits = what.size() + 2 <= column;
    return fmt::format("{:<{}}{}{:>{}}{}\n", what, fits ? column : 0, fits ? "" : "\n", "",
                       fits ? 0 : column, summary);
}

std::string list_of(const std::vector<Option>& options) {
    std::string text;
    for (const auto& option : options) text += entry(spelled(option), option.summary);
    return text;
}

// As it is written: what is no single word is in quotes, what may be left out is behind a =.
std::string spelled(const Verb& verb) {
    const bool is_word = verb.parameters.find_first_of(" [") == std::string::npos;
    if (verb.parameters.empty()) return "--" + verb.name;
    if (is_word) return fmt::format("--{} {}", verb.name, verb.parameters);
    const char between = verb.parameters.front() == '[' ? '=' : ' ';
    return fmt::format("--{}{}'{}'", verb.name, between, verb.parameters);
}

std::string building_list() {
    std::string text;
    for (const auto& verb : building_verbs()) text += entry("      " + spelled(verb), verb.summary);
    return text.empty() ? "  no proc9 is mounted here that could list them\n" : text;
}

int help_of_program() {
    fmt::print("usage: p9 {}\n\n{}.\n\n", program().usage, program().summary);
    for (const auto& command : commands())
        fmt::print("{}",
                   entry(fmt::format("  {} {}", command.name, command.usage), command.summary));
    fmt::print("\n{}", list_of(options_of(program())));
    return 0;
}

int help_of(const Command& command) {
    std::vector<Option> own = command.options;
    own.push_back({"help", 'h', "", "what it does and takes"});
    fmt::print("usage: p9 {} {}\n\n{}\n\n{}", command.name, command.usage, command.summary,
               list_of(own));
    if (command.builds) fmt::print("\nThe commands of {}:\n{}", path_of("N/ctl"), building_list());
    return 0;
}

}  // namespace

int help(const Arguments& given) {
    if (given.operands.empty()) return help_of_program();
    const Command* const command = find_command(given.operands[0]);
    if (!command)
        throw Misuse(fmt::format("there is no command {}: p9 help lists them", given.operands[0]));
    return help_of(*command);
}

}  // namespace proc9::p9
