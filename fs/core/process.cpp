#include "fs/core/process.hpp"

#include <algorithm>
#include <utility>

namespace proc9::core {

const Environment::Variable* Environment::find(const std::string& name) const {
    const auto found = variables_.find(name);
    return found == variables_.end() ? nullptr : &found->second;
}

std::optional<std::string> Environment::name_of(std::uint32_t id) const {
    for (const auto& [name, variable] : variables_) {
        if (variable.id == id) return name;
    }
    return std::nullopt;
}

std::string Environment::value_of(const std::string& name) const {
    const Variable* variable = find(name);
    if (!variable) return {};
    std::string value = variable->value;
    if (variable->is_file && value.ends_with('\n')) value.pop_back();
    return value;
}

Result<> Environment::set(const std::string& name, std::string value, bool is_file) {
    if (name.empty() || name.find('=') != std::string::npos || name.find('\0') != std::string::npos)
        return fail(std::errc::invalid_argument, "{} cannot name a variable", requote(name));
    if (value.find('\0') != std::string::npos)
        return fail(std::errc::invalid_argument, "the value of {} holds a zero byte", name);
    Variable& variable = variables_[name];
    if (variable.id == 0) variable.id = ++last_id_;
    variable.value = std::move(value);
    variable.is_file = is_file;
    return {};
}

bool Environment::remove(const std::string& name) { return variables_.erase(name) != 0; }

Words Environment::words() const {
    Words words;
    words.reserve(variables_.size());
    for (const auto& [name, variable] : variables_) words.push_back(name + '=' + value_of(name));
    return words;
}

Process::Process(std::uint32_t serial_number, Host& host, std::unique_ptr<Embryo> embryo,
                 Identity identity, Pid maker)
    : serial(serial_number),
      owner(identity),
      creator(maker),
      body(std::move(embryo)),
      address_space(std::make_shared<AddressSpace>(host, *body)),
      memory(*address_space),
      host_(host),
      turnstile_(std::make_shared<Turnstile>()) {}

Process::Process(std::uint32_t serial_number, Process& other, bool shares_memory,
                 std::unique_ptr<Embryo> embryo, Identity identity, Pid maker)
    : serial(serial_number),
      owner(identity),
      creator(maker),
      body(std::move(embryo)),
      address_space(shares_memory ? other.address_space
                                  : std::make_shared<AddressSpace>(other.host_, *body)),
      memory(*address_space),
      host_(other.host_),
      turnstile_(other.turnstile_) {
    if (shares_memory) memory.join(*body);
}

Result<> Process::check_not_started() const {
    if (was_started_)
        return fail(std::errc::operation_not_permitted, "process {} was started", id());
    if (state_ == State::exited || !visible)
        return fail(std::errc::no_such_process, "process {} is gone", id());
    return {};
}

Result<> Process::check_not_stopped() const {
    if (!body->is_stopped()) return {};
    return fail(std::errc::device_or_resource_busy, "process {} is stopped: write start", id());
}

Result<> Process::check_embryo() const {
    TRY(check_not_started());
    return check_not_stopped();
}

Process::Turn::Turn(std::shared_ptr<Process> process, Request& request, Turnstile::Turn turn)
    : process_(std::move(process)), request_(&request), turn_(std::move(turn)) {
    request.cancellation.on_request([body = process_->body.get()] { body->interrupt(true); });
}

Process::Turn::~Turn() {
    if (!process_) return;
    request_->cancellation.disarm();
    process_->body->interrupt(false);
}

Task<Result<Process::Turn>> Process::turn(Request& request) {
    if (turnstile_->busy() && request.thread == id())
        co_return fail(std::errc::resource_deadlock_would_occur,
                       "process {} waits for itself: it was told to use its own directory", id());
    if (turnstile_->busy()) co_await check_not_stopped();  // who is before this one waits for that
    Turnstile::Turn mine = co_await turnstile_->enter(request);
    co_await check_not_started();
    if (request.seen_unstopped != this) co_await check_not_stopped();  // may cost a look into /proc
    request.seen_unstopped = this;
    Turn held(shared_from_this(), request, std::move(mine));
    if (auto settled = co_await memory.settle().result(); !settled)
        error = fmt::format("mem: {}: \"settle\"\n", settled.error().why);
    co_return std::move(held);
}

Task<> Process::settle(Request& request) {
    if (check_embryo() && !turnstile_->busy()) (void)co_await turn(request).result();
}

Result<Program> Process::find_program(std::optional<std::string> path, Words& words) const {
    Program program;
    if (words.empty()) words = arguments;
    if (!path) {
        if (words.empty())
            return fail(std::errc::invalid_argument, "no program: give a PATH or set args");
        path = words.front();
    }
    if (words.empty()) words.push_back(*path);
    if (path->starts_with("fd:")) {
        program.descriptor = static_cast<int>(TRY(parse_number_up_to(
            "descriptor", std::string_view(*path).substr(3), highest_descriptor)));
    } else {
        program.candidates = search_path(*path, environment.value_of("PATH"));
    }
    if (program.candidates.empty() && !program.descriptor)
        return fail(std::errc::no_such_file_or_directory, "{} has no / and env/PATH is not set",
                    requote(*path));
    program.arguments = words;
    program.environment = environment.words();
    return program;
}

Task<Result<>> Process::exec(std::optional<std::string> path, Words words) {
    std::vector<Setting> none;
    co_return co_await exec_with(none, std::move(path), std::move(words)).result();
}

Task<Result<>> Process::exec_with(std::vector<Setting>& settings, std::optional<std::string> path,
                                  Words words) {
    auto program = find_program(std::move(path), words);
    if (!program) co_await body->apply_all(settings);  // they came first
    co_await body->exec_with(settings, co_await std::move(program));
    arguments = std::move(words);
    started(false);
    co_return done();
}

Task<Result<>> Process::enter(Registers changed) {
    auto all = threads;
    for (const auto& [key, value] : changed) all.front()[key] = value;
    co_await memory.isolate();
    co_await body->enter(std::move(all));
    started(true);
    co_return done();
}

Task<Result<>> Process::resume() {
    co_await memory.isolate();
    co_await body->resume();
    started(true);
    co_return done();
}

Task<Result<>> Process::add_thread(Registers initial) {
    co_await body->add_thread();
    const auto waiting = body->waiting_threads();
    if (waiting.empty()) co_return fail(std::errc::no_such_process, "process {} is gone", id());
    threads.push_back(std::move(initial));
    last_made = std::to_string(waiting.back());
    co_return done();
}

Result<Registers*> Process::registers_of(Pid thread) {
    if (thread == id()) return &threads.front();
    const auto waiting = body->waiting_threads();
    const auto found = std::find(waiting.begin(), waiting.end(), thread);
    const auto index = static_cast<std::size_t>(found - waiting.begin()) + 1;
    if (found == waiting.end() || index >= threads.size())
        return fail(std::errc::no_such_file_or_directory, "no waiting thread {}", thread);
    return &threads[index];
}

void Process::started(bool keeps_memory) {
    memory.started(*body, keeps_memory);
    pending_links.clear();
    removed.clear();
    extraction = {};
    was_started_ = true;
    if (state_ == State::embryo) {
        state_ = State::running;
        started_ms_ = host_.now_ms();
    } else {
        started_ms_ = ended_ms_;  // its end was seen before its start
    }
}

void Process::exited(ExitStatus status) {
    if (state_ == State::exited) return;
    const ProcessRef alive = shared_from_this();
    ended_ms_ = host_.now_ms();
    if (state_ == State::embryo) started_ms_ = ended_ms_;
    memory.died(*body);
    state_ = State::exited;
    exit_ = std::move(status);
    for (auto watchers = std::exchange(watchers_, {}); auto& hook : watchers) {
        if (hook) hook();
    }
}

Process::Watcher Process::on_exit(std::function<void()> hook) {
    if (state_ == State::exited) {
        hook();
        hook = nullptr;
    }
    return watchers_.insert(watchers_.end(), std::move(hook));
}

std::vector<std::string> search_path(const std::string& program, const std::string& path) {
    if (program.find('/') != std::string::npos) return {program};
    std::vector<std::string> candidates;
    if (path.empty()) return {};
    std::string_view rest = path;
    while (true) {
        const auto colon = rest.find(':');
        const auto directory = rest.substr(0, colon);
        candidates.push_back(directory.empty() ? program
                                               : fmt::format("{}/{}", directory, program));
        if (colon == std::string_view::npos) break;
        rest.remove_prefix(colon + 1);
    }
    return candidates;
}

}  // namespace proc9::core
