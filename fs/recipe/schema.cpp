#include "fs/recipe/schema.hpp"

#include <algorithm>
#include <array>
#include <valijson/adapters/nlohmann_json_adapter.hpp>
#include <valijson/schema.hpp>
#include <valijson/schema_parser.hpp>
#include <valijson/validator.hpp>

namespace proc9::recipe {

extern const char* const schema_text;  // process.schema.json, embedded by the build

namespace {

using core::fail;
using core::Result;
using Json = nlohmann::json;

// What the runtime specification knows and we refuse, and what to do instead.
struct Unsupported {
    std::string_view pointer;  // below the process, or from the top
    std::string_view why;
};
constexpr auto unsupported = std::to_array<Unsupported>({
    {"/consoleSize", "is for a terminal that a runtime makes; proc9.tty names one that is there"},
    {"/user/username", "is for Windows; give uid and gid"},
    {"/commandLine", "is for Windows; give args"},
    {"/hooks", "are programs of a runtime; run them before and after"},
    {"/linux/resources",
     "are files of a control group: write them there, and name it in proc9.cgroup"},
    {"/linux/cgroupsPath", "depends on a runtime's cgroup driver; proc9.cgroup takes a directory"},
    {"/linux/devices", "are made by mknod or mounts; say them in mounts"},
    {"/linux/sysctl", "is written to /proc/sys, in a mount of the namespace"},
    {"/linux/maskedPaths", "are mounts: say them in mounts"},
    {"/linux/readonlyPaths", "are mounts: say them in mounts"},
    {"/linux/mountLabel", "belongs into the options of mounts"},
    {"/linux/rootfsPropagation", "is a mount: say it in mounts"},
    {"/linux/intelRdt", "is a file of resctrl: write it there"},
    {"/linux/personality", "is proc9.personality, with all domains and flags"},
    {"/linux/timeOffsets",
     "are written to /proc/PID/timens_offsets before the namespace has a process"},
    {"/linux/memoryPolicy", "is proc9.mempolicy"},
    {"/linux/netDevices", "are moved by ip link"},
    {"/windows", "is another system"},
    {"/solaris", "is another system"},
    {"/vm", "is another machine"},
    {"/zos", "is another system"},
});

// What is there, through objects only: a JSON pointer into an array throws.
const Json* find(const Json& recipe, std::string_view pointer) {
    const Json* at = &recipe;
    while (!pointer.empty()) {
        const auto end = std::min(pointer.find('/', 1), pointer.size());
        const auto next =
            at->is_object() ? at->find(std::string(pointer.substr(1, end - 1))) : at->end();
        if (next == at->end()) return nullptr;
        at = &*next;
        pointer.remove_prefix(end);
    }
    return at;
}

Result<> check_supported(const Json& recipe) {
    for (const std::string prefix : {"", "/process"}) {
        for (const auto& row : unsupported) {
            const std::string pointer = prefix + std::string(row.pointer);
            if (find(recipe, pointer))
                return fail(std::errc::not_supported, "{}: {}", pointer, row.why);
        }
        const std::string terminal = prefix + "/terminal";
        if (const Json* const value = find(recipe, terminal); value && *value == true)
            return fail(std::errc::not_supported,
                        "{}: proc9 makes no terminal; proc9.tty names one that is there", terminal);
    }
    return {};
}

const valijson::Schema& schema() {
    static const auto parsed = [] {
        auto made = std::make_unique<valijson::Schema>();
        const Json document = Json::parse(schema_text);
        valijson::SchemaParser().populateSchema(valijson::adapters::NlohmannJsonAdapter(document),
                                                *made);
        return made;
    }();
    return *parsed;
}

// From `<root>`, `[process]`, `[0]`.
std::string pointer_of(const std::vector<std::string>& context) {
    std::string pointer;
    for (std::size_t i = 1; i < context.size(); ++i)
        pointer += '/' + context[i].substr(1, context[i].size() - 2);
    return pointer.empty() ? "/" : pointer;
}

// std::regex recurses for each character. The beginning tells what a text is; what the rest may be, the command knows.
void shorten(Json& value) {
    constexpr std::size_t most = 4096;  // more than a path may have
    auto* const text = value.get_ptr<Json::string_t*>();
    if (text && text->size() > most) text->resize(most);
    if (!value.is_structured()) return;
    for (auto& item : value) shorten(item);
}

}  // namespace

Result<> check_shape(Json recipe) {
    TRY(check_supported(recipe));
    shorten(recipe);
    valijson::ValidationResults results;
    static valijson::Validator validator(
        valijson::Validator::kStrongTypes);  // keeps what it made of patterns
    if (validator.validate(schema(), valijson::adapters::NlohmannJsonAdapter(recipe), &results))
        return {};
    // The innermost place says most.
    valijson::ValidationResults::Error worst;
    for (const auto& error : results) {
        if (error.context.size() > worst.context.size()) worst = error;
    }
    return fail(std::errc::invalid_argument, "{}: {}", pointer_of(worst.context),
                worst.description);
}

}  // namespace proc9::recipe
