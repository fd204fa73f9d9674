// Who the process is: ids, capabilities, keys.
#include <linux/capability.h>
#include <linux/keyctl.h>
#include <linux/securebits.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>

#include "daemon/os/procfs.hpp"
#include "daemon/os/settings/settings.hpp"
#include "daemon/os/settings/words.hpp"

namespace proc9::os {
namespace {

using core::done;
using core::fail;
using core::Result;
using core::Task;
using core::Words;

// A change of identity closes a process to its own user: neither a daemon of that user could look
// into it any more, nor another embryo join its namespaces. And the kernel forgets whose death ends it.
class StaysOpen {
public:
    explicit StaysOpen(Batch& batch)
        : batch_(batch), before_(batch.call("prctl", SYS_prctl, PR_GET_DUMPABLE)) {}
    StaysOpen(const StaysOpen&) = delete;
    StaysOpen& operator=(const StaysOpen&) = delete;
    ~StaysOpen() {
        batch_.call("prctl", SYS_prctl, PR_SET_DUMPABLE, before_).keep_going();
        batch_.call("prctl", SYS_prctl, PR_SET_PDEATHSIG, SIGKILL).keep_going();
    }

private:
    Batch& batch_;
    Batch::Added before_;
};

Result<> set_ids(Batch& batch, const Words& words, const char* name, long call) {
    const auto real = TRY(parse_id("id", words.at(0)));
    const auto effective = words.size() > 1 ? TRY(parse_id("id", words[1])) : real;
    const auto saved = words.size() > 2 ? TRY(parse_id("id", words[2])) : effective;
    const StaysOpen open(batch);
    batch.call(name, call, real, effective, saved);
    return {};
}

Result<> uid(Batch& batch, const Words& words) {
    return set_ids(batch, words, "setresuid", SYS_setresuid);
}
Result<> gid(Batch& batch, const Words& words) {
    return set_ids(batch, words, "setresgid", SYS_setresgid);
}

Readings ids_of(const Facts& facts, const std::string& key, std::string_view map) {
    auto ids = facts.ids(key, map);  // real, effective, saved, and that for files
    if (!ids || ids->size() < 3) return {};
    ids->resize(3);
    return one(*ids);
}

Readings read_uid(const Facts& facts) { return ids_of(facts, "Uid", "uid_map"); }
Readings read_gid(const Facts& facts) { return ids_of(facts, "Gid", "gid_map"); }

Result<> groups(Batch& batch, const Words& words) {
    std::vector<std::uint32_t> ids;
    for (const auto& word : words) ids.push_back(TRY(parse_id("group", word)));
    batch.call("setgroups", SYS_setgroups, ids.size(), batch.bytes(bytes_of(ids)));
    return {};
}

Readings read_groups(const Facts& facts) {
    const auto groups = facts.ids("Groups", "gid_map");
    return one_if(groups && !facts.is_inherited("Groups"), groups.value_or(Words{}));
}

// ---------------------------------------------------------------------------------------------
// Capabilities

constexpr auto capabilities = std::to_array<Named>({
    {"chown", 0},
    {"dac_override", 1},
    {"dac_read_search", 2},
    {"fowner", 3},
    {"fsetid", 4},
    {"kill", 5},
    {"setgid", 6},
    {"setuid", 7},
    {"setpcap", 8},
    {"linux_immutable", 9},
    {"net_bind_service", 10},
    {"net_broadcast", 11},
    {"net_admin", 12},
    {"net_raw", 13},
    {"ipc_lock", 14},
    {"ipc_owner", 15},
    {"sys_module", 16},
    {"sys_rawio", 17},
    {"sys_chroot", 18},
    {"sys_ptrace", 19},
    {"sys_pacct", 20},
    {"sys_admin", 21},
    {"sys_boot", 22},
    {"sys_nice", 23},
    {"sys_resource", 24},
    {"sys_time", 25},
    {"sys_tty_config", 26},
    {"mknod", 27},
    {"lease", 28},
    {"audit_write", 29},
    {"audit_control", 30},
    {"setfcap", 31},
    {"mac_override", 32},
    {"mac_admin", 33},
    {"syslog", 34},
    {"wake_alarm", 35},
    {"block_suspend", 36},
    {"audit_read", 37},
    {"perfmon", 38},
    {"bpf", 39},
    {"checkpoint_restore", 40},
});

enum Set { effective, permitted, inheritable, bounding, ambient, sets };
constexpr std::array<std::string_view, sets> set_names = {"effective", "permitted", "inheritable",
                                                          "bounding", "ambient"};
using Sets = std::array<std::uint64_t, sets>;

constexpr std::array<const char*, sets> set_keys = {"CapEff", "CapPrm", "CapInh", "CapBnd",
                                                    "CapAmb"};
constexpr std::uint64_t all_capabilities = (1ULL << capabilities.size()) - 1;

Result<Sets> sets_of(core::Pid pid) {
    auto status = TRY(procfs::status(pid));
    Sets found{};
    for (std::size_t i = 0; i < set_keys.size(); ++i)
        found[i] = TRY(core::parse_number("0x" + status[set_keys[i]]));
    return found;
}

// "+net_raw", "-CAP_NET_RAW", "+all".
Result<> change(std::uint64_t& set, const std::string& word) {
    const bool adds = word.starts_with('+');
    if (!adds && !word.starts_with('-'))
        return fail(std::errc::invalid_argument, "{} does not begin with + or -",
                    core::requote(word));
    std::string name = word.substr(1);
    std::transform(name.begin(), name.end(), name.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    if (name.starts_with("cap_")) name.erase(0, 4);
    std::uint64_t bits = all_capabilities;
    if (name != "all") bits = 1ULL << TRY(named_value("capability", name, capabilities));
    set = adds ? set | bits : set & ~bits;
    return {};
}

Result<Sets> changed(Sets wanted, const Words& words) {
    Words names = core::split_list(words.at(0));
    if (words[0] == "all") names.assign(set_names.begin(), set_names.end());
    for (const auto& name : names) {
        const auto* const found = std::find(set_names.begin(), set_names.end(), name);
        if (found == set_names.end())
            return fail(std::errc::invalid_argument, "{} is not {} or all", core::requote(name),
                        fmt::join(set_names, ", "));
        for (std::size_t i = 1; i < words.size(); ++i)
            TRY(change(wanted[static_cast<std::size_t>(found - set_names.begin())], words[i]));
    }
    wanted[effective] &= wanted[permitted];  // the kernel wants it so
    return wanted;
}

// The order is what the kernel's rules ask for: dropping from the bounding set takes a capability
// that may be dropped next, and what becomes ambient must be permitted and inheritable by then.
void encode_sets(Batch& batch, const Sets& now, const Sets& wanted) {
    const StaysOpen open(batch);
    for (std::size_t i = 0; i < capabilities.size(); ++i) {
        const std::uint64_t bit = 1ULL << i;
        if ((now[bounding] & ~wanted[bounding] & bit) != 0)
            batch.call("prctl", SYS_prctl, PR_CAPBSET_DROP, i);
    }
    const __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    std::array<__user_cap_data_struct, 2> data{};
    for (std::size_t i = 0; i < data.size(); ++i) {
        data[i] = {static_cast<std::uint32_t>(wanted[effective] >> (32 * i)),
                   static_cast<std::uint32_t>(wanted[permitted] >> (32 * i)),
                   static_cast<std::uint32_t>(wanted[inheritable] >> (32 * i))};
    }
    batch.call("capset", SYS_capset, batch.bytes(bytes_of(header)), batch.bytes(bytes_of(data)));
    for (std::size_t i = 0; i < capabilities.size(); ++i) {
        const std::uint64_t bit = 1ULL << i;
        if (((now[ambient] ^ wanted[ambient]) & bit) == 0) continue;
        const int how = (wanted[ambient] & bit) != 0 ? PR_CAP_AMBIENT_RAISE : PR_CAP_AMBIENT_LOWER;
        batch.call("prctl", SYS_prctl, PR_CAP_AMBIENT, how, i, 0, 0);
    }
}

Task<Result<>> caps(Child& child, const core::Setting& setting) {
    const Sets now = co_await sets_of(child.pid());
    const Sets wanted = co_await changed(now, setting.words);
    if ((wanted[bounding] & ~now[bounding]) != 0)
        co_return fail(std::errc::operation_not_permitted,
                       "what has left the bounding set cannot come back");
    Batch batch = child.batch();
    encode_sets(batch, now, wanted);
    co_await child.run_checked(std::move(batch));
    co_return done();
}

// ---------------------------------------------------------------------------------------------

constexpr auto secure_bits = std::to_array<Named>({
    {"noroot", SECBIT_NOROOT},
    {"noroot-locked", SECBIT_NOROOT_LOCKED},
    {"no-setuid-fixup", SECBIT_NO_SETUID_FIXUP},
    {"no-setuid-fixup-locked", SECBIT_NO_SETUID_FIXUP_LOCKED},
    {"keep-caps", SECBIT_KEEP_CAPS},
    {"keep-caps-locked", SECBIT_KEEP_CAPS_LOCKED},
    {"no-cap-ambient-raise", SECBIT_NO_CAP_AMBIENT_RAISE},
    {"no-cap-ambient-raise-locked", SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED},
});

Result<> securebits(Batch& batch, const Words& words) {
    const auto bits = TRY(named_bits("secure bit", words, secure_bits));
    batch.call("prctl", SYS_prctl, PR_SET_SECUREBITS, bits);
    return {};
}

// ---------------------------------------------------------------------------------------------
// Capabilities and secure bits as they are. A change of users takes capabilities away; where some
// are left, or secure bits have to be set after it, they are kept over it.

Words words_of_set(const Facts& facts, Set set) {
    Words words{std::string(set_names.at(set))};
    const std::uint64_t bits = facts.bits(set_keys.at(set)) & all_capabilities;
    words.emplace_back("-all");
    for (const auto& row : capabilities) {
        if ((bits >> row.value & 1U) != 0) words.push_back("+" + std::string(row.name));
    }
    return words;
}

// Each may be beyond the bounding set, where it was before that was cut.
Readings read_heritage(const Facts& facts) {
    return {words_of_set(facts, inheritable), words_of_set(facts, bounding)};
}
Readings read_ambient(const Facts& facts) { return one(words_of_set(facts, ambient)); }
Readings read_permitted(const Facts& facts) { return one(words_of_set(facts, permitted)); }
Readings read_effective(const Facts& facts) { return one(words_of_set(facts, effective)); }

bool has_to_keep(const Facts& facts) {
    const auto users = facts.ids("Uid", "uid_map");
    if (!users || facts.is_inherited("Uid")) return false;
    const bool is_root = std::find(users->begin(), users->end(), "0") != users->end();
    const bool has_any = facts.bits(set_keys[permitted]) != 0;
    return (has_any && !is_root) || facts.control(PR_GET_SECUREBITS).value_or(0) != 0;
}

Readings read_kept(const Facts& facts) { return one_if(has_to_keep(facts), {"keep-caps"}); }
Readings read_regained(const Facts& facts) {
    return one_if(has_to_keep(facts), {"effective", "+all"});
}

Readings read_securebits(const Facts& facts) {
    const auto bits = facts.control(PR_GET_SECUREBITS).value_or(0);
    return one_if(bits != 0 || has_to_keep(facts), names_of_bits(bits, secure_bits));
}

// ---------------------------------------------------------------------------------------------

Result<> nonewprivs(Batch& batch, const Words& /*words*/) {
    batch.call("prctl", SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    return {};
}

Readings read_nonewprivs(const Facts& facts) {
    return one_if(facts.field("NoNewPrivs") == "1", {});
}

Result<> keyring(Batch& batch, const Words& words) {
    batch.call("keyctl", SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, batch.text(words.at(0)));
    return {};
}

constexpr auto rows = std::to_array<SettingRow>({
    {"groups", groups, nullptr,
     "CAP_SETGID, and in a user namespace an `idmap gid` by a privileged writer", Turn::groups,
     read_groups},
    {"gid", gid, nullptr, "CAP_SETGID; a user may do it after `ns new user` and `idmap`",
     Turn::groups, read_gid},
    {"uid", uid, nullptr, "CAP_SETUID; a user may do it after `ns new user` and `idmap`",
     Turn::user, read_uid},
    {"caps", nullptr, caps, "the capability itself, and CAP_SETPCAP for the bounding set",
     Turn::heritage, read_heritage},
    {"caps", nullptr, nullptr, {}, Turn::regain, read_regained},
    {"caps", nullptr, nullptr, {}, Turn::ambient, read_ambient},
    {"caps", nullptr, nullptr, {}, Turn::permitted, read_permitted},
    {"caps", nullptr, nullptr, {}, Turn::effective, read_effective},
    {"securebits", securebits, nullptr, "CAP_SETPCAP; a user has it after `ns new user`",
     Turn::secure, read_securebits},
    {"securebits", nullptr, nullptr, {}, Turn::keep, read_kept},
    {"nonewprivs", nonewprivs, nullptr, {}, Turn::last, read_nonewprivs},
    {"keyring", keyring},
});

}  // namespace

std::span<const SettingRow> identity_settings() { return rows; }

}  // namespace proc9::os
