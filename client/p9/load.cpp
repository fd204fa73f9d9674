#include "client/elf/load.hpp"

#include "client/p9/command.hpp"
#include "client/p9/host.hpp"

namespace proc9::p9 {

int load(const Arguments& given) {
    if (!host().empty())
        throw Problem("load looks at /proc, and that of the other host is not here");
    const auto& words = given.operands;
    elf::load(
        {words.front(), {words.begin() + 1, words.end()}, given.has("hold"), given.has("plan")});
    return 0;
}

}  // namespace proc9::p9
