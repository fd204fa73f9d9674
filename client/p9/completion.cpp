// p9 completion: a script for a shell. It asks `p9 completion candidates WORD...` for what the last word may become:
// lines of a candidate, a tab and what it is; or one line `:files` or `:programs`, which the shell knows itself.
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <map>

#include "client/p9/command.hpp"
#include "client/p9/process.hpp"

namespace proc9::p9 {

extern const char* const bash_completion;
extern const char* const zsh_completion;
extern const char* const fish_completion;

namespace {

const std::map<std::string, const char*> scripts = {
    {"bash", bash_completion}, {"zsh", zsh_completion}, {"fish", fish_completion}};

using Candidates = std::map<std::string, std::string>;

Candidates command_candidates() {
    Candidates found;
    for (const auto& command : commands()) found[command.name] = command.summary;
    return found;
}

Candidates process_candidates() {
    Candidates found;
    for (const auto& process : all_processes()) {
        found[process.id] = process.state + ": " + process.command;
        if (!process.name.empty()) found[process.name] = found[process.id];
    }
    return found;
}

Candidates shell_candidates() {
    Candidates found;
    for (const auto& [shell, script] : scripts) found[shell] = "the completion for " + shell;
    return found;
}

Candidates option_candidates(const Command& command) {
    Candidates found;
    for (const auto& option : options_of(command)) {
        if (!option.name.empty()) found.emplace("--" + option.name, option.summary);
        if (option.name.empty()) found.emplace(std::string{'-', option.letter}, option.summary);
    }
    return found;
}

Candidates operand_candidates(const Command& command, std::size_t before) {
    switch (command.operand) {
        case Operand::nothing: return {};
        case Operand::process: return before == 0 ? process_candidates() : Candidates{};
        case Operand::processes: return process_candidates();
        case Operand::file: return before == 0 ? Candidates{{":files", ""}} : process_candidates();
        case Operand::program: return {{before == 0 ? ":programs" : ":files", ""}};
        case Operand::command: return command_candidates();
        case Operand::shell: return shell_candidates();
    }
    return {};
}

// Of the command that the words begin with; a value that an option takes is a file, as most are.
Candidates candidates_of(const Command& command, const std::vector<std::string>& words) {
    const auto options = options_of(command);
    std::size_t operands = 0;
    bool in_value = false;
    bool in_options = true;
    for (std::size_t i = 0; i + 1 < words.size(); ++i) {
        const auto takes_next = [&](const Option& option) {
            return option.takes() == Value::required &&
                   (words[i] == "--" + option.name || words[i] == std::string{'-', option.letter});
        };
        const bool is_option = !in_value && in_options && words[i].starts_with('-');
        if (!is_option && !in_value) ++operands;
        if (words[i] == "--" || (operands > 0 && command.builds)) in_options = false;
        in_value = is_option && std::any_of(options.begin(), options.end(), takes_next);
    }
    if (in_value) return {{":files", ""}};
    if (in_options && words.back().starts_with('-')) return option_candidates(command);
    return operand_candidates(command, operands);
}

Candidates candidates(std::vector<std::string> words) {
    while (words.size() > 2 && (words[0] == "-m" || words[0] == "-H" || words[0] == "--host")) {
        if (words[0] == "-m") ::setenv("PROC9", words[1].c_str(), 1);
        words.erase(words.begin(), words.begin() + 2);
    }
    if (words.empty()) return command_candidates();
    if (words.size() == 1) return candidates_of(program(), words);
    const Command* const command = find_command(words[0]);
    return command ? candidates_of(*command, {words.begin() + 1, words.end()}) : Candidates{};
}

int print_candidates(const std::vector<std::string>& words) {
    const std::string begun = words.empty() ? "" : words.back();
    for (const auto& [candidate, what] : candidates(words)) {
        if (candidate.starts_with(begun) || candidate.starts_with(':'))
            fmt::print("{}\t{}\n", candidate, what);
    }
    return 0;
}

}  // namespace

int completion(const Arguments& given) {
    const std::string& shell = given.operands[0];
    if (shell == "candidates")
        return print_candidates({given.operands.begin() + 1, given.operands.end()});
    const auto found = scripts.find(shell);
    if (found == scripts.end())
        throw Misuse(
            fmt::format("there is a completion for bash, zsh and fish, not for {}", shell));
    fmt::print("{}", found->second);
    return 0;
}

}  // namespace proc9::p9
