#include "fs/recipe/fields.hpp"

#include <algorithm>
#include <array>

namespace proc9::recipe {
namespace {

using core::fail;
using core::Result;
using core::Words;

// ---------------------------------------------------------------------------------------------
// Shapes: how the words of a command look as JSON

std::string text_of(const Json& value) {
    return value.is_string() ? value.get<std::string>() : value.dump();
}

Words words_of(std::string_view command, const Json& list) {
    Words words{std::string(command)};
    for (const auto& item : list) words.push_back(text_of(item));
    return words;
}

void add(Steps& steps, const Field& field, Words words) {
    steps.push_back({std::move(words), std::string(field.pointer)});
}

// true
Result<> tell_flag(const Field& field, const Json& value, const Json&, Steps& steps) {
    if (value == true) add(steps, field, {std::string(field.command)});
    return {};
}
Json show_flag(const Field&, const Settings&) { return true; }

// "0x33", 5
Result<> tell_word(const Field& field, const Json& value, const Json&, Steps& steps) {
    add(steps, field, {std::string(field.command), text_of(value)});
    return {};
}
Json show_word(const Field&, const Settings& settings) { return settings.back().words.at(0); }
Json show_number(const Field&, const Settings& settings) {
    return std::stoll(settings.back().words.at(0));
}

// ["USR1", "HUP"]
Result<> tell_words(const Field& field, const Json& value, const Json&, Steps& steps) {
    add(steps, field, words_of(field.command, value));
    return {};
}
Json show_words(const Field&, const Settings& settings) { return settings.back().words; }

// {"thp": "off"}
Result<> tell_pairs(const Field& field, const Json& value, const Json&, Steps& steps) {
    for (const auto& [key, item] : value.items())
        add(steps, field, {std::string(field.command), key, text_of(item)});
    return {};
}
Json show_pairs(const Field&, const Settings& settings) {
    Json pairs = Json::object();
    for (const auto& setting : settings) pairs[setting.words.at(0)] = setting.words.at(1);
    return pairs;
}

// ["/sys/fs/cgroup/memory/job", "/sys/fs/cgroup/pids/job"]: a command each
Result<> tell_each(const Field& field, const Json& value, const Json&, Steps& steps) {
    for (const auto& item : value.is_array() ? value : Json::array({value}))
        add(steps, field, {std::string(field.command), text_of(item)});
    return {};
}
Json show_each(const Field&, const Settings& settings) {
    Json list = Json::array();
    for (const auto& setting : settings) list.push_back(setting.words.at(0));
    return list;
}

// ---------------------------------------------------------------------------------------------
// The OCI runtime specification's own shapes

struct Spelling {
    std::string_view oci;
    std::string_view ours;
};

template <std::size_t size>
std::string ours(const std::array<Spelling, size>& table, const std::string& oci) {
    const auto* const row =
        std::find_if(table.begin(), table.end(), [&](const auto& item) { return item.oci == oci; });
    return row == table.end() ? oci : std::string(row->ours);
}

template <std::size_t size>
std::string oci(const std::array<Spelling, size>& table, const std::string& ours) {
    const auto* const row = std::find_if(table.begin(), table.end(),
                                         [&](const auto& item) { return item.ours == ours; });
    return row == table.end() ? ours : std::string(row->oci);
}

std::string upper(std::string text) {
    std::transform(text.begin(), text.end(), text.begin(),
                   [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
    return text;
}

Result<> tell_id(const Field& field, const Json& value, const Json& recipe, Steps& steps) {
    // proc9.uid and proc9.gid say all three, and after a change there may be no second one.
    const Json::json_pointer all("/proc9/" + std::string(field.command));
    if (!recipe.contains(all)) add(steps, field, {std::string(field.command), text_of(value)});
    return {};
}
Json show_id(const Field&, const Settings& settings) {
    return std::stoull(settings.back().words.at(0));
}
Json show_three_ids(const Field&, const Settings& settings) {
    const Words& words = settings.back().words;
    const bool differ = std::any_of(words.begin(), words.end(),
                                    [&](const auto& word) { return word != words.front(); });
    Json list;
    if (!differ) return list;
    for (const auto& word : words) list.push_back(std::stoull(word));
    return list;
}

Json show_numbers(const Field&, const Settings& settings) {
    Json list = Json::array();
    for (const auto& word : settings.back().words) list.push_back(std::stoull(word));
    return list;
}

Result<> tell_umask(const Field& field, const Json& value, const Json&, Steps& steps) {
    add(steps, field, {std::string(field.command), fmt::format("{:o}", value.get<unsigned>())});
    return {};
}
Json show_umask(const Field&, const Settings& settings) {
    constexpr int octal = 8;
    return std::stoul(settings.back().words.at(0), nullptr, octal);
}

// The largest number and -1 are the kernel's RLIM_INFINITY.
std::string limit_text(const Json& value) {
    if (value == -1 || value == ~0ULL) return "unlimited";
    return text_of(value);
}

Result<> tell_limits(const Field& field, const Json& value, const Json&, Steps& steps) {
    for (const auto& limit : value)
        add(steps, field,
            {std::string(field.command), limit["type"],
             fmt::format("{}:{}", limit_text(limit["soft"]), limit_text(limit["hard"]))});
    return {};
}
Json show_limits(const Field&, const Settings& settings) {
    const auto number = [](const std::string& word) -> std::uint64_t {
        return word == "unlimited" ? ~0ULL : std::stoull(word);
    };
    Json list = Json::array();
    for (const auto& setting : settings) {
        const std::string& both = setting.words.at(1);
        const auto colon = both.find(':');
        list.push_back({{"type", "RLIMIT_" + setting.words.at(0)},
                        {"soft", number(both.substr(0, colon))},
                        {"hard", number(both.substr(colon + 1))}});
    }
    return list;
}

std::string set_of(const Field& field) {
    return std::string(field.pointer.substr(field.pointer.rfind('/') + 1));
}

Result<> tell_capabilities(const Field& field, const Json& value, const Json&, Steps& steps) {
    Words words{std::string(field.command), set_of(field), "-all"};
    for (const auto& name : value) words.push_back("+" + name.get<std::string>());
    add(steps, field, std::move(words));
    return {};
}
Json show_capabilities(const Field& field, const Settings& settings) {
    const std::string set = set_of(field);
    const auto last = std::find_if(settings.rbegin(), settings.rend(),
                                   [&](const auto& setting) { return setting.words.at(0) == set; });
    if (last == settings.rend()) return nullptr;
    Json list = Json::array();
    for (const auto& word : last->words) {
        if (word.starts_with('+')) list.push_back("CAP_" + upper(word.substr(1)));
    }
    return list;
}

// A change of ids from root takes all capabilities but those that are kept over it, and of those the
// effective ones come back only when they are asked for.
bool keeps_capabilities(const Json& permitted, const Json& recipe) {
    const Json one = recipe.value("/user/uid"_json_pointer, Json(0));
    const Json three = recipe.value("/proc9/uid"_json_pointer, Json::array({one}));
    return three.front() != 0 && !permitted.empty();
}

Result<> tell_keep(const Field& field, const Json& value, const Json& recipe, Steps& steps) {
    if (keeps_capabilities(value, recipe)) add(steps, field, {"securebits", "keep-caps"});
    return {};
}

Result<> tell_regain(const Field& field, const Json& value, const Json& recipe, Steps& steps) {
    if (!keeps_capabilities(value, recipe)) return {};
    add(steps, field, {"caps", "effective", "+all"});
    add(steps, field,
        words_of("securebits", recipe.value("/proc9/securebits"_json_pointer, Json::array())));
    return {};
}

constexpr std::array<Spelling, 6> policies = {{{"SCHED_OTHER", "other"},
                                               {"SCHED_FIFO", "fifo"},
                                               {"SCHED_RR", "rr"},
                                               {"SCHED_BATCH", "batch"},
                                               {"SCHED_IDLE", "idle"},
                                               {"SCHED_DEADLINE", "deadline"}}};

Result<> tell_scheduler(const Field& field, const Json& value, const Json&, Steps& steps) {
    if (!value.contains("policy")) return {};
    Words words{std::string(field.command), ours(policies, value["policy"])};
    if (value.contains("priority")) words.push_back(text_of(value["priority"]));
    for (const auto& flag : value.value("flags", Json::array())) {
        if (flag == "SCHED_FLAG_RESET_ON_FORK") words.emplace_back("reset-on-fork");
    }
    for (const std::string key : {"runtime", "deadline", "period"}) {
        if (value.contains(key)) words.push_back(key + "=" + text_of(value[key]));
    }
    add(steps, field, std::move(words));
    return {};
}
Json show_scheduler(const Field&, const Settings& settings) {
    const Words& words = settings.back().words;
    Json scheduler{{"policy", oci(policies, words.at(0))}};
    for (std::size_t i = 1; i < words.size(); ++i) {
        const auto equals = words[i].find('=');
        if (words[i] == "reset-on-fork") {
            scheduler["flags"] = Json::array({"SCHED_FLAG_RESET_ON_FORK"});
        } else if (equals != std::string::npos) {
            scheduler[words[i].substr(0, equals)] = std::stoull(words[i].substr(equals + 1));
        } else {
            scheduler["priority"] = std::stoi(words[i]);
        }
    }
    return scheduler;
}

constexpr std::array<Spelling, 3> io_classes = {{{"IOPRIO_CLASS_RT", "realtime"},
                                                 {"IOPRIO_CLASS_BE", "best-effort"},
                                                 {"IOPRIO_CLASS_IDLE", "idle"}}};

Result<> tell_io_priority(const Field& field, const Json& value, const Json&, Steps& steps) {
    Words words{std::string(field.command), ours(io_classes, value["class"])};
    if (words.back() != "idle" && value.contains("priority"))
        words.push_back(text_of(value["priority"]));
    add(steps, field, std::move(words));
    return {};
}
Json show_io_priority(const Field&, const Settings& settings) {
    const Words& words = settings.back().words;
    if (words.at(0) == "none") return nullptr;
    return {{"class", oci(io_classes, words[0])},
            {"priority", words.size() > 1 ? std::stoi(words[1]) : 0}};
}

// ---------------------------------------------------------------------------------------------
// Namespaces, mounts, terminal, confinement

constexpr std::array<Spelling, 2> kinds = {{{"network", "net"}, {"mount", "mnt"}}};

Result<> tell_namespaces(const Field& field, const Json& value, const Json&, Steps& steps) {
    std::string fresh;
    for (const auto& item : value) {
        const std::string kind = ours(kinds, item["type"]);
        if (item.contains("path")) {
            add(steps, field, {"ns", "join", kind, item["path"]});
        } else {
            fresh += (fresh.empty() ? "" : ",") + kind;
        }
    }
    if (!fresh.empty()) add(steps, field, {"ns", "new", fresh});
    return {};
}
Json show_namespaces(const Field&, const Settings& settings) {
    Json list = Json::array();
    for (const auto& setting : settings)
        list.push_back({{"type", oci(kinds, setting.words.at(1))}, {"path", setting.words.at(2)}});
    return list;
}

std::string kind_of_map(const Field& field) {
    return field.pointer.ends_with("uidMappings") ? "uid" : "gid";
}

Result<> tell_id_map(const Field& field, const Json& value, const Json&, Steps& steps) {
    Words words{std::string(field.command), kind_of_map(field)};
    for (const auto& item : value) {
        for (const auto* const key : {"containerID", "hostID", "size"})
            words.push_back(text_of(item[key]));
    }
    add(steps, field, std::move(words));
    return {};
}

Result<> tell_mounts(const Field& field, const Json& value, const Json&, Steps& steps) {
    for (const auto& item : value) {
        const std::string type = item.value("type", "bind");
        Words words{std::string(field.command), item.value("source", type), item["destination"],
                    type};
        std::string options;
        for (const auto& option : item.value("options", Json::array()))
            options += (options.empty() ? "" : ",") + option.get<std::string>();
        if (!options.empty()) words.push_back(options);
        add(steps, field, std::move(words));
    }
    return {};
}

// A session that ends hangs up its terminal, so the copy must not have it.
Result<> tell_terminal(const Field& field, const Json& value, const Json&, Steps& steps) {
    Words words{std::string(field.command), value["path"]};
    if (value.value("foreground", false)) words.emplace_back("foreground");
    steps.push_back({std::move(words), std::string(field.pointer), false});
    return {};
}

// Either ours, {"allow": [...]}, {"deny": [...]} or {"file": "..."}, or that of `linux`.
Result<> tell_seccomp(const Field& field, const Json& value, const Json&, Steps& steps) {
    if (value.contains("file")) {
        add(steps, field, {std::string(field.command), value["file"]});
        return {};
    }
    const bool is_oci = value.contains("defaultAction");
    const bool allows =
        is_oci ? value["defaultAction"] != "SCMP_ACT_ALLOW" : value.contains("allow");
    Words words{std::string(field.command), allows ? "allow" : "deny"};
    if (!is_oci) {
        for (const auto& name : value[words.back()]) words.push_back(name);
    }
    for (const auto& rule : value.value("syscalls", Json::array())) {
        if ((rule["action"] == "SCMP_ACT_ALLOW") != allows)
            return fail(std::errc::not_supported,
                        "{}/syscalls: {} beside defaultAction {}: either everything is refused but "
                        "some system calls, or some are; compile other filters, and name the file",
                        field.pointer, rule["action"].get<std::string>(),
                        value["defaultAction"].get<std::string>());
        for (const auto& name : rule["names"]) words.push_back(name);
    }
    add(steps, field, std::move(words));
    return {};
}

// ---------------------------------------------------------------------------------------------
// Environment, descriptors, memory, start

Result<> tell_environment(const Field& field, const Json& value, const Json&, Steps& steps) {
    add(steps, field, {"clearenv"});
    for (const auto& variable : value) add(steps, field, {std::string(field.command), variable});
    return {};
}

Words descriptor_words(const Json& item) {
    const std::string number = text_of(item["fd"]);
    if (item.contains("from")) return {"fd", number, item["from"]};
    if (item.contains("dup")) return {"fd", number, "dup", text_of(item["dup"])};
    if (item.contains("mem")) return {"fd", number, "mem", text_of(item["mem"])};
    if (!item.contains("path")) return {};
    Words words{"fd", number, "open", item["path"], item.value("mode", "r")};
    if (item.contains("perm")) words.push_back(text_of(item["perm"]));
    return words;
}

// In two passes: what is opened, then what refers to that.
Result<> tell_descriptors(const Field& field, const Json& value, const Json&, Steps& steps) {
    for (const bool refers : {false, true}) {
        for (const auto& item : value) {
            if (item.contains("dup") != refers) continue;
            Words words = descriptor_words(item);
            if (words.empty())
                return fail(std::errc::invalid_argument,
                            "{}: descriptor {} has no path, from, dup or mem", field.pointer,
                            item["fd"].get<int>());
            add(steps, field, std::move(words));
        }
    }
    for (const auto& item : value) {
        if (item.value("pos", 0ULL) != 0 && !item.contains("from"))
            add(steps, field, {"fd", text_of(item["fd"]), "seek", text_of(item["pos"])});
        if (item.value("cloexec", false))
            add(steps, field, {"fd", text_of(item["fd"]), "cloexec", "on"});
    }
    return {};
}

Result<> tell_regions(const Field& field, const Json& value, const Json&, Steps& steps) {
    for (const auto& item : value) {
        if (item.value("vdso", false)) {
            add(steps, field, {std::string(field.command), "vdso", text_of(item["addr"])});
            continue;
        }
        if (!item.contains("len") || !item.contains("prot"))
            return fail(std::errc::invalid_argument, "{}: the region at {} has no len or prot",
                        field.pointer, text_of(item["addr"]));
        Words words{std::string(field.command), text_of(item["addr"]), text_of(item["len"]),
                    item["prot"]};
        if (item.value("shared", false)) words.emplace_back("shared");
        if (item.contains("file")) {
            words.insert(words.end(), {"file", item["file"]});
            if (item.contains("offset")) words.push_back(text_of(item["offset"]));
        }
        add(steps, field, std::move(words));
        steps.back().contents = item.value("from", "");
    }
    return {};
}

// The second one and those after it.
Result<> tell_threads(const Field& field, const Json& value, const Json&, Steps& steps) {
    for (std::size_t i = 0; i < value.size(); ++i) {
        add(steps, field, {std::string(field.command), "0"});
        steps.back().thread = i + 1;
        for (const auto& [key, item] : value[i].items())
            steps.back().registers.push_back({key, text_of(item)});
    }
    return {};
}

// Its address and arguments wait in the registers for `entry`.
Result<> tell_entry(const Field& field, const Json& value, const Json&, Steps& steps) {
    for (const auto& [key, item] : value.items())
        add(steps, field, {std::string(field.command), key == "addr" ? "pc" : key, text_of(item)});
    return {};
}

// clang-format off
constexpr auto table = std::to_array<Field>({
    {"/proc9/session",                "session",     tell_flag,         show_flag},
    {"/proc9/pgrp",                   "pgrp",        tell_word},
    {"/proc9/tty",                    "tty",         tell_terminal},
    {"/proc9/namespaces",             "ns",          tell_namespaces,   show_namespaces},
    {"/proc9/uidMappings",            "idmap",       tell_id_map},
    {"/proc9/gidMappings",            "idmap",       tell_id_map},
    {"/proc9/mounts",                 "mount",       tell_mounts},
    {"/proc9/pivot",                  "pivot",       tell_word},
    {"/proc9/root",                   "chroot",      tell_word,         show_word},
    {"/proc9/hostname",               "hostname",    tell_word},
    {"/proc9/domainname",             "domainname",  tell_word},
    {"/proc9/cgroup",                 "cgroup",      tell_each,         show_each},
    {"/rlimits",                      "limit",       tell_limits,       show_limits},
    {"/scheduler",                    "sched",       tell_scheduler,    show_scheduler},
    {"/scheduler/nice",               "nice",        tell_word,         show_number},
    {"/execCPUAffinity/final",        "affinity",    tell_word,         show_word},
    {"/ioPriority",                   "ioprio",      tell_io_priority,  show_io_priority},
    {"/proc9/mempolicy",              "mempolicy",   tell_words,        show_words},
    {"/oomScoreAdj",                  "oom",         tell_word,         show_number},
    {"/proc9/coredump",               "coredump",    tell_word,         show_word},
    {"/proc9/keyring",                "keyring",     tell_word},
    {"/capabilities/bounding",        "caps",        tell_capabilities, show_capabilities},
    {"/capabilities/permitted",       "securebits",  tell_keep},
    {"/user/additionalGids",          "groups",      tell_words,        show_numbers},
    {"/user/gid",                     "gid",         tell_id,           show_id},
    {"/proc9/gid",                    "gid",         tell_words,        show_three_ids},
    {"/user/uid",                     "uid",         tell_id,           show_id},
    {"/proc9/uid",                    "uid",         tell_words,        show_three_ids},
    {"/capabilities/permitted",       "securebits",  tell_regain},
    {"/capabilities/inheritable",     "caps",        tell_capabilities, show_capabilities},
    {"/proc9/securebits",             "securebits",  tell_words,        show_words},
    {"/capabilities/permitted",       "caps",        tell_capabilities, show_capabilities},
    {"/capabilities/effective",       "caps",        tell_capabilities, show_capabilities},
    {"/capabilities/ambient",         "caps",        tell_capabilities, show_capabilities},
    {"/cwd",                          "chdir",       tell_word,         show_word},
    {"/user/umask",                   "umask",       tell_umask,        show_umask},
    {"/proc9/sigmask",                "sigmask",     tell_words,        show_words},
    {"/proc9/sigignore",              "sigignore",   tell_words,        show_words},
    {"/proc9/pdeathsig",              "pdeathsig",   tell_word,         show_word},
    {"/proc9/personality",            "personality", tell_words,        show_words},
    {"/proc9/prctl",                  "prctl",       tell_pairs,        show_pairs},
    {"/proc9/comm",                   "comm",        tell_word,         show_word},
    {"/proc9/exe",                    "exe",         tell_word},
    {"/env",                          "env",         tell_environment},
    {"/args",                         "args",        tell_words},
    {"/proc9/regions",                "map",         tell_regions},
    {"/proc9/fds",                    "fd",          tell_descriptors},
    {"/proc9/registers",              "reg",         tell_pairs},
    {"/proc9/entry",                  "reg",         tell_entry},
    {"/noNewPrivileges",              "nonewprivs",  tell_flag,         show_flag},
    {"/apparmorProfile",              "label",       tell_word},
    {"/selinuxLabel",                 "label",       tell_word},
    {"/proc9/landlock",               "landlock",    tell_words},
    {"/proc9/seccomp",                "seccomp",     tell_seccomp},
    {"/proc9/hang",                   "hang",        tell_flag,         show_flag},
    {"/proc9/threads",                "thread",      tell_threads},
});
// clang-format on

}  // namespace

std::span<const Field> fields() { return table; }

}  // namespace proc9::recipe
