#include "client/elf/refused.hpp"

#include <cerrno>
#include <system_error>

namespace proc9::elf {

void refuse_by_errno(std::string_view what) {
    refuse("{}: {}", what, std::generic_category().message(errno));
}

}  // namespace proc9::elf
