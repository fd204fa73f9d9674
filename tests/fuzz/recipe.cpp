// What is written to process.json: it is done wholly or not at all, and what is read back can be written.
#include "fs/recipe/recipe.hpp"

#include "tests/fuzz/fixture.hpp"

using namespace proc9;
using fuzz::check_error;
using fuzz::good;
using fuzz::require;
using fuzz::run;

namespace {

struct Kitchen : fuzz::Scene {
    Kitchen() { host.told.emplace(); }

    core::Result<> apply(core::ProcessRef process, std::string text) {
        request.seen_unstopped = nullptr;
        return run(recipe::apply(registry, request, std::move(process), std::move(text)));
    }
    core::Result<std::string> read(core::ProcessRef process) {
        request.seen_unstopped = nullptr;
        return run(recipe::describe(registry, request, std::move(process)));
    }
};

// All that a recipe can have changed.
std::string picture(Kitchen& kitchen, const core::ProcessRef& process) {
    std::string text = good(kitchen.read(process));
    for (const auto& setting : kitchen.host.embryo(process->id()).applied)
        text += fmt::format("{} {}\n", setting.name, core::join_words(setting.words));
    return text;
}

bool ends_within(const std::string& text) {
    recipe::Brackets brackets;
    return brackets.closed(text);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string text(reinterpret_cast<const char*>(data), size);
    (void)ends_within(text);
    Kitchen kitchen;
    const auto process = kitchen.furnish();
    const std::string before = picture(kitchen, process);
    const auto outcome = kitchen.apply(process, text);
    check_error(outcome);
    if (!outcome)
        require(before == picture(kitchen, process),
                "a recipe that is refused has changed nothing");
    kitchen.check();
    require(kitchen.host.living_embryos() == 3, "no copy is left");
    const std::string after = good(kitchen.read(process));
    good(kitchen.apply(process, after));
    const auto other = kitchen.make("");
    good(kitchen.apply(other, after));
    kitchen.check();
    return 0;
}
