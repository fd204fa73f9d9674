// process.json: all that a process is made of, as one JSON object in the words of the OCI runtime
// specification's `process`, with a `proc9` object for what that does not know. fields.cpp says
// which field is which command, process.schema.json what may stand in them.
#pragma once

#include "fs/ctl/command.hpp"

namespace proc9::recipe {

// The recipe that would make an equal process.
core::Task<core::Result<std::string>> describe(core::Registry& registry, core::Request& request,
                                               core::ProcessRef process);

// Checks the whole text, tries it on a copy of the process, and then does it; or nothing at all.
// The reason of a refusal begins with the JSON pointer of the field.
core::Task<core::Result<>> apply(core::Registry& registry, core::Request& request,
                                 core::ProcessRef process, std::string text);

// What an image holds of it, written into an embryo while the other files of the image may be there or
// not yet: all that can be done is done. The first refusal, if any.
core::Task<core::Result<>> restore(core::Registry& registry, core::Request& request,
                                   core::ProcessRef process, std::string text);

// Tells where an object that arrives in pieces ends.
class Brackets {
public:
    [[nodiscard]] bool closed(std::string_view piece);  // it ends in this piece

private:
    int depth_ = 0;
    bool in_string_ = false;
    bool is_escaped_ = false;
};

}  // namespace proc9::recipe
