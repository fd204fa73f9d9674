// What the process may do: seccomp, Landlock, labels of security modules.
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <seccomp.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "daemon/os/memory.hpp"
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

// ---------------------------------------------------------------------------------------------
// seccomp

// Installed at the start and not before: the stub has to go on making system calls. What the kernel
// would refuse then is refused now.
Task<Result<>> add_filter(Child& child, std::string program) {
    if (program.empty() || program.size() % sizeof(sock_filter) != 0 ||
        program.size() / sizeof(sock_filter) > BPF_MAXINSNS)
        co_return fail(std::errc::invalid_argument,
                       "a filter is 1 to {} instructions of {} bytes, this has {} bytes",
                       BPF_MAXINSNS, sizeof(sock_filter), program.size());
    auto status = co_await procfs::status(child.pid());
    constexpr std::uint64_t sys_admin = 1ULL << 21U;
    const auto effective = co_await core::parse_number("0x" + status["CapEff"]);
    if (status["NoNewPrivs"] != "1" && (effective & sys_admin) == 0)
        co_return fail(std::errc::permission_denied,
                       "a filter needs `nonewprivs` first, or CAP_SYS_ADMIN");
    child.plan.filters.push_back(std::move(program));
    co_return done();
}

// The file is read by the child, where the path is the child's.
Task<Result<>> add_file(Child& child, std::string path) {
    constexpr std::size_t most = BPF_MAXINSNS * sizeof(sock_filter);
    Batch batch = child.batch();
    const auto program = batch.space(most + sizeof(sock_filter));
    const auto from = batch.call("open", SYS_openat, AT_FDCWD, batch.text(path),
                                 O_RDONLY | O_CLOEXEC | O_NOCTTY, 0);
    const auto got =
        batch.call("read", SYS_read, from, program, most + sizeof(sock_filter)).index();
    batch.call("close", SYS_close, from).always();
    const Replies replies = co_await child.run(batch);
    co_await replies.checked();
    const auto size = co_await replies.of(got);
    co_await add_filter(child, replies.data(program, static_cast<std::size_t>(size)));
    co_return done();
}

struct Release {
    void operator()(void* context) const { ::seccomp_release(context); }
};

// allow: all but these are answered with EPERM; deny: these are.
Result<std::string> compile(bool allows, std::span<const std::string> names) {
    const std::uint32_t refused = SCMP_ACT_ERRNO(EPERM);
    const std::unique_ptr<void, Release> context(::seccomp_init(allows ? refused : SCMP_ACT_ALLOW));
    if (!context) return core::refused("seccomp_init", ENOMEM);
    for (const auto& name : names) {
        const int number = ::seccomp_syscall_resolve_name(name.c_str());
        if (number == __NR_SCMP_ERROR)
            return fail(std::errc::invalid_argument, "no system call {}", core::requote(name));
        const int problem =
            ::seccomp_rule_add(context.get(), allows ? SCMP_ACT_ALLOW : refused, number, 0);
        if (problem < 0) return core::refused("seccomp_rule_add", -problem);
    }
    const auto program = TRY(make_memory());
    const int problem = ::seccomp_export_bpf(context.get(), program->number());
    if (problem < 0) return core::refused("seccomp_export_bpf", -problem);
    return program->read(program->size(), 0);
}

Task<Result<>> seccomp(Child& child, const core::Setting& setting) {
    const Words& words = setting.words;
    const bool allows = words.at(0) == "allow";
    if (!allows && words[0] != "deny") {
        co_await add_file(child, words[0]);
        co_return done();
    }
    if (words.size() < 2) co_return fail(std::errc::invalid_argument, "no system call is named");
    co_await add_filter(child, co_await compile(allows, std::span(words).subspan(1)));
    co_return done();
}

// ---------------------------------------------------------------------------------------------
// Landlock

// The newest version of the kernel's interface that is made use of; each adds rights.
constexpr auto file_rights = std::to_array<Named>({
    {"execute", LANDLOCK_ACCESS_FS_EXECUTE},
    {"write-file", LANDLOCK_ACCESS_FS_WRITE_FILE},
    {"read-file", LANDLOCK_ACCESS_FS_READ_FILE},
    {"read-dir", LANDLOCK_ACCESS_FS_READ_DIR},
    {"remove-dir", LANDLOCK_ACCESS_FS_REMOVE_DIR},
    {"remove-file", LANDLOCK_ACCESS_FS_REMOVE_FILE},
    {"make-char", LANDLOCK_ACCESS_FS_MAKE_CHAR},
    {"make-dir", LANDLOCK_ACCESS_FS_MAKE_DIR},
    {"make-reg", LANDLOCK_ACCESS_FS_MAKE_REG},
    {"make-sock", LANDLOCK_ACCESS_FS_MAKE_SOCK},
    {"make-fifo", LANDLOCK_ACCESS_FS_MAKE_FIFO},
    {"make-block", LANDLOCK_ACCESS_FS_MAKE_BLOCK},
    {"make-sym", LANDLOCK_ACCESS_FS_MAKE_SYM},
    {"refer", 1ULL << 13U},
    {"truncate", 1ULL << 14U},
    {"ioctl-dev", 1ULL << 15U},
    {"ro", LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR | LANDLOCK_ACCESS_FS_EXECUTE},
    {"rw", (1ULL << 16U) - 1},
});
constexpr auto port_rights = std::to_array<Named>({{"bind", 1}, {"connect", 2}});
constexpr std::uint64_t of_a_file = LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE |
                                    LANDLOCK_ACCESS_FS_READ_FILE | 1ULL << 14U | 1ULL << 15U;

struct Handled {  // struct landlock_ruleset_attr of version 4
    std::uint64_t files = 0;
    std::uint64_t ports = 0;
};

struct Rule {
    std::string path;  // empty: a port
    std::uint64_t rights = 0;
    std::uint64_t port = 0;
    std::int64_t descriptor = -1;
};

// The file rights that version `abi` of the kernel's interface knows.
std::uint64_t known_rights(int abi) {
    constexpr std::array<unsigned, 6> bits = {0, 13, 14, 15, 15, 16};
    return (1ULL << bits.at(static_cast<std::size_t>(std::clamp(abi, 0, 5)))) - 1;
}

Result<std::vector<Rule>> parse_rules(const Words& words) {
    if (words.empty() || words.size() % 2 != 0)
        return fail(
            std::errc::invalid_argument,
            "usage: landlock RIGHTS PATH|PORT [RIGHTS PATH|PORT ...], as in ro /usr rw /tmp "
            "connect 443");
    std::vector<Rule> rules;
    for (std::size_t i = 0; i < words.size(); i += 2) {
        Rule rule;
        if (words[i] == "bind" || words[i] == "connect") {
            rule.rights = TRY(named_value("right", words[i], port_rights));
            rule.port = TRY(core::parse_number_up_to("port", words[i + 1], 65535));
        } else {
            rule.rights = TRY(named_bits("right", core::split_list(words[i]), file_rights));
            rule.path = words[i + 1];
        }
        rules.push_back(std::move(rule));
    }
    return rules;
}

// The kernel refuses rights that only directories have for anything else.
Task<Result<>> open_path(Child& child, Rule& rule, std::uint64_t known) {
    Batch batch = child.batch();
    const auto attributes = batch.space(sizeof(struct statx));
    const auto fd =
        batch.call("open", SYS_openat, AT_FDCWD, batch.text(rule.path), O_PATH | O_CLOEXEC, 0);
    batch.call("statx", SYS_statx, fd, batch.text(""), AT_EMPTY_PATH, STATX_TYPE, attributes);
    const Replies replies = co_await child.run(batch);
    rule.descriptor = co_await replies.of(fd.index());
    struct statx found{};
    const std::string bytes = replies.data(attributes, sizeof found);
    std::memcpy(&found, bytes.data(), sizeof found);
    rule.rights &= S_ISDIR(found.stx_mode) ? known : known & of_a_file;
    co_return done();
}

struct PathRule {  // struct landlock_path_beneath_attr, which is packed
    std::array<char, 12> bytes{};
    explicit PathRule(const Rule& rule) {
        const auto fd = static_cast<std::int32_t>(rule.descriptor);
        std::memcpy(bytes.data(), &rule.rights, sizeof rule.rights);
        std::memcpy(bytes.data() + sizeof rule.rights, &fd, sizeof fd);
    }
};

Batch restricting(const Child& child, const std::vector<Rule>& rules, std::uint64_t known) {
    constexpr int beneath_path = 1;
    constexpr int at_port = 2;
    Handled handled{known, 0};
    for (const auto& rule : rules) {
        if (rule.path.empty()) handled.ports = 3;
    }
    Batch batch = child.batch();
    const std::size_t size = handled.ports != 0 ? sizeof handled : sizeof handled.files;
    const auto set = batch.call("landlock_create_ruleset", SYS_landlock_create_ruleset,
                                batch.bytes(bytes_of(handled)), size, 0);
    for (const auto& rule : rules) {
        const std::array<std::uint64_t, 2> port{rule.rights, rule.port};
        const auto attributes = rule.path.empty() ? batch.bytes(bytes_of(port))
                                                  : batch.bytes(bytes_of(PathRule(rule).bytes));
        batch.call("landlock_add_rule", SYS_landlock_add_rule, set,
                   rule.path.empty() ? at_port : beneath_path, attributes, 0);
    }
    batch.call("landlock_restrict_self", SYS_landlock_restrict_self, set, 0);
    batch.call("close", SYS_close, set).always();
    return batch;
}

Task<Result<>> landlock(Child& child, const core::Setting& setting) {
    auto rules = co_await parse_rules(setting.words);
    const int abi = static_cast<int>(
        ::syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION));
    if (abi < 1) co_return fail(std::errc::not_supported, "this kernel has no Landlock");
    Result<> outcome;
    for (auto& rule : rules) {
        if (outcome && !rule.path.empty())
            outcome = co_await open_path(child, rule, known_rights(abi)).result();
    }
    if (outcome)
        outcome = co_await child.run_checked(restricting(child, rules, known_rights(abi))).result();
    Batch closing = child.batch();
    for (const auto& rule : rules) {
        if (rule.descriptor >= 0) closing.call("close", SYS_close, rule.descriptor);
    }
    if (closing.count() != 0) (void)co_await child.run(closing).result();
    co_return std::move(outcome);
}

// ---------------------------------------------------------------------------------------------

// The kernel takes it from the process itself only, through a file that it opened.
Task<Result<>> label(Child& child, const core::Setting& setting) {
    constexpr std::string_view file = "attr/exec";
    if (const auto now = procfs::read(child.pid(), file);
        !now && now.error().code == std::errc::invalid_argument)
        co_return fail(std::errc::not_supported, "no security module of this kernel has labels");
    const std::string& text = setting.words.at(0);
    Batch batch = child.batch();
    const auto fd = batch.call("open", SYS_openat, AT_FDCWD, batch.text("/proc/self/attr/exec"),
                               O_WRONLY | O_CLOEXEC, 0);
    batch.call("write", SYS_write, fd, batch.bytes(text), text.size());
    batch.call("close", SYS_close, fd).always();
    co_await child.run_checked(std::move(batch));
    co_return done();
}

constexpr auto rows = std::to_array<SettingRow>({
    {"seccomp", nullptr, seccomp},
    {"landlock", nullptr, landlock, "`nonewprivs` first, or CAP_SYS_ADMIN"},
    {"label", nullptr, label},
});

}  // namespace

std::span<const SettingRow> confinement_settings() { return rows; }

}  // namespace proc9::os
