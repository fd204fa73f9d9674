// What a daemon tells the one that goes on in its place: JSON. A descriptor is its number, for all that are kept stay
// open under it. What several may have in common is told once, and known by a number then.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>

#include "fs/core/host.hpp"

namespace proc9::core {

using Saved = nlohmann::json;

class Process;

class Saving {
public:
    using Processes = std::map<std::uint32_t, std::shared_ptr<Process>>;  // by serial

    Saving() = default;
    explicit Saving(Processes processes) : processes_(std::move(processes)) {}

    int descriptor(int number) {
        descriptors_.insert(number);
        return number;
    }
    [[nodiscard]] const std::set<int>& descriptors() const { return descriptors_; }

    // {"number": N}, and the first time what `tell` says besides.
    Saved common(const void* object, const std::function<Saved()>& tell);
    // A process that somebody refers to, be it in the tree or not.
    std::uint32_t process(const std::shared_ptr<Process>& process);
    [[nodiscard]] const Processes& processes() const { return processes_; }

private:
    std::set<int> descriptors_;
    std::map<const void*, std::size_t> numbers_;
    Processes processes_;
};

class Restoring {
public:
    // The same object wherever it was told.
    template <class T>
    std::shared_ptr<T> common(const Saved& saved, const std::function<std::shared_ptr<T>()>& make) {
        auto& known = objects_[saved.at("number").get<std::size_t>()];
        if (!known) known = make();
        return std::static_pointer_cast<T>(known);
    }
    Saving::Processes processes;

private:
    std::map<std::size_t, std::shared_ptr<void>> objects_;
};

// Memory, and what is said of it.
Saved save(Saving& saving, const MemoryRef& memory);
MemoryRef restore_memory(Restoring& restoring, const Saved& saved, Embryo& owner);

void to_json(Saved& saved, const Identity& who);
void from_json(const Saved& saved, Identity& who);
void to_json(Saved& saved, const Range& range);
void from_json(const Saved& saved, Range& range);
void to_json(Saved& saved, const ExitStatus& status);
void from_json(const Saved& saved, ExitStatus& status);
void to_json(Saved& saved, const Setting& setting);  // not its directory
void from_json(const Saved& saved, Setting& setting);

}  // namespace proc9::core

// What may be there or not.
template <class T>
struct nlohmann::adl_serializer<std::optional<T>> {
    static void to_json(json& saved, const std::optional<T>& value) {
        saved = value ? json(*value) : json(nullptr);
    }
    static void from_json(const json& saved, std::optional<T>& value) {
        if (saved.is_null()) {
            value.reset();
        } else {
            value = saved.get<T>();
        }
    }
};
