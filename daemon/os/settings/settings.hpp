// The settings of a process: a row each, named as the command that sets it. What the words of a
// command mean to Linux is known here and nowhere else.
#pragma once

#include <span>
#include <string_view>

#include "daemon/os/batch.hpp"
#include "daemon/os/child.hpp"
#include "daemon/os/settings/facts.hpp"

namespace proc9::os {

// When a setting that was read is to be applied to another process, among all the others: each may
// take away what those before it needed. What takes rights in the first user namespace is before
// the namespaces; what is a path of the daemon's, before the root changes.
enum class Turn {
    group,       // sessions and process groups
    files,       // cgroup, and what is a file of /proc
    resources,   // limits before what they allow
    namespaces,  //
    id_maps,     //
    root,        //
    names,       // of the machine and the program: as root of the new namespaces
    groups,      // ids
    heritage,    // capabilities that others can be had from, while CAP_SETPCAP is there
    keep,        // what the change of users would take
    user,        //
    regain,      // what was kept
    ambient,     // lost with the change of users, and not to be raised under some secure bits
    secure,      //
    permitted,   //
    effective,   //
    directory,   // with the new identity
    attributes,  // what nothing else depends on
    last,        //
};

// What some need to know to say it in system calls.
struct Asked {
    const core::Setting& setting;
    core::Pid pid;                           // whose setting it is to be
    std::span<const core::Setting> earlier;  // in the same batch, and therefore not in force yet
};

// The system calls that the child makes.
class Encoder {
public:
    using OfWords = core::Result<> (*)(Batch& batch, const core::Words& words);
    using OfAsked = core::Result<> (*)(Batch& batch, const Asked& asked);

    constexpr Encoder() = default;
    constexpr Encoder(std::nullptr_t) {}
    constexpr Encoder(OfWords of_words) : of_words_(of_words) {}
    constexpr Encoder(OfAsked of_asked) : of_asked_(of_asked) {}
    constexpr explicit operator bool() const { return of_words_ || of_asked_; }
    core::Result<> operator()(Batch& batch, const Asked& asked) const {
        return of_words_ ? of_words_(batch, asked.setting.words) : of_asked_(batch, asked);
    }

private:
    OfWords of_words_ = nullptr;
    OfAsked of_asked_ = nullptr;
};

struct SettingRow {
    std::string_view name;
    // One of the two: system calls, or more than those. None: a further row of that name, only to be
    // read.
    Encoder encode = nullptr;
    core::Task<core::Result<>> (*apply)(Child& child, const core::Setting& setting) = nullptr;
    std::string_view needs = {};  // what is missing when the kernel says EPERM
    // The words that would set it as it is, once or several times; none that a new embryo has
    // anyway if setting them takes a privilege. nullptr: the kernel does not tell.
    Turn turn = Turn::last;
    std::vector<core::Words> (*read)(const Facts& facts) = nullptr;
    bool or_access = false;  // EACCES means that it is missing, too
};

using Readings = std::vector<core::Words>;
inline Readings one(const core::Words& words) { return Readings(1, words); }
inline Readings one_if(bool is_set, const core::Words& words) {
    return is_set ? one(words) : Readings{};
}

std::span<const SettingRow> identity_settings();
std::span<const SettingRow> resource_settings();
std::span<const SettingRow> session_settings();
std::span<const SettingRow> namespace_settings();
std::span<const SettingRow> confinement_settings();

// As core::Embryo::apply_all: system calls that stand together go in one batch.
core::Task<core::Result<>> apply_settings(Child& child, std::vector<core::Setting>& settings);

// Settings as the calls of one batch.
class Encoded {
public:
    // Appends those at the front that are nothing but calls, as long as there is room. What is wrong
    // with the words of the next one, if that ended it.
    core::Result<> add(Batch& batch, core::Pid pid, std::span<const core::Setting> settings);
    // How many there are at the end that it would take.
    static std::size_t takes_last(std::span<const core::Setting> settings);
    [[nodiscard]] std::size_t count() const { return ends_.size(); }
    // Those that the kernel took are removed; of the first that it refused, why.
    core::Result<> settle(const Replies& replies, Child& child,
                          std::vector<core::Setting>& settings) const;

private:
    std::vector<std::uint32_t> ends_;  // of each one's calls
};
core::Task<core::Result<std::vector<core::Setting>>> read_settings(Child& child);
// Of any thread, those that fork(2) passes on, as far as they can be seen from outside.
core::Result<std::vector<core::Setting>> passed_on(core::Pid thread);
// Of any thread: what makes a child of the daemon's what a child of its own would be, in what it may do and how it is
// treated. Its root is told besides: a path would not reach it.
std::vector<core::Setting> standing(const Facts& facts, const core::DescriptorRef& root);

}  // namespace proc9::os
