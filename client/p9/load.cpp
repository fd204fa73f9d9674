#include "client/elf/load.hpp"

#include "client/p9/command.hpp"

namespace proc9::p9 {

int load(const Arguments& given) {
    const auto& words = given.operands;
    elf::load(
        {words.front(), {words.begin() + 1, words.end()}, given.has("hold"), given.has("plan")});
    return 0;
}

}  // namespace proc9::p9
