// What p9 prints for people: columns, colours, sizes. Colours only on a terminal, and not with NO_COLOR.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace proc9::p9 {

enum class Colour { none = 0, bold = 1, dim = 2, red = 31, green = 32, yellow = 33, blue = 34 };

std::string painted(const std::string& text, Colour colour);
std::size_t terminal_width();  // that of a file has no end

// Of the colour, and no wider than the terminal.
struct Row {
    std::vector<std::string> cells;
    Colour colour = Colour::none;
};

// Columns as wide as their widest cell, flush left `<` or right `>`, a character of `flush` each; the last is as it is.
std::string table(const std::vector<Row>& rows, const std::string& flush);

std::string human_size(std::uint64_t bytes);         // 4.0K
std::string human_time(std::uint64_t milliseconds);  // 1:02.34

void complain(const std::string& what);  // on standard error, with p9's name
void print(const nlohmann::ordered_json& value);

}  // namespace proc9::p9
