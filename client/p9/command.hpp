// What p9 can be told: a table of commands, each with a table of options. Parsing, `p9 help` and the
// completion of the shells follow from it. A new command is a row in table.cpp and a function.
#pragma once

#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

namespace proc9::p9 {

enum class Value { none, required, optional };  // in getopt_long's order

struct Option {
    std::string name;  // empty: it has a letter only
    char letter = '\0';
    std::string value;  // as help shows it; empty: it takes none
    std::string summary;

    Value takes() const {
        if (value.empty()) return Value::none;
        return value.front() == '[' ? Value::optional : Value::required;
    }
};

// What stands for the operands, so that a shell can complete them.
enum class Operand { nothing, process, processes, file, program, command, shell };

struct Given {
    std::string option;  // its name, or its letter if it has none
    std::string value;
};

struct Arguments {
    std::vector<Given> options;  // in the order in which they were given
    std::vector<std::string> operands;

    bool has(const std::string& option) const { return value(option).has_value(); }
    std::optional<std::string> value(const std::string& option) const;
};

struct Command {
    std::string name;
    std::string usage;
    std::string summary;
    std::size_t least;  // operands
    std::size_t most;
    Operand operand;
    bool
        builds;  // takes every building command of the mount as an option, and a command line of another program
    std::vector<Option> options;
    int (*run)(const Arguments&);
};

const std::vector<Command>& commands();
const Command& program();  // p9 itself: what may stand before the command
const Command* find_command(const std::string& name);  // nullptr: there is none

// The options of its row, those that all commands have, and for one that builds those of the mount.
std::vector<Option> options_of(const Command& command);

// Throws Misuse, having said what is wrong with the words.
Arguments parse(const Command& command, std::vector<std::string> words);

// Why p9 cannot do what it was told; what() is for the user.
struct Problem : std::runtime_error {
    using std::runtime_error::runtime_error;
};
struct Misuse : Problem {
    using Problem::Problem;
};

int run(const Arguments& given);
int efork(const Arguments& given);
int fork(const Arguments& given);
int apply(const Arguments& given);
int ps(const Arguments& given);
int tree(const Arguments& given);
int show(const Arguments& given);
int top(const Arguments& given);
int metrics(const Arguments& given);
int wait(const Arguments& given);
int kill(const Arguments& given);
int load(const Arguments& given);
int tell(const Arguments& given);
int help(const Arguments& given);
int completion(const Arguments& given);

}  // namespace proc9::p9
