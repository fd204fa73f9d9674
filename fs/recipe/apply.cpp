#include <algorithm>
#include <set>

#include "fs/ctl/dispatch.hpp"
#include "fs/recipe/fields.hpp"
#include "fs/recipe/recipe.hpp"
#include "fs/recipe/schema.hpp"
#include "fs/recipe/source.hpp"

namespace proc9::recipe {
namespace {

using core::done;
using core::fail;
using core::Result;
using core::Task;

// Where a field of a whole config.json is in the flat form.
struct Place {
    const char* config;
    const char* flat;
};
constexpr auto places = std::to_array<Place>({
    {"/root/path", "/proc9/root"},
    {"/hostname", "/proc9/hostname"},
    {"/domainname", "/proc9/domainname"},
    {"/mounts", "/proc9/mounts"},
    {"/linux/namespaces", "/proc9/namespaces"},
    {"/linux/uidMappings", "/proc9/uidMappings"},
    {"/linux/gidMappings", "/proc9/gidMappings"},
    {"/linux/seccomp", "/proc9/seccomp"},
});
constexpr std::string_view files = "/proc9/fds";

Json flattened(Json recipe) {
    Json flat = recipe.contains("process") ? recipe["process"] : recipe;
    if (recipe.contains("proc9")) flat["proc9"] = recipe["proc9"];
    for (const auto& place : places) {
        const Json::json_pointer from(place.config);
        const Json::json_pointer to(place.flat);
        if (recipe.contains(from) && !flat.contains(to)) flat[to] = recipe[from];
    }
    return flat;
}

Result<Steps> steps_of(const Json& recipe) {
    Steps steps;
    for (const auto& field : fields()) {
        const Json::json_pointer pointer{std::string(field.pointer)};
        if (recipe.contains(pointer)) TRY(field.tell(field, recipe[pointer], recipe, steps));
    }
    return steps;
}

core::Error in_field(const Step& step, core::Error error) {
    error.why = fmt::format("{}: {}: {}", step.pointer, step.words.front(), error.why);
    return error;
}

// A recipe that was read from this very process asks for the regions that it has.
bool is_there(core::Process& process, const std::string& own, const Step& step) {
    if (!step.contents.starts_with(own)) return false;
    const auto from = core::parse_address(std::string_view(step.contents).substr(own.size()));
    const auto to = core::parse_address(step.words.at(1));
    return from && to && *from == *to && process.memory.at(*from);
}

struct Kitchen {
    core::Registry& registry;
    core::Request& request;
    std::map<std::string, core::Region> regions;  // whose contents are wanted, by PROCESS:ADDR
};

// Before the process itself is touched: two recipes may copy from each other.
Task<Result<>> fetch(Kitchen& kitchen, const std::string& from) {
    const auto colon = from.find(':');
    const auto process = co_await kitchen.registry.find(from.substr(0, colon));
    co_await core::Registry::check_owner(kitchen.request.who, *process);
    const auto address = co_await core::parse_address(from.substr(colon + 1));
    const auto turn = co_await process->turn(kitchen.request);
    core::Region* const region = process->memory.at(address);
    if (!region)
        co_return fail(std::errc::no_such_file_or_directory, "no region begins at {}", from);
    co_await process->memory.materialise(*region);
    kitchen.regions[from] = *region;
    co_return done();
}

// By the process itself, however much that is.
Task<Result<>> copy(core::Embryo& body, const core::Region& from, core::MemoryRef to) {
    core::Load load;
    load.source = from.object;
    load.object = std::move(to);
    load.origin = core::Address{from.offset};
    for (const auto& extent : from.object->extents(from.offset, from.range.length))
        load.pieces.push_back({core::Address{extent.offset}, extent.length});
    return body.load(std::move(load));
}

Task<Result<>> fill(Kitchen& kitchen, core::Process& process, const Step& step) {
    const core::Region& from = kitchen.regions.at(step.contents);
    const auto address = co_await core::parse_address(step.words.at(1));
    if (from.shared) {
        co_await process.memory.unmap(process.memory.at(address)->range);
        co_await process.memory.adopt(address, from);
        co_return done();
    }
    core::Region* const region = process.memory.at(address);
    co_await process.memory.materialise(*region);
    co_await copy(*process.body, from, region->object);
    co_return done();
}

Task<Result<>> command(Kitchen& kitchen, const core::ProcessRef& process, const Step& step) {
    ctl::Session session{process, false};
    if (step.thread == 0)
        co_return co_await ctl::run_in_turn(kitchen.registry, kitchen.request, session, step.words)
            .result();
    core::Registers registers;
    for (const auto& words : step.registers)
        co_await ctl::set_register(kitchen.registry.host(), registers, words);
    if (process->threads.size() > step.thread) {
        process->threads[step.thread] = std::move(registers);
    } else {
        co_await process->add_thread(std::move(registers));
    }
    co_return done();
}

Task<Result<>> run(Kitchen& kitchen, const core::ProcessRef& process, const Step& step) {
    auto outcome = co_await command(kitchen, process, step).result();
    if (!outcome) co_return in_field(step, std::move(outcome).error());
    co_return done();
}

// A copy of the process takes every step first. What it mounts or calls the machine stays its own. The
// copy of an adopted one would be seen by its parent.
Task<Result<>> rehearse(Kitchen& kitchen, core::Process& original, const Steps& steps) {
    if (original.body->is_adopted()) co_return done();
    auto forked = co_await original.body->fork().result();
    if (!forked && forked.error().code == std::errc::not_supported) co_return done();
    auto body = co_await std::move(forked);
    auto copy = std::make_shared<core::Process>(0, kitchen.registry.host(), std::move(body),
                                                original.owner, original.creator);
    copy->environment = original.environment;
    for (const auto& own : core::Words{"mnt", "uts"}) {
        core::Setting apart{"ns", core::Words{"new", own}};
        (void)co_await copy->body->apply(std::move(apart)).result();
    }
    for (const auto& step : steps) {
        if (step.is_tried) co_await run(kitchen, copy, step);
    }
    co_return done();
}

// Who copies, checks or destroys what was read does so by recursion.
Result<Json> parse(const std::string& text) {
    constexpr int most = 32;
    bool is_too_deep = false;
    const auto look = [&](int depth, Json::parse_event_t /*event*/, Json& /*value*/) {
        is_too_deep |= depth > most;
        return depth <= most;
    };
    const Json recipe = Json::parse(text, look, false);
    if (is_too_deep)
        return fail(std::errc::invalid_argument, "more than {} levels of objects and lists", most);
    if (recipe.is_discarded() || !recipe.is_object())
        return fail(std::errc::invalid_argument, "not a JSON object");
    TRY(check_shape(nlohmann::json(recipe)));
    return flattened(recipe);
}

// Another file of the image has brought about what a step asks for.
bool is_so(core::Process& process, const Step& step) {
    if (step.words.front() == "chroot") return process.body->link("root") == step.words.at(1);
    if (step.words.front() != "map" || step.words.at(1) != "vdso") return false;
    const auto& regions = process.memory.regions();
    return std::any_of(regions.begin(), regions.end(), [](const auto& item) {
        return item.second.kind == core::Region::Kind::kernel;
    });
}

// Takes the steps of that kind. What is refused stays in the list.
Task<Result<>> open_files(Kitchen& kitchen, const core::ProcessRef& process, Steps& steps) {
    Steps left;
    for (auto& step : steps) {
        const bool is_taken =
            step.pointer == files && (co_await run(kitchen, process, step).result()).has_value();
        if (!is_taken) left.push_back(std::move(step));
    }
    steps = std::move(left);
    co_return done();
}

void remember_files(core::Process& process, const Json& recipe) {
    const Json::json_pointer pointer{std::string(files)};
    for (const auto& item : recipe.value(pointer, Json::array()))
        process.extraction.files[item["fd"].get<int>()] = {item["path"].get<std::string>(),
                                                           item.value("cloexec", false)};
}

// An ordinary user's tar drops the bit of the mode that says it.
std::set<std::uint64_t> shared_regions(const Json& recipe) {
    std::set<std::uint64_t> starts;
    const Json::json_pointer place("/proc9/regions");
    if (!recipe.contains(place)) return starts;
    for (const auto& region : recipe[place]) {
        if (!region.value("shared", false) || !region["addr"].is_string()) continue;
        const auto start = core::parse_number(region["addr"].get<std::string>());
        if (start) starts.insert(*start);
    }
    return starts;
}

}  // namespace

Task<Result<>> apply(core::Registry& registry, core::Request& request, core::ProcessRef process,
                     std::string text) {
    Json recipe = co_await parse(text);
    co_await settle_source(registry, recipe);
    Steps steps = co_await steps_of(recipe);
    const std::string own = std::to_string(process->id()) + ":";
    std::erase_if(steps, [&](const Step& step) { return is_there(*process, own, step); });
    Kitchen kitchen{registry, request, {}};
    for (const auto& step : steps) {
        if (step.contents.empty()) continue;
        auto fetched = co_await fetch(kitchen, step.contents).result();
        if (!fetched) co_return in_field(step, std::move(fetched).error());
    }
    const auto turn = co_await process->turn(request);
    co_await rehearse(kitchen, *process, steps);
    for (const auto& step : steps) {
        co_await run(kitchen, process, step);
        if (!step.contents.empty()) co_await fill(kitchen, *process, step);
    }
    co_return done();
}

Task<Result<>> restore(core::Registry& registry, core::Request& request, core::ProcessRef process,
                       std::string text) {
    Json recipe = co_await parse(text);
    const auto shared = shared_regions(recipe);
    keep_of_image(recipe);
    Steps steps = co_await steps_of(recipe);
    std::erase_if(steps, [](const Step& step) { return step.words.front() == "clearenv"; });
    const auto turn = co_await process->turn(request);
    Kitchen kitchen{registry, request, {}};
    // First as who could open them, before the process is that no more.
    co_await open_files(kitchen, process, steps);
    Result<> outcome;
    for (const auto& step : steps) {
        if (is_so(*process, step)) continue;
        auto taken = co_await run(kitchen, process, step).result();
        if (outcome) outcome = std::move(taken);
    }
    remember_files(*process, recipe);
    for (const auto start : shared) {
        core::Region* const region = process->memory.at(core::Address{start});
        if (region && region->kind == core::Region::Kind::anonymous)
            co_await process->memory.share(*region);
    }
    process->extraction.shared = shared;
    co_return outcome;
}

bool Brackets::closed(std::string_view piece) {
    for (const char c : piece) {
        if (is_escaped_) {
            is_escaped_ = false;
        } else if (in_string_) {
            is_escaped_ = c == '\\';
            in_string_ = c != '"';
        } else {
            in_string_ = c == '"';
            depth_ += (c == '{' || c == '[') ? 1 : 0;
            depth_ -= (c == '}' || c == ']') ? 1 : 0;
            if (depth_ == 0 && (c == '}' || c == ']')) return true;
        }
    }
    return false;
}

}  // namespace proc9::recipe
