// The building commands, as the mount's own `help` lists them: p9 has no list of its own.
#pragma once

#include <string>
#include <vector>

#include "client/p9/command.hpp"

namespace proc9::p9 {

struct Verb {
    std::string name;
    std::string parameters;  // `N open PATH MODE [PERM]`
    std::string summary;
};

// A verb of several forms is several. Nothing if there is no mount, which whoever builds will be told.
const std::vector<Verb>& building_verbs();

// One for each form, all forms of a verb taking a value if one of them must have one.
std::vector<Option> building_options();

// The line for ctl. The value of a verb that has one parameter is that word, whatever is in it;
// otherwise it is words.
std::string building_line(const Given& given);

// A word as ctl reads it back byte for byte.
std::string quoted(const std::string& word);

}  // namespace proc9::p9
