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

Result<> Environment::rename(const std::string& name, const std::string& new_name) {
    TRY(set(new_name, ""));
    auto moved = variables_.extract(name);
    variables_.erase(new_name);
    moved.key() = new_name;
    variables_.insert(std::move(moved));
    return {};
}

Words Environment::words() const {
    Words words;
    words.reserve(variables_.size());
    for (const auto& [name, variable] : variables_) words.push_back(name + '=' + value_of(name));
    return words;
}

Process::Process(std::uint32_t serial_number, Host& host, std::unique_ptr<Embryo> embryo,
                 Identity identity, Pid maker)
    : Process(serial_number, host, std::move(embryo), identity, maker,
              std::make_shared<AddressSpace>(), std::make_shared<Turnstile>()) {
    memory.join(*body);
}

Process::Process(std::uint32_t serial_number, Process& other, bool shares_memory,
                 std::unique_ptr<Embryo> embryo, Identity identity, Pid maker)
    : Process(serial_number, other.host_, std::move(embryo), identity, maker,
              shares_memory ? other.address_space : std::make_shared<AddressSpace>(),
              other.turnstile_) {
    memory.join(*body);
}

Process::Process(std::uint32_t serial_number, Host& host, std::unique_ptr<Embryo> embryo,
                 Identity identity, Pid maker, std::shared_ptr<AddressSpace> space,
                 std::shared_ptr<Turnstile> turnstile)
    : serial(serial_number),
      owner(identity),
      creator(maker),
      body(std::move(embryo)),
      address_space(std::move(space)),
      memory(*address_space),
      host_(host),
      turnstile_(std::move(turnstile)) {}

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
    co_await memory.settle();  // what its turn could not: nothing starts with less
    co_await memory.isolate();
    co_await body->enter(std::move(all));
    started(true);
    co_return done();
}

Task<Result<>> Process::resume() {
    co_await memory.settle();
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

// ---------------------------------------------------------------------------------------------
// For the next daemon

Saved Environment::save() const {
    Saved all = Saved::array();
    for (const auto& [name, variable] : variables_)
        all.push_back({{"name", name},
                       {"id", variable.id},
                       {"value", variable.value},
                       {"is_file", variable.is_file}});
    return {{"variables", all}, {"last_id", last_id_}};
}

void Environment::restore(const Saved& saved) {
    saved.at("last_id").get_to(last_id_);
    for (const Saved& one : saved.at("variables"))
        variables_[one.at("name")] = {one.at("id"), one.at("value"), one.at("is_file")};
}

Saved Extraction::save(Saving& saving) const {
    Saved saved{{"last_placeholder", last_placeholder}, {"shared", shared}, {"threads", threads}};
    Saved& places = saved["placeholders"] = Saved::object();
    for (const auto& [path, place] : placeholders)
        places[path] = {{"id", place.id}, {"stands", place.stands}};
    Saved& opened = saved["files"] = Saved::array();
    for (const auto& [number, file] : files)
        opened.push_back({{"number", number},
                          {"path", file.path},
                          {"close_on_exec", file.close_on_exec},
                          {"kept", file.kept ? saving.descriptor(file.kept->number()) : -1}});
    return saved;
}

void Extraction::restore(const Saved& saved, Host& host) {
    saved.at("last_placeholder").get_to(last_placeholder);
    saved.at("shared").get_to(shared);
    saved.at("threads").get_to(threads);
    for (const auto& [path, place] : saved.at("placeholders").items())
        placeholders[path] = {place.at("id"), place.at("stands")};
    for (const Saved& one : saved.at("files")) {
        const int kept = one.at("kept");
        files[one.at("number")] = {one.at("path"), one.at("close_on_exec"),
                                   kept < 0 ? nullptr : host.hold_descriptor(kept)};
    }
}

Saved Process::save(Saving& saving) {
    const auto nothing = [] { return Saved::object(); };
    return {{"serial", serial},
            {"owner", owner},
            {"creator", creator},
            {"body", body->save_state(saving)},
            {"space", saving.common(address_space.get(), [&] { return memory.save(saving); })},
            {"is_in_space", memory.has(*body)},
            {"turnstile", saving.common(turnstile_.get(), nothing)},
            {"environment", environment.save()},
            {"arguments", arguments},
            {"threads", threads},
            {"name", name},
            {"error", error},
            {"persistent", persistent},
            {"doomed", doomed},
            {"visible", visible},
            {"last_made", last_made},
            {"pending_links", pending_links},
            {"removed", removed},
            {"extraction", extraction.save(saving)},
            {"state", static_cast<int>(state_)},
            {"was_started", was_started_},
            {"exit", exit_},
            {"started_ms", started_ms_},
            {"ended_ms", ended_ms_}};
}

ProcessRef Process::restore(const Saved& saved, Restoring& restoring, Host& host) {
    auto body = host.restore(saved.at("body"), restoring);
    Embryo& embryo = *body;
    const Saved& space = saved.at("space");
    const auto memory = restoring.common<AddressSpace>(space, [&] {
        auto made = std::make_shared<AddressSpace>();
        made->restore(space, restoring, embryo);
        return made;
    });
    const auto turnstile = restoring.common<Turnstile>(
        saved.at("turnstile"), [] { return std::make_shared<Turnstile>(); });
    const ProcessRef process(new Process(saved.at("serial"), host, std::move(body),
                                         saved.at("owner").get<Identity>(), saved.at("creator"),
                                         memory, turnstile));
    if (saved.at("is_in_space")) memory->join(embryo);
    process->environment.restore(saved.at("environment"));
    saved.at("arguments").get_to(process->arguments);
    saved.at("threads").get_to(process->threads);
    saved.at("name").get_to(process->name);
    saved.at("error").get_to(process->error);
    saved.at("persistent").get_to(process->persistent);
    saved.at("doomed").get_to(process->doomed);
    saved.at("visible").get_to(process->visible);
    saved.at("last_made").get_to(process->last_made);
    saved.at("pending_links").get_to(process->pending_links);
    saved.at("removed").get_to(process->removed);
    process->extraction.restore(saved.at("extraction"), host);
    process->state_ = static_cast<State>(saved.at("state").get<int>());
    saved.at("was_started").get_to(process->was_started_);
    saved.at("exit").get_to(process->exit_);
    saved.at("started_ms").get_to(process->started_ms_);
    saved.at("ended_ms").get_to(process->ended_ms_);
    return process;
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
