#include "fs/core/registry.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <random>

namespace proc9::core {

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Statistics, requests, commands, refusals, eforks, starts, exits)

namespace {

constexpr std::size_t most_exited_of_a_user = 1024;
constexpr std::size_t most_errors = 1024;  // of as many users
constexpr std::size_t longest_name = 255;

// What the root directory holds besides processes.
constexpr std::array<std::string_view, 8> taken = {".",    "..",   "ctl",        "clone",
                                                   "help", "self", "stats.json", "error"};

template <class Map, class Key>
ProcessRef look_up(const Map& map, const Key& key) {
    const auto found = map.find(key);
    return found == map.end() ? nullptr : found->second;
}

}  // namespace

static std::string way_out(const Process& process) {
    if (process.state() != Process::State::exited) return "";
    return fmt::format(", which has exited: read its wait, or rmdir {}", process.id());
}

Registry::Registry(Host& host) : host_(host) {
    std::random_device random;
    instance_ = fmt::format("{:08x}{:08x}{:08x}{:08x}", random(), random(), random(), random());
}

Result<> Registry::check_name(std::string_view name) const {
    const bool is_number =
        std::all_of(name.begin(), name.end(), [](char c) { return c >= '0' && c <= '9'; });
    if (name.empty() || name.size() > longest_name || is_number ||
        name.find('/') != std::string_view::npos || name.find('\0') != std::string_view::npos)
        return fail(std::errc::invalid_argument, "{} cannot name a process", requote(name));
    if (std::find(taken.begin(), taken.end(), name) != taken.end())
        return fail(std::errc::file_exists, "the name {} is a file of the root", requote(name));
    if (const auto found = by_name_.find(name); found != by_name_.end())
        return fail(std::errc::file_exists, "the name {} is in use by process {}{}", requote(name),
                    found->second->id(), way_out(*found->second));
    return {};
}

Task<Result<ProcessRef>> Registry::efork(Request& request, std::string name, Birth birth) {
    if (!name.empty()) co_await check_name(name);
    const Pid creator = host_.process_of_thread(request.thread).value_or(0);
    auto body = co_await host_.efork(request, std::move(birth));
    if (!name.empty()) co_await check_name(name);  // taken meanwhile?
    auto process =
        std::make_shared<Process>(++last_serial_, host_, std::move(body), request.who, creator);
    co_return enter(std::move(process), std::move(name));
}

Task<Result<ProcessRef>> Registry::adopt(Request& request, int link, std::string name) {
    if (!name.empty()) co_await check_name(name);
    const Pid parent = co_await host_.process_of_thread(request.thread);
    auto body = co_await host_.adopt(request, parent, link);
    if (!name.empty()) co_await check_name(name);  // taken meanwhile?
    if (const auto known = by_id(body->pid()); known && !known->exit_status())
        co_return fail(std::errc::file_exists, "process {} is here already", body->pid());
    auto process =
        std::make_shared<Process>(++last_serial_, host_, std::move(body), request.who, parent);
    process->memory.has_more();
    co_return enter(std::move(process), std::move(name));
}

Task<Result<ProcessRef>> Registry::share(Request& request, Process& other, Words contexts,
                                         std::string name, Birth birth) {
    if (!name.empty()) co_await check_name(name);
    const Pid creator = host_.process_of_thread(request.thread).value_or(0);
    const bool shares_memory = std::find(contexts.begin(), contexts.end(), "mem") != contexts.end();
    auto body = co_await other.body->share(std::move(contexts), std::move(birth));
    if (!name.empty()) co_await check_name(name);  // taken meanwhile?
    auto process = std::make_shared<Process>(++last_serial_, other, shares_memory, std::move(body),
                                             request.who, creator);
    co_return enter(std::move(process), std::move(name));
}

Task<Result<ProcessRef>> Registry::fork(Request& request, Process& original, std::string name) {
    if (!name.empty()) co_await check_name(name);
    const Pid creator = host_.process_of_thread(request.thread).value_or(0);
    original.memory.seal();
    auto body = co_await original.body->fork();
    auto process =
        std::make_shared<Process>(++last_serial_, host_, std::move(body), original.owner, creator);
    co_await process->memory.inherit(original.memory);
    process->environment = original.environment;
    process->arguments = original.arguments;
    process->threads = original.threads;
    if (!name.empty()) co_await check_name(name);  // taken meanwhile?
    co_return enter(std::move(process), std::move(name));
}

ProcessRef Registry::enter(ProcessRef process, std::string name) {
    // The kernel gives a number again only after the last one was reaped: remove() does that, but for an
    // adopted process.
    if (const auto former = by_id(process->id())) remove(former);
    process->name = std::move(name);
    place(process);
    ++statistics.eforks;
    watch(process);
    return process;
}

void Registry::place(const ProcessRef& process) {
    by_id_[process->id()] = process;
    by_serial_[process->serial] = process;
    if (!process->name.empty()) by_name_[process->name] = process;
}

void Registry::watch(const ProcessRef& process) {
    process->body->on_exit([this, weak = std::weak_ptr(process)](ExitStatus status) {
        if (const auto alive = weak.lock()) exited(alive, std::move(status));
    });
    process->body->on_reaped([this, weak = std::weak_ptr(process)] {
        if (const auto alive = weak.lock()) remove(alive);
    });
}

Result<> Registry::rename(Process& process, std::string name) {
    if (name == process.name) return {};
    TRY(check_name(name));
    by_name_.erase(process.name);
    by_name_[name] = process.shared_from_this();
    process.name = std::move(name);
    return {};
}

void Registry::drop_name(Process& process) {
    by_name_.erase(process.name);
    process.name.clear();
}

Result<ProcessRef> Registry::find(std::string_view id_or_name) const {
    Pid id = 0;
    const auto* const end = id_or_name.data() + id_or_name.size();
    const auto [stop, problem] = std::from_chars(id_or_name.data(), end, id);
    ProcessRef found = problem == std::errc{} && stop == end ? by_id(id) : by_name(id_or_name);
    if (!found)
        return fail(std::errc::no_such_file_or_directory, "no process {}", requote(id_or_name));
    return found;
}

ProcessRef Registry::by_serial(std::uint32_t serial) const { return look_up(by_serial_, serial); }
ProcessRef Registry::by_id(Pid id) const { return look_up(by_id_, id); }
ProcessRef Registry::by_name(std::string_view name) const { return look_up(by_name_, name); }

void Registry::remove(ProcessRef process) {
    if (!std::exchange(process->visible, false)) return;
    by_id_.erase(process->id());
    by_serial_.erase(process->serial);
    if (!process->name.empty()) by_name_.erase(process->name);
    exited_of_[process->owner.uid].remove(process->serial);
    if (process->state() == Process::State::embryo) process->body->discard();
}

Result<> Registry::check_owner(const Identity& who, const Process& process) {
    if (who.obstacle)
        return fail(std::errc::operation_not_permitted, "the caller is {}", who.obstacle);
    if (who.is_master()) return {};
    if (who.uid != process.owner.uid)
        return fail(std::errc::permission_denied, "process {} is another user's", process.id());
    if (!who.covers(process.owner))
        return fail(std::errc::operation_not_permitted,
                    "process {} was made by one who may do more than the caller", process.id());
    return {};
}

void Registry::set_error(const Identity& who, std::string text) {
    if (errors_.size() >= most_errors && !errors_.contains(who.uid)) errors_.erase(errors_.begin());
    errors_[who.uid] = std::move(text);
}

std::string Registry::error_of(const Identity& who) const {
    const auto found = errors_.find(who.uid);
    return found == errors_.end() ? std::string{} : found->second;
}

void Registry::exited(const ProcessRef& process, ExitStatus status) {
    ++statistics.exits;
    const bool nobody_waits = process->doomed;
    process->exited(std::move(status));
    if (nobody_waits) {
        remove(process);
    } else if (process->visible) {
        keep_few_exited(*process);
    }
}

void Registry::keep_few_exited(const Process& latest) {
    auto& serials = exited_of_[latest.owner.uid];
    serials.push_back(latest.serial);
    while (serials.size() > most_exited_of_a_user) {
        const auto oldest = by_serial(serials.front());
        serials.pop_front();
        if (oldest) remove(oldest);
    }
}

Saved Registry::save(Saving& saving) const {
    for (const auto& [serial, process] : by_serial_) saving.process(process);
    Saved processes = Saved::array();
    for (const auto& [serial, process] : saving.processes())
        processes.push_back(process->save(saving));
    return {{"processes", processes},      {"exited", exited_of_},  {"errors", errors_},
            {"last_serial", last_serial_}, {"instance", instance_}, {"statistics", statistics}};
}

void Registry::restore(const Saved& saved, Restoring& restoring) {
    saved.at("exited").get_to(exited_of_);
    saved.at("errors").get_to(errors_);
    saved.at("last_serial").get_to(last_serial_);
    saved.at("instance").get_to(instance_);
    saved.at("statistics").get_to(statistics);
    for (const Saved& one : saved.at("processes")) {
        const ProcessRef process = Process::restore(one, restoring, host_);
        restoring.processes[process->serial] = process;
        if (process->visible) place(process);
    }
    // Some may have ended meanwhile, which is heard at once.
    for (const auto& [serial, process] : restoring.processes) watch(process);
}

}  // namespace proc9::core
