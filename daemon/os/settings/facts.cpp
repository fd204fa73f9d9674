#include "daemon/os/settings/facts.hpp"

#include <linux/mempolicy.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <cstring>
#include <iterator>
#include <sstream>

#include "daemon/os/procfs.hpp"

namespace proc9::os {
namespace {

using core::Result;
using core::Task;
using core::Words;

struct Getter {
    int option;
    bool fills;  // a number whose address it is told; else it is the answer
};
constexpr auto getters = std::to_array<Getter>({
    {PR_GET_SECUREBITS, false},
    {PR_GET_THP_DISABLE, false},
    {get_memory_deny_write_exec, false},
    {get_memory_merge, false},
    {PR_GET_TIMERSLACK, false},
    {PR_GET_TSC, true},
    {PR_GET_CHILD_SUBREAPER, true},
});

constexpr std::size_t node_words = 16;  // as many nodes as a kernel can be built for

// The calls of one batch, and where their answers will be.
class Questions {
public:
    explicit Questions(Batch batch) : batch_(std::move(batch)) {
        for (std::size_t i = 0; i < getters.size(); ++i) ask(i);
        policy_ =
            batch_
                .call("get_mempolicy", SYS_get_mempolicy, mode_, nodes_, node_words * 64 + 1, 0, 0)
                .keep_going()
                .index();
        names_ = batch_.call("uname", SYS_uname, system_).keep_going().index();
    }
    [[nodiscard]] const Batch& batch() const { return batch_; }

    void answer(const Replies& replies, Facts& facts) const {
        for (std::size_t i = 0; i < getters.size(); ++i) {
            const auto result = replies.of(calls_.at(i));
            if (!result) continue;
            facts.controls[getters.at(i).option] =
                getters.at(i).fills ? number_at<std::uint32_t>(replies, places_.at(i))
                                    : static_cast<std::uint64_t>(*result);
        }
        if (replies.of(policy_)) facts.memory_policy = policy(replies);
        if (replies.of(names_)) read_names(replies, facts);
    }

private:
    void ask(std::size_t i) {
        places_.at(i) = batch_.space(sizeof(std::uint64_t));
        const Getter& getter = getters.at(i);
        const auto added =
            getter.fills ? batch_.call("prctl", SYS_prctl, getter.option, places_.at(i), 0, 0, 0)
                         : batch_.call("prctl", SYS_prctl, getter.option, 0, 0, 0, 0);
        calls_.at(i) = Batch::Added(added).keep_going().index();
    }

    template <class T>
    static T number_at(const Replies& replies, Batch::Pointer place) {
        T number{};
        const std::string bytes = replies.data(place, sizeof number);
        std::memcpy(&number, bytes.data(), sizeof number);
        return number;
    }

    [[nodiscard]] Facts::MemoryPolicy policy(const Replies& replies) const {
        Facts::MemoryPolicy found;
        found.mode = number_at<std::uint32_t>(replies, mode_);
        found.nodes.resize(node_words);
        const std::string bytes = replies.data(nodes_, node_words * sizeof(std::uint64_t));
        std::memcpy(found.nodes.data(), bytes.data(), bytes.size());
        return found;
    }

    void read_names(const Replies& replies, Facts& facts) const {
        auto names = number_at<utsname>(replies, system_);
        names.nodename[sizeof names.nodename - 1] = '\0';  // it comes from a stub
        names.domainname[sizeof names.domainname - 1] = '\0';
        facts.hostname = static_cast<const char*>(names.nodename);
        facts.domainname = static_cast<const char*>(names.domainname);
    }

    Batch batch_;
    std::array<Batch::Pointer, getters.size()> places_{};
    std::array<std::uint32_t, getters.size()> calls_{};
    Batch::Pointer mode_ = batch_.space(sizeof(std::uint64_t));
    Batch::Pointer nodes_ = batch_.space(node_words * sizeof(std::uint64_t));
    Batch::Pointer system_ = batch_.space(sizeof(utsname));
    std::uint32_t policy_ = 0;
    std::uint32_t names_ = 0;
};

std::uint64_t number(const std::string& word, int base = 10) {
    std::uint64_t value = 0;
    std::from_chars(word.data(), word.data() + word.size(), value, base);
    return value;
}

}  // namespace

Words blank_separated(const std::string& text) {
    std::istringstream stream(text);
    return {std::istream_iterator<std::string>(stream), {}};
}

std::shared_ptr<const Origin> Origin::of(core::Pid pid) {
    constexpr auto names =
        std::to_array<std::string_view>({"cwd", "root", "ns/cgroup", "ns/ipc", "ns/mnt", "ns/net",
                                         "ns/pid", "ns/time_for_children", "ns/user", "ns/uts"});
    auto origin = std::make_shared<Origin>();
    origin->status = procfs::status(pid).value_or(Status{});
    for (const auto name : names) {
        if (auto link = procfs::link(pid, name)) origin->links.emplace(name, std::move(*link));
    }
    return origin;
}

// Nothing of that changes while it runs.
std::shared_ptr<const Origin> Origin::daemon() {
    static const auto origin = of(::getpid());
    return origin;
}

std::string Facts::field(const std::string& key) const {
    const auto found = status.find(key);
    return found == status.end() ? "" : found->second;
}

bool Facts::is_inherited(const std::string& key) const {
    const auto found = origin->status.find(key);
    return found != origin->status.end() && blank_separated(found->second) == fields(key);
}

Words Facts::fields(const std::string& key) const { return blank_separated(field(key)); }

std::uint64_t Facts::bits(const std::string& key) const { return number(field(key), 16); }

std::optional<std::uint64_t> Facts::control(int option) const {
    const auto found = controls.find(option);
    if (found == controls.end()) return {};
    return found->second;
}

Words Facts::file(std::string_view name) const {
    return blank_separated(procfs::read(pid, name).value_or(""));
}

std::string Facts::link(std::string_view name) const {
    return procfs::link(pid, name).value_or("");
}

bool Facts::differs(std::string_view link) const { return differs_from(*origin, link); }

bool Facts::differs_from(const Origin& other, std::string_view link) const {
    const auto its = procfs::link(pid, link);
    const auto known = other.links.find(link);
    return its && known != other.links.end() && *its != known->second;
}

std::vector<IdArea> Facts::id_map(std::string_view file) const {
    const Words words = this->file(file);
    std::vector<IdArea> areas;
    for (std::size_t i = 0; i + 2 < words.size(); i += 3)
        areas.push_back({number(words[i]), number(words[i + 1]), number(words[i + 2])});
    return areas;
}

std::optional<Words> Facts::ids(const std::string& key, std::string_view map) const {
    Words outside = fields(key);
    if (!differs_from(*Origin::daemon(), "ns/user")) return outside;
    const auto areas = id_map(map);
    Words inside;
    for (const auto& word : outside) {
        for (const auto& area : areas) {
            const auto offset = number(word) - area.outside;
            if (offset < area.length) inside.push_back(std::to_string(area.inside + offset));
        }
    }
    if (inside.size() != outside.size()) return {};
    return inside;
}

std::optional<std::string> Facts::from_its_root(const std::string& path) const {
    const std::string root = link("root");
    if (root == "/" || root.empty())
        return path.starts_with('/') ? std::optional(path) : std::nullopt;
    if (path == root) return "/";
    if (!path.starts_with(root + "/")) return {};
    return path.substr(root.size());
}

Result<Facts> observe(core::Pid thread) {
    Facts facts;
    facts.pid = thread;
    facts.status = TRY(procfs::status(thread));
    return facts;
}

Task<Result<Facts>> gather(Child& child) {
    Facts facts = co_await observe(child.pid());
    facts.origin = child.origin();
    facts.plan = child.plan;
    if (child.is_alive()) {
        const Questions questions(child.batch());
        const auto replies = co_await child.run(questions.batch()).result();
        if (!replies && replies.error().code == std::errc::interrupted) co_return replies.error();
        facts.is_embryo = replies.has_value();
        if (replies) questions.answer(*replies, facts);
    }
    co_return std::move(facts);
}

}  // namespace proc9::os
