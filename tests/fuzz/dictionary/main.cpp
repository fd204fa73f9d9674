// Prints a dictionary for libFuzzer: the words of the tables of commands, files and fields, and their examples.
#include <cstdio>
#include <set>

#include "fs/core/signals.hpp"
#include "fs/ctl/command.hpp"
#include "fs/node/file_table.hpp"
#include "fs/recipe/fields.hpp"

namespace {

using proc9::ctl::Parameter;

std::string escaped(std::string_view text) {
    std::string all;
    for (const char c : text)
        all += fmt::format("\\x{:02x}", static_cast<unsigned>(static_cast<unsigned char>(c)));
    return all;
}

}  // namespace

int main() {
    std::set<std::string> words{"ls",     "sort", "0x600000", "4096", "64K",
                                "self:0", "101",  "fd:1",     "\xff"};
    for (const auto& command : proc9::ctl::commands()) {
        words.emplace(command.name);
        words.emplace(command.example);
        for (const Parameter& parameter : command.parameters) {
            if (parameter.name.empty()) continue;
            words.emplace(parameter.name);
            if (parameter.kind == Parameter::Kind::assign)
                words.insert(fmt::format(" {}=", parameter.name));
        }
    }
    for (const auto files : {proc9::node::root_files(), proc9::node::process_files()}) {
        for (const auto& row : files) words.emplace(row.name);
    }
    for (const auto& field : proc9::recipe::fields()) {
        std::string_view rest = field.pointer;
        while (!rest.empty()) {
            rest.remove_prefix(1);
            const auto end = std::min(rest.find('/'), rest.size());
            words.insert(fmt::format("\"{}\"", rest.substr(0, end)));
            rest.remove_prefix(end);
        }
    }
    for (const auto& word : words) fmt::print("\"{}\"\n", escaped(word));
}
