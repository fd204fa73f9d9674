// A command is a row: what it is called, what it takes, when it may be said, what it does. Usage
// texts, help, the JSON form and the tests are made from the rows.
#pragma once

#include <array>
#include <map>
#include <span>
#include <string>
#include <string_view>

#include "fs/core/registry.hpp"

namespace proc9::ctl {

// One thing behind a command's name. `name` is also its key in the JSON form, in lower case.
struct Parameter {
    enum class Kind {
        none,
        word,      // ADDR
        optional,  // [ADDR]
        literal,   // open; in JSON "op":"open"
        flag,      // [shared]; in JSON "shared":true
        keyword,   // [file PATH], with `value`; in JSON "file":"/bin/x"
        assign,    // [sp=ADDR], with `value`; in any order
        rest,      // ARG...; in JSON an array
    };
    Kind kind = Kind::none;
    std::string_view name;
    std::string_view value;
};
using Parameters = std::array<Parameter, 9>;

// What a command was given, by the names of its parameters in lower case.
class Arguments {
public:
    void set(std::string_view name, std::string value) {
        words_.push_back(value);
        values_[std::string(name)] = std::move(value);
    }
    void set_assignment(std::string_view name, std::string value) {
        words_.push_back(fmt::format("{}={}", name, value));
        values_[std::string(name)] = std::move(value);
    }
    void set_literal(std::string_view name) { words_.emplace_back(name); }
    void append(std::string word) {
        words_.push_back(word);
        rest_.push_back(std::move(word));
    }

    [[nodiscard]] bool has(std::string_view name) const { return values_.contains(name); }
    [[nodiscard]] const std::string& operator[](std::string_view name) const;  // empty if not given
    [[nodiscard]] const core::Words& rest() const { return rest_; }
    // All of it, as one would write it behind the command's name.
    [[nodiscard]] const core::Words& words() const { return words_; }

    [[nodiscard]] core::Result<core::Address> address(std::string_view name) const;
    [[nodiscard]] core::Result<std::uint64_t> size(std::string_view name) const;
    [[nodiscard]] core::Result<int> descriptor(std::string_view name) const;

private:
    std::map<std::string, std::string, std::less<>> values_;
    core::Words rest_;
    core::Words words_;
};

// What an open ctl file is for: the root's until it made a process, then that process's too.
struct Session {
    core::ProcessRef process;
    bool is_root = false;
    bool kills_on_close = false;  // the process dies when the file is closed
};

// One command under way. Lives as long as the command runs.
struct Invocation {
    core::Request& request;
    core::Registry& registry;
    Session& session;
    std::string_view command;  // its name
    const Arguments& arguments;
    std::vector<core::Setting>* before = nullptr;  // settings that exec is to apply first

    [[nodiscard]] core::Process& process() const { return *session.process; }
    [[nodiscard]] core::Embryo& body() const { return *session.process->body; }
    [[nodiscard]] core::AddressSpace& memory() const { return session.process->memory; }
};

// The process that a command speaks of: self (the writer), an id, or a name. ENOENT.
core::Result<core::Pid> process_named(const Invocation& call, const std::string& who);

using Outcome = core::Task<core::Result<>>;

enum class When {
    root,      // on the root's ctl
    building,  // an embryo, in its turn
    always,    // any process, without waiting for its turn
};

struct Command {
    std::string_view name;
    Parameters parameters;
    When when;
    Outcome (*run)(Invocation invocation);
    std::string_view summary;
    std::string_view example;
};

std::span<const Command> commands();  // sorted by name; a name may have several forms
std::string usage(const Command& command);
bool is_setting(const Command& command);  // one that only the host knows the meaning of

}  // namespace proc9::ctl
