#include "client/elf/plan.hpp"

namespace proc9::elf {

std::string quote_word(std::string_view word) {
    std::string text = "\"";
    for (const char byte : word) {
        if (byte == '"' || byte == '\\') text += '\\';
        if (static_cast<unsigned char>(byte) < ' ')
            text += fmt::format("\\x{:02x}", static_cast<unsigned>(byte));
        else
            text += byte;
    }
    return text + '"';
}

}  // namespace proc9::elf
