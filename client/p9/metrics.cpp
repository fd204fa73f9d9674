// p9 metrics: stats.json in the text format of Prometheus, as its node_exporter collects it from a file.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "client/p9/command.hpp"
#include "client/p9/mount.hpp"

namespace proc9::p9 {
namespace {

using Json = nlohmann::ordered_json;

struct Metric {
    std::string_view name;  // in stats.json
    std::string_view type;
    std::string_view help;
};

constexpr auto table = std::to_array<Metric>({
    {"requests", "counter", "requests of the kernel's file system layer"},
    {"commands", "counter", "commands, written to a ctl or said by files"},
    {"refusals", "counter", "commands that were refused"},
    {"eforks", "counter", "embryos made"},
    {"starts", "counter", "processes started"},
    {"exits", "counter", "processes that have ended"},
    {"processes", "gauge", "processes in the tree"},
    {"pooled", "gauge", "blank processes made ahead"},
    {"batches", "counter", "messages to embryos and zygotes"},
    {"remote_calls", "counter", "system calls made in them"},
    {"kills", "counter", "how often the daemon was killed and went on"},
});

std::string text_of(const Metric& metric, const Json& value) {
    const auto name =
        fmt::format("proc9_{}{}", metric.name, metric.type == "counter" ? "_total" : "");
    auto text = fmt::format("# HELP {0} {1}\n# TYPE {0} {2}\n", name, metric.help, metric.type);
    if (!value.is_object()) return text + fmt::format("{} {}\n", name, value.dump());
    for (const auto& [state, count] : value.items())
        text += fmt::format("{}{{state=\"{}\"}} {}\n", name, state, count.dump());
    return text;
}

}  // namespace

int metrics(const Arguments& /*given*/) {
    const Json figures = Json::parse(read_file("stats.json"));
    for (const auto& metric : table) {
        if (figures.contains(metric.name)) fmt::print("{}", text_of(metric, figures[metric.name]));
    }
    return 0;
}

}  // namespace proc9::p9
