#include "fs/recipe/fields.hpp"
#include "fs/recipe/recipe.hpp"

namespace proc9::recipe {
namespace {

using core::Result;
using core::Task;

Json environment_of(const core::Process& process) {
    Json list = Json::array();
    for (const auto& word : process.environment.words()) list.push_back(word);
    return list;
}

// What the kernel tells of a descriptor: how it was opened, and whether exec closes it.
struct Flags {
    std::uint64_t bits = 0;
    explicit Flags(const std::string& text) {
        constexpr std::string_view key = "flags:\t";
        const auto at = text.find(key);
        if (at != std::string::npos)
            bits = core::parse_number(
                       text.substr(at + key.size(), text.find('\n', at) - at - key.size()))
                       .value_or(0);
    }
    [[nodiscard]] std::string mode() const {
        constexpr std::uint64_t append = 02000;
        const bool reads = (bits & 3U) != 1;
        const bool writes = (bits & 3U) != 0;
        if (!writes) return "r";
        const std::string way = (bits & append) != 0 ? "a" : reads ? "r" : "w";
        return way + (reads ? "+" : "");
    }
    [[nodiscard]] bool closes_on_exec() const { return (bits & 02000000U) != 0; }
};

Result<Json> descriptors_of(core::Process& process) {
    Json list = Json::array();
    for (const int number : TRY(process.body->descriptors())) {
        const Flags flags(process.body->text(fmt::format("fdinfo/{}", number)).value_or(""));
        list.push_back({{"fd", number},
                        {"path", process.body->descriptor_target(number).value_or("?")},
                        {"mode", flags.mode()},
                        {"from", fmt::format("{}:{}", process.id(), number)},
                        {"cloexec", flags.closes_on_exec()}});
    }
    return list;
}

std::string name_at(const std::vector<core::MappedLine>& lines, core::Address start) {
    for (const auto& line : lines) {
        if (line.range.start == start) return line.name;
    }
    return {};
}

Result<Json> regions_of(core::Process& process) {
    const auto lines = TRY(process.body->maps());
    Json list = Json::array();
    bool has_vdso = false;
    for (const auto& [start, region] : process.memory.regions()) {
        if (region.kind == core::Region::Kind::kernel) {
            const bool is_vdso = name_at(lines, region.range.start) == "[vdso]";
            if (!has_vdso) list.push_back({{"addr", fmt::format("{:#x}", start)}, {"vdso", true}});
            has_vdso |= is_vdso || !has_vdso;
            continue;
        }
        list.push_back({{"addr", fmt::format("{:#x}", start)},
                        {"len", region.range.length},
                        {"prot", region.protection.text()},
                        {"shared", region.shared},
                        {"from", fmt::format("{}:{:#x}", process.id(), start)}});
    }
    return list;
}

Json registers_of(const core::Process& process) {
    Json all = Json::object();
    for (const auto& [name, value] : process.threads.front())
        all[name] = fmt::format("{:#x}", value);
    return all;
}

Settings named(const Settings& all, std::string_view name) {
    Settings found;
    for (const auto& setting : all) {
        if (setting.name == name) found.push_back(setting);
    }
    return found;
}

}  // namespace

Task<Result<std::string>> describe(core::Registry& /*registry*/, core::Request& request,
                                   core::ProcessRef process) {
    std::optional<core::Process::Turn> turn;
    if (process->state() == core::Process::State::embryo)
        turn.emplace(co_await process->turn(request));
    const Settings settings = co_await process->body->settings();
    Json recipe;
    recipe["args"] = process->arguments;
    recipe["env"] = environment_of(*process);
    recipe["cwd"] = co_await process->body->link("cwd");
    recipe["noNewPrivileges"] = false;
    for (const auto& field : fields()) {
        const Settings mine = named(settings, field.command);
        if (!field.show || mine.empty()) continue;
        Json value = field.show(field, mine);
        if (!value.is_null())
            recipe[Json::json_pointer(std::string(field.pointer))] = std::move(value);
    }
    recipe["proc9"]["fds"] = co_await descriptors_of(*process);
    recipe["proc9"]["regions"] = co_await regions_of(*process);
    recipe["proc9"]["registers"] = registers_of(*process);
    co_return recipe.dump(2) + "\n";
}

}  // namespace proc9::recipe
