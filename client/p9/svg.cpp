// The address space as an image: a column to scale, and beside it a line of text for each region, tied to its place.
#include <fmt/format.h>

#include <algorithm>

#include "client/p9/regions.hpp"

namespace proc9::p9 {
namespace {

constexpr double line_height = 16;
constexpr double top = 40;
constexpr double gap = 6;  // where nothing is mapped: it would leave no room for anything else
constexpr int column_left = 20;
constexpr int column_width = 80;
constexpr int text_left = 160;
constexpr int image_width = 900;

std::string escaped(const std::string& text) {
    std::string safe;
    for (const char byte : text) {
        safe += byte == '<'   ? "&lt;"
                : byte == '>' ? "&gt;"
                : byte == '&' ? "&amp;"
                : byte == '"' ? "&quot;"
                              : std::string{byte};
    }
    return safe;
}

std::string picture_of(const Region& region, double y, double height, double text_y) {
    const double middle = y + height / 2;
    return fmt::format("<rect x=\"{}\" y=\"{:.2f}\" width=\"{}\" height=\"{:.2f}\" fill=\"{}\"/>\n"
                       "<path d=\"M{} {:.2f} L{} {:.2f}\" stroke=\"#999\" fill=\"none\"/>\n"
                       "<text x=\"{}\" y=\"{:.2f}\">{:x}-{:x} {} {} {}</text>\n",
                       column_left, y, column_width, height, shade_of(region).image,
                       column_left + column_width, middle, text_left - 5, text_y - 4, text_left,
                       text_y, region.start, region.end, region.protection,
                       human_size(region.size()), escaped(region.name));
}

std::uint64_t mapped(const std::vector<Region>& regions) {
    std::uint64_t sum = 0;
    for (const auto& region : regions) sum += region.size();
    return std::max<std::uint64_t>(sum, 1);
}

}  // namespace

std::string svg(const std::string& title, const std::vector<Region>& regions) {
    const double text_height = line_height * static_cast<double>(regions.size());
    const double column = std::max(text_height, 400.0);
    const auto scale = column / static_cast<double>(mapped(regions));
    std::string image;
    double y = top;
    double text_y = top + line_height;
    std::uint64_t before = regions.empty() ? 0 : regions.front().start;
    for (const auto& region : regions) {
        if (region.start != before) y += gap;
        const double height = static_cast<double>(region.size()) * scale;
        image += picture_of(region, y, height, text_y);
        y += height;
        text_y += line_height;
        before = region.end;
    }
    return fmt::format("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{}\" height=\"{:.0f}\" "
                       "font-family=\"monospace\" font-size=\"12\">\n"
                       "<text x=\"{}\" y=\"24\" font-size=\"16\">process {}</text>\n{}</svg>\n",
                       image_width, std::max(y, text_y) + line_height, column_left, escaped(title),
                       image);
}

}  // namespace proc9::p9
