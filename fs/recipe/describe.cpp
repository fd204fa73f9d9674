#include <sstream>

#include "fs/recipe/fields.hpp"
#include "fs/recipe/recipe.hpp"
#include "fs/recipe/source.hpp"

namespace proc9::recipe {
namespace {

using core::Result;
using core::Task;

Json environment_of(const core::Process& process) {
    Json list = Json::array();
    for (const auto& word : process.environment.words()) list.push_back(word);
    return list;
}

// What the kernel tells of a descriptor: how it was opened, where it is, and whether exec closes it.
struct Opened {
    std::uint64_t position = 0;
    std::uint64_t bits = 0;
    explicit Opened(const std::string& text)
        : position(core::parse_number(value_of(text, "pos:")).value_or(0)),
          bits(core::parse_number(value_of(text, "flags:")).value_or(0)) {}

    // Of a file that is there: none is made, and none is emptied.
    [[nodiscard]] std::string mode() const {
        constexpr std::uint64_t append = 02000;
        constexpr std::uint64_t non_blocking = 04000;
        const bool reads = (bits & 3U) != 1;
        const bool writes = (bits & 3U) != 0;
        std::string mode = (bits & append) != 0 && writes ? "a" : reads ? "r" : "w";
        if (reads && writes) mode += "+";
        if ((bits & non_blocking) != 0) mode += "n";
        return mode.front() == 'r' ? mode : mode + "k";
    }
    [[nodiscard]] bool closes_on_exec() const { return (bits & 02000000U) != 0; }

private:
    static std::string value_of(const std::string& text, const std::string& key) {
        std::istringstream words(text);
        for (std::string word, value; words >> word >> value;) {
            if (word == key) return value;
        }
        return {};
    }
};

Result<Json> descriptors_of(core::Process& process) {
    Json list = Json::array();
    for (const int number : TRY(process.body->descriptors())) {
        const Opened opened(process.body->text(fmt::format("fdinfo/{}", number)).value_or(""));
        list.push_back({{"fd", number},
                        {"path", process.body->descriptor_target(number).value_or("?")},
                        {"mode", opened.mode()},
                        {"pos", opened.position},
                        {"from", fmt::format("{}:{}", process.id(), number)},
                        {"cloexec", opened.closes_on_exec()}});
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
        if (region.range.length == 0) continue;
        list.push_back({{"addr", fmt::format("{:#x}", start)},
                        {"len", region.range.length},
                        {"prot", region.protection.text()},
                        {"shared", region.shared},
                        {"from", fmt::format("{}:{:#x}", process.id(), start)}});
    }
    return list;
}

Json registers_of(const core::Registers& registers) {
    Json all = Json::object();
    for (const auto& [name, value] : registers) {
        if (value != 0) all[name] = fmt::format("{:#x}", value);
    }
    return all;
}

Json more_threads_of(const core::Process& process) {
    Json list = Json::array();
    for (std::size_t i = 1; i < process.threads.size(); ++i)
        list.push_back(registers_of(process.threads[i]));
    return list;
}

Settings named(const Settings& all, std::string_view name) {
    Settings found;
    for (const auto& setting : all) {
        if (setting.name == name) found.push_back(setting);
    }
    return found;
}

}  // namespace

Task<Result<std::string>> describe(core::Registry& registry, core::Request& request,
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
    recipe["proc9"]["registers"] = registers_of(process->threads.front());
    recipe["proc9"]["threads"] = more_threads_of(*process);
    recipe["proc9"]["source"] = source_of(registry, *process);
    // Any bytes may be a variable or an argument, but not a text in JSON.
    co_return recipe.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace proc9::recipe
