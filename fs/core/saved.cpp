#include "fs/core/saved.hpp"

#include "fs/core/process.hpp"

namespace proc9::core {

Saved Saving::common(const void* object, const std::function<Saved()>& tell) {
    const auto [place, is_new] = numbers_.emplace(object, numbers_.size());
    Saved saved = is_new ? tell() : Saved::object();
    saved["number"] = place->second;
    return saved;
}

std::uint32_t Saving::process(const std::shared_ptr<Process>& process) {
    if (!process) return 0;
    processes_.emplace(process->serial, process);
    return process->serial;
}

Saved save(Saving& saving, const MemoryRef& memory) {
    if (!memory) return nullptr;
    return saving.common(
        memory.get(), [&] { return Saved{{"descriptor", saving.descriptor(memory->number())}}; });
}

MemoryRef restore_memory(Restoring& restoring, const Saved& saved, Embryo& owner) {
    if (saved.is_null()) return nullptr;
    return restoring.common<Memory>(
        saved, [&] { return owner.hold_memory(saved.at("descriptor").get<int>()); });
}

void to_json(Saved& saved, const Identity& who) {
    saved = {{"uid", who.uid},
             {"gid", who.gid},
             {"capabilities", who.capabilities},
             {"realm", who.realm},
             {"is_confined", who.is_confined},
             {"is_limited", who.is_limited}};
}

void from_json(const Saved& saved, Identity& who) {
    saved.at("uid").get_to(who.uid);
    saved.at("gid").get_to(who.gid);
    saved.at("capabilities").get_to(who.capabilities);
    saved.at("realm").get_to(who.realm);
    saved.at("is_confined").get_to(who.is_confined);
    saved.at("is_limited").get_to(who.is_limited);
}

void to_json(Saved& saved, const Range& range) { saved = {range.start.value, range.length}; }

void from_json(const Saved& saved, Range& range) {
    saved.at(0).get_to(range.start.value);
    saved.at(1).get_to(range.length);
}

void to_json(Saved& saved, const ExitStatus& status) {
    saved = {{"text", status.text}, {"user_ms", status.user_ms}, {"system_ms", status.system_ms}};
}

void from_json(const Saved& saved, ExitStatus& status) {
    saved.at("text").get_to(status.text);
    saved.at("user_ms").get_to(status.user_ms);
    saved.at("system_ms").get_to(status.system_ms);
}

void to_json(Saved& saved, const Setting& setting) {
    saved = {{"name", setting.name}, {"words", setting.words}};
}

void from_json(const Saved& saved, Setting& setting) {
    saved.at("name").get_to(setting.name);
    saved.at("words").get_to(setting.words);
}

}  // namespace proc9::core
