#include "tests/unit/fake_host.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "fs/core/signals.hpp"

namespace proc9::fake {
namespace {

using core::done;
using core::page_size;
using core::Result;
using core::Task;

constexpr std::uint64_t chosen_by_kernel = 0x7f0000000000;

std::string text_of(const core::OpenMode& mode) {
    std::string text(mode.append                ? "a"
                     : mode.truncate            ? "w"
                     : mode.write && !mode.read ? "W"
                                                : "r");
    if (mode.read && mode.write) text += '+';
    if (mode.exclusive) text += 'x';
    if (mode.non_blocking) text += 'n';
    return text;
}

std::string text_of(const core::Setting& setting) {
    if (setting.directory) return "f" + setting.name;
    return setting.words.empty()
               ? setting.name
               : fmt::format("{} {}", setting.name, fmt::join(setting.words, " "));
}

const FakeMemory& memory_in(const core::Mapping::Object& object) {
    return static_cast<const FakeMemory&>(*object.memory);  // NOLINT: there are no others
}

std::string text_of(const core::Mapping& mapping) {
    std::string source = "anonymous";
    if (const auto* file = std::get_if<core::Mapping::File>(&mapping.source))
        source = fmt::format("{} {:x}", file->path, file->offset);
    if (const auto* object = std::get_if<core::Mapping::Object>(&mapping.source))
        source = fmt::format("memory#{} {:x}", memory_in(*object).number(), object->offset);
    return fmt::format("{} {:x} {}{} {}{}",
                       mapping.at ? fmt::format("{:x}", mapping.at->value) : "any", mapping.length,
                       mapping.protection ? mapping.protection->text() : "???",
                       mapping.shared ? 's' : 'p', source, mapping.replace ? " replace" : "");
}

std::string text_of(const core::Range& range) {
    return fmt::format("{:x} {:x}", range.start.value, range.length);
}

core::Error no_descriptor(int number) {
    return core::refused(fmt::format("descriptor {}", number), EBADF);
}

}  // namespace

// ---------------------------------------------------------------------------------------------
// Memory

FakeMemory::FakeMemory(FakeHost& host, int number) : host_(host), number_(number) {
    ++host_.living_memories_;
}
FakeMemory::~FakeMemory() { --host_.living_memories_; }

Result<> FakeMemory::resize(std::uint64_t size) {
    TRY(host_.note(fmt::format("resize memory#{} {:x}", number_, size)));
    if (size > host_.room) return core::refused("ftruncate", EFBIG);
    bytes->resize(size);
    return {};
}

Result<> FakeMemory::set_mode(std::uint32_t mode) {
    TRY(host_.note(fmt::format("chmod memory#{} {:04o}", number_, mode)));
    mode_ = mode;
    return {};
}

Result<std::string> FakeMemory::read(std::size_t size, std::uint64_t offset) {
    return offset < bytes->size() ? bytes->substr(offset, size) : std::string{};
}

Result<std::size_t> FakeMemory::write(std::string_view more, std::uint64_t offset) {
    if (sealed) return core::refused("pwrite", EPERM);
    if (offset > host_.room || more.size() > host_.room - offset)
        return core::refused("pwrite", EFBIG);
    bytes->resize(std::max(bytes->size(), offset + more.size()));
    bytes->replace(offset, more.size(), more);
    return more.size();
}

std::vector<core::Memory::Extent> FakeMemory::extents(std::uint64_t offset,
                                                      std::uint64_t length) const {
    static const std::string zeros(page_size, '\0');
    std::vector<Extent> found;
    const std::uint64_t end = std::min<std::uint64_t>(offset + length, bytes->size());
    for (std::uint64_t at = offset; at < end; at += page_size) {
        const std::uint64_t size = std::min(page_size, end - at);
        const bool is_hole = std::memcmp(bytes->data() + at, zeros.data(), size) == 0;
        if (is_hole) continue;
        const bool goes_on = !found.empty() && found.back().offset + found.back().length == at;
        if (goes_on) {
            found.back().length += size;
        } else {
            found.push_back({at, size});
        }
    }
    return found;
}

std::uint64_t FakeMemory::allocated() const {
    std::uint64_t sum = 0;
    for (const auto& extent : extents(0, bytes->size())) sum += extent.length;
    return sum;
}

Result<std::uint64_t> FakeMemory::seek(std::uint64_t offset, bool data) const {
    for (std::uint64_t at = offset; at < bytes->size(); at = core::page_ceil(at + 1)) {
        if (extents(at, 1).empty() != data) return at;
    }
    if (data || offset >= bytes->size()) return core::refused("lseek", ENXIO);
    return bytes->size();
}

bool FakeMemory::seal() {
    if (!host_.note(fmt::format("seal memory#{}", number_)) || is_mapped_elsewhere) return false;
    sealed = true;
    return true;
}

// ---------------------------------------------------------------------------------------------
// Embryo

FakeEmbryo::FakeEmbryo(FakeHost& host, core::Pid pid) : host_(host), pid_(pid) {
    host_.embryos_[pid] = this;
    told = host_.told;
}

FakeEmbryo::~FakeEmbryo() {
    if (host_.holder_ == this) host_.holder_ = nullptr;
    host_.embryos_.erase(pid_);
}

Task<Result<>> FakeEmbryo::step(std::string line) {
    co_await host_.note(line);
    if (exited_) co_return core::refused("step", ESRCH);
    if (std::exchange(interrupt_next_, false)) co_return core::refused("step", EINTR);
    if (host_.held_prefix_ && line.starts_with(*host_.held_prefix_)) {
        host_.held_prefix_.reset();
        host_.holder_ = this;
        core::Later<std::optional<core::Error>> later;
        held_ = &later;
        auto problem = co_await later;
        if (problem) co_return std::move(*problem);
    }
    co_return done();
}

void FakeEmbryo::interrupt(bool on) {
    interrupt_next_ = on && !held_;
    if (!on) return;
    host_.calls.emplace_back("interrupt");
    if (host_.holder_ == this) host_.holder_ = nullptr;
    if (auto* const held = std::exchange(held_, nullptr))
        (void)held->set(core::refused("held", EINTR));
}

void FakeEmbryo::exit(core::ExitStatus status) {
    if (std::exchange(exited_, true)) return;
    if (host_.holder_ == this) host_.holder_ = nullptr;
    if (auto* const held = std::exchange(held_, nullptr))
        (void)held->set(core::refused("held", ESRCH));
    if (const auto hook = std::exchange(exit_hook_, nullptr)) hook(std::move(status));
}

bool FakeEmbryo::is_free(core::Range range) const {
    const auto found = pages.lower_bound(range.start.value);
    return found == pages.end() || found->first >= range.end().value;
}

void FakeEmbryo::put(core::Range range, const Page& first) {
    for (std::uint64_t done = 0; done < range.length; done += page_size) {
        Page page = first;
        page.offset += done;
        pages[range.start.value + done] = page;
    }
}

Task<Result<core::Range>> FakeEmbryo::map(core::Mapping mapping) {
    co_await step("map " + text_of(mapping));
    Page page;
    page.shared = mapping.shared;
    page.name = "anonymous";
    core::Protection by_default{true, true, false};
    if (const auto* file = std::get_if<core::Mapping::File>(&mapping.source)) {
        const auto found = host_.files.find(file->path);
        if (found == host_.files.end()) co_return core::refused("open", ENOENT);
        page.bytes = std::make_shared<std::string>(found->second);
        page.offset = file->offset;
        page.name = file->path;
        if (mapping.length == 0) mapping.length = found->second.size();
        if (found->second == "program") by_default = {true, false, true};
    } else if (const auto* object = std::get_if<core::Mapping::Object>(&mapping.source)) {
        page.bytes = memory_in(*object).bytes;
        page.offset = object->offset;
        page.name = fmt::format("memory#{}", memory_in(*object).number());
    }
    if (mapping.length == 0) co_return core::refused("mmap", EINVAL);
    if (mapping.length > host_.room) co_return core::refused("mmap", ENOMEM);
    page.protection = mapping.protection.value_or(by_default);
    core::Range range{mapping.at.value_or(core::Address{chosen_by_kernel}),
                      core::page_ceil(mapping.length)};
    while (!mapping.at && !is_free(range)) range.start = range.start + range.length;
    if (!mapping.replace && !is_free(range)) co_return core::refused("mmap", EEXIST);
    put(range, page);
    co_return range;
}

Task<Result<std::vector<core::MappedLine>>> FakeEmbryo::map_vdso(std::optional<core::Address> at) {
    std::string verb = at ? fmt::format("vdso {:x}", at->value) : "vdso any";
    co_await step(std::move(verb));  // GCC 12 destroys a conditional inside co_await twice
    const core::Address start = at.value_or(core::Address{chosen_by_kernel});
    if (!is_free({start, 2 * page_size})) co_return core::refused("arch_prctl", EEXIST);
    put({start, page_size}, Page{{true, false, false}, false, nullptr, 0, "[vvar]"});
    put({start + page_size, page_size}, Page{{true, false, true}, false, nullptr, 0, "[vdso]"});
    auto lines = co_await maps();
    std::erase_if(lines, [](const auto& line) { return !line.name.starts_with("[v"); });
    co_return std::move(lines);
}

Task<Result<>> FakeEmbryo::unmap(core::Range range) {
    co_await step("unmap " + text_of(range));
    std::erase_if(pages, [&](const auto& page) {
        return range.contains({core::Address{page.first}, page_size});
    });
    co_return done();
}

Task<Result<>> FakeEmbryo::protect(core::Range range, core::Protection protection) {
    co_await step("protect " + text_of(range) + " " + protection.text());
    for (auto& [start, page] : pages) {
        if (range.contains({core::Address{start}, page_size})) page.protection = protection;
    }
    co_return done();
}

Task<Result<>> FakeEmbryo::move(core::Range range, core::Address to) {
    co_await step("move " + text_of(range) + fmt::format(" {:x}", to.value));
    for (std::uint64_t done = 0; done < range.length; done += page_size) {
        auto page = pages.extract(range.start.value + done);
        if (!page) continue;
        page.key() = to.value + done;
        pages.insert(std::move(page));
    }
    co_return core::done();
}

Task<Result<>> FakeEmbryo::save(core::Range range, core::MemoryRef to, std::uint64_t offset) {
    co_await step(fmt::format("save {} memory#{} {:x}", text_of(range), to->number(), offset));
    for (const auto& [start, page] : pages) {
        if (range.contains({core::Address{start}, page_size}) && !page.protection.read)
            co_return core::refused("pwrite", EFAULT);
    }
    const std::string bytes = co_await peek(range.start, range.length);
    co_await to->write(bytes, offset);
    co_return done();
}

Task<Result<>> FakeEmbryo::load(core::Load load) {
    co_await step(fmt::format("load {}", load.pieces.size()));
    if (!load.object) co_return done();
    for (const auto& piece : load.pieces)
        (void)load.object->write(std::string(piece.length, 's'), piece.start - load.origin);
    co_return done();
}

Task<Result<>> FakeEmbryo::open(int number, std::string path, core::OpenMode mode,
                                std::uint32_t perm) {
    co_await step(fmt::format("open {} {} {} {:o}", number, path, text_of(mode), perm));
    if (!host_.files.contains(path) && !mode.create) co_return core::refused("openat", ENOENT);
    open_descriptors[number] = host_.describe(path);
    co_return done();
}

Task<Result<>> FakeEmbryo::install(std::vector<core::Numbered> descriptors, bool close_on_exec) {
    const std::string_view flag = close_on_exec ? " cloexec" : "";
    for (auto& [number, descriptor] : descriptors) {
        co_await step(fmt::format("install {}{}", number, flag));
        open_descriptors[number] = std::move(descriptor);
    }
    co_return done();
}

Result<std::vector<core::Setting>> FakeEmbryo::passed_on() { return host_.settings_of(pid()); }

Task<Result<>> FakeEmbryo::duplicate(int from, int to) {
    co_await step(fmt::format("dup {} {}", from, to));
    if (!open_descriptors.contains(from)) co_return no_descriptor(from);
    open_descriptors[to] = open_descriptors[from];
    co_return done();
}

Task<Result<>> FakeEmbryo::close(int number) {
    co_await step(fmt::format("close {}", number));
    if (open_descriptors.erase(number) == 0) co_return no_descriptor(number);
    co_return done();
}

Task<Result<>> FakeEmbryo::set_close_on_exec(int number, bool on) {
    const std::string_view flag = on ? "on" : "off";
    co_await step(fmt::format("cloexec {} {}", number, flag));
    if (!open_descriptors.contains(number)) co_return no_descriptor(number);
    co_return done();
}

Task<Result<>> FakeEmbryo::seek(int number, std::uint64_t offset) {
    co_await step(fmt::format("seek {} {}", number, offset));
    if (!open_descriptors.contains(number)) co_return no_descriptor(number);
    co_return done();
}

Task<Result<>> FakeEmbryo::apply_all(std::vector<core::Setting>& settings) {
    while (!settings.empty()) {
        core::Setting& setting = settings.front();
        co_await step(text_of(setting));
        if (setting.name == "chdir" && !setting.directory) cwd_ = setting.words.at(0);
        if (setting.name == "chroot") root_ = setting.words.at(0);
        applied.push_back(std::move(setting));
        settings.erase(settings.begin());
    }
    co_return done();
}

Task<Result<std::vector<core::Setting>>> FakeEmbryo::settings() {
    co_await step("settings");
    co_return told.value_or(applied);
}

Task<Result<>> FakeEmbryo::exec_with(std::vector<core::Setting>& settings, core::Program program) {
    co_await apply_all(settings);
    const std::string from = program.descriptor ? fmt::format("fd:{}", *program.descriptor) : "";
    co_await step(fmt::format("exec {}{} [{}] [{}]", from, fmt::join(program.candidates, ":"),
                              core::join_words(program.arguments),
                              core::join_words(program.environment)));
    const auto found =
        std::find_if(program.candidates.begin(), program.candidates.end(),
                     [this](const std::string& path) { return host_.files.contains(path); });
    if (found == program.candidates.end()) co_return core::refused("exec", ENOENT);
    pages.clear();
    put({core::Address{0x400000}, page_size}, Page{{true, false, true}, false, nullptr, 0, *found});
    started = true;
    co_return done();
}

Task<Result<>> FakeEmbryo::enter(std::vector<core::Registers> threads) {
    std::string line = "enter";
    for (const auto& registers : threads) {
        if (&registers != &threads.front()) line += ",";
        for (const auto& [name, value] : registers) line += fmt::format(" {}={:x}", name, value);
    }
    co_await step(std::move(line));
    started = true;
    co_return done();
}

Task<Result<>> FakeEmbryo::resume() {
    co_await step("resume");
    started = true;
    co_return done();
}

Task<Result<>> FakeEmbryo::add_thread() {
    co_await step("add_thread");
    waiting.push_back(++host_.last_pid_);
    co_return done();
}

Result<> FakeEmbryo::send_signal(int number) {
    TRY(host_.note(fmt::format("signal {}", number)));
    if (exited_) return core::refused("pidfd_send_signal", ESRCH);
    constexpr int continues = 18;
    constexpr int stops = 19;
    if (number == stops || number == continues) stopped = number == stops;
    if (number != 0 && number != continues && number != stops) killed_by_ = number;
    return {};
}

void FakeEmbryo::on_exit(std::function<void(core::ExitStatus)> hook) {
    exit_hook_ = std::move(hook);
}

Task<Result<std::string>> FakeEmbryo::peek(core::Address from, std::size_t size) {
    std::string bytes;
    for (std::uint64_t at = from.value; bytes.size() < size;) {
        const auto within = at % page_size;
        const auto found = pages.find(at - within);
        if (found == pages.end()) co_return core::refused("process_vm_readv", EFAULT);
        const auto part = std::min(size - bytes.size(), page_size - within);
        const Page& page = found->second;
        std::string piece;
        if (page.bytes && page.offset + within < page.bytes->size())
            piece = page.bytes->substr(page.offset + within, part);
        piece.resize(part);
        bytes += piece;
        at += part;
    }
    co_return std::move(bytes);
}

Task<Result<std::size_t>> FakeEmbryo::poke(core::Address to, std::string bytes) {
    co_await host_.note(fmt::format("poke {:x} {}", to.value, bytes));
    co_return bytes.size();
}

Result<core::MemoryRef> FakeEmbryo::make_memory() { return host_.make_memory(); }

Task<Result<std::string>> FakeEmbryo::read(core::DescriptorRef file, std::size_t most) {
    const auto& target = dynamic_cast<FakeDescriptor&>(*file).target();
    co_await host_.note(fmt::format("read {}", target.substr(0, target.find('\n'))));
    std::string text = target.substr(target.find('\n') + 1);
    if (text.size() > most) co_return core::refused("read", EFBIG);
    co_return std::move(text);
}

Result<std::vector<core::MappedLine>> FakeEmbryo::maps() {
    if (exited_) return core::refused("maps", ESRCH);
    std::vector<core::MappedLine> lines;
    const Page* last = nullptr;
    for (const auto& [start, page] : pages) {
        const bool goes_on = last && lines.back().range.end().value == start &&
                             last->name == page.name && last->protection == page.protection &&
                             last->shared == page.shared && last->offset + page_size == page.offset;
        if (goes_on) {
            lines.back().range.length += page_size;
        } else {
            const std::string name = page.name == "anonymous" ? "" : page.name;
            core::MappedLine line;
            line.range = {core::Address{start}, page_size};
            line.name = name;
            line.protection = page.protection;
            line.shared = page.shared;
            line.offset = page.offset;
            if (name.starts_with('/')) line.file = name;
            lines.push_back(std::move(line));
        }
        auto& line = lines.back();
        line.text = fmt::format("{:x}-{:x} {}{} {:08x} 00:00 0 {}", line.range.start.value,
                                line.range.end().value, page.protection.text(),
                                page.shared ? 's' : 'p', line.offset, line.name);
        last = &page;
    }
    return lines;
}

Result<std::vector<int>> FakeEmbryo::descriptors() {
    if (exited_) return core::refused("fd", ESRCH);
    std::vector<int> numbers;
    for (const auto& [number, descriptor] : open_descriptors) numbers.push_back(number);
    return numbers;
}

Result<std::string> FakeEmbryo::descriptor_target(int number) {
    const auto found = open_descriptors.find(number);
    if (found == open_descriptors.end()) return no_descriptor(number);
    const auto* const file = dynamic_cast<const FakeDescriptor*>(found->second.get());
    return file ? file->target() : "/memfd:proc9";
}

Result<core::DescriptorRef> FakeEmbryo::take_descriptor(int number) {
    TRY(host_.note(fmt::format("take embryo {}", number)));
    const auto found = open_descriptors.find(number);
    if (found == open_descriptors.end()) return no_descriptor(number);
    return found->second;
}

Result<std::string> FakeEmbryo::link(std::string_view name) {
    if (exited_) return core::refused("readlink", ESRCH);
    if (name == "cwd") return cwd_;
    if (name == "root") return root_;
    if (name.starts_with("ns/")) return fmt::format("{}:[1]", name.substr(3));
    if (started && !pages.empty()) return pages.begin()->second.name;
    return core::refused("readlink", ENOENT);
}

Result<std::string> FakeEmbryo::text(std::string_view name) {
    if (exited_) return core::refused("read", ESRCH);
    return fmt::format("{} of {}\n", name, pid_);
}

Result<std::vector<core::Pid>> FakeEmbryo::threads() {
    std::vector all{pid_};
    all.insert(all.end(), waiting.begin(), waiting.end());
    return all;
}

Result<std::map<std::string, std::string>> FakeEmbryo::status() {
    if (exited_) return core::refused("status", ESRCH);
    return std::map<std::string, std::string>{{"Name", "proc9-stub"},
                                              {"PPid", "1"},
                                              {"Threads", "1"},
                                              {"Uid", "0\t0\t0\t0"},
                                              {"Gid", "0\t0\t0\t0"}};
}

// ---------------------------------------------------------------------------------------------
// Host

void FakeHost::fail_at(int n, std::errc code) {
    countdown_ = n;
    failure_ = code;
}

Result<> FakeHost::note(std::string line) {
    calls.push_back(std::move(line));
    if (countdown_ > 0 && --countdown_ == 0)
        return core::Error{failure_, "told to fail: " + calls.back()};
    return {};
}

void FakeHost::release() {
    FakeEmbryo* const holder = std::exchange(holder_, nullptr);
    if (!holder) return;
    if (auto* const held = std::exchange(holder->held_, nullptr)) (void)held->set(std::nullopt);
}

void FakeHost::deliver_exits() {
    const auto living = embryos_;
    for (const auto& [pid, embryo] : living) {
        const bool is_there = embryos_.contains(pid);
        constexpr int kill = 9;
        if (!is_there || embryo->killed_by_ == 0) continue;
        if (embryo->stopped && embryo->killed_by_ != kill) continue;
        const int number = embryo->killed_by_;
        embryo->exit({fmt::format("signal {} {}", number, core::signal_name(number)), 0, 0});
    }
}

core::DescriptorRef FakeHost::describe(std::string target) {
    return std::make_shared<FakeDescriptor>(++last_number_, std::move(target));
}

Task<Result<std::unique_ptr<core::Embryo>>> FakeHost::efork(const core::Request& request,
                                                            core::Birth birth) {
    std::string how;
    if (!birth.namespaces.empty()) how += fmt::format(" ns={}", fmt::join(birth.namespaces, ","));
    if (birth.pid) how += fmt::format(" pid={}", *birth.pid);
    co_await note(fmt::format("efork {}{}", request.who.uid, how));
    co_return std::unique_ptr<core::Embryo>(std::make_unique<FakeEmbryo>(*this, ++last_pid_));
}

// A process with two pages of its own.
Task<Result<std::unique_ptr<core::Embryo>>> FakeHost::adopt(const core::Request& request,
                                                            core::Pid parent, int link) {
    co_await note(fmt::format("adopt {} {}:{}", request.who.uid, parent, link));
    auto adopted = std::make_unique<FakeEmbryo>(*this, ++last_pid_);
    adopted->put({core::Address{0x400000}, page_size},
                 {{true, false, true}, false, nullptr, 0, "/bin/program"});
    adopted->put({core::Address{0x600000}, page_size},
                 {{true, true, false}, false, nullptr, 0, "anonymous"});
    co_return std::unique_ptr<core::Embryo>(std::move(adopted));
}

Task<Result<std::unique_ptr<core::Embryo>>> FakeEmbryo::share(core::Words contexts,
                                                              core::Birth /*birth*/) {
    co_await host_.note(fmt::format("share {}", fmt::join(contexts, ",")));
    co_return std::unique_ptr<core::Embryo>(std::make_unique<FakeEmbryo>(host_, ++host_.last_pid_));
}

Task<Result<std::unique_ptr<core::Embryo>>> FakeEmbryo::fork() {
    co_await host_.note("fork");
    auto copy = std::make_unique<FakeEmbryo>(host_, ++host_.last_pid_);
    copy->pages = pages;
    copy->open_descriptors = open_descriptors;
    copy->applied = applied;
    co_return std::unique_ptr<core::Embryo>(std::move(copy));
}

namespace {

// A process with one page of its own, of letters.
class FakeSource : public core::Source {
public:
    explicit FakeSource(core::DescriptorRef memory) : memory_(std::move(memory)) {}
    Result<std::vector<core::MappedLine>> maps() override {
        core::MappedLine line;
        line.range = {core::Address{0x600000}, page_size};
        line.protection = {true, true, false};
        return std::vector{line};
    }
    [[nodiscard]] core::DescriptorRef memory() const override { return memory_; }
    Result<std::vector<core::Range>> own_pages(core::Range range) override {
        return std::vector{range};
    }
    [[nodiscard]] core::Words paths_of(const core::MappedLine& line) const override {
        return {line.name};
    }

private:
    core::DescriptorRef memory_;
};

}  // namespace

Task<Result<std::unique_ptr<core::Source>>> FakeHost::freeze(const core::Request& /*request*/,
                                                             core::Pid from, bool /*is_embryo*/) {
    co_await note(fmt::format("freeze {}", from));
    co_return std::unique_ptr<core::Source>(std::make_unique<FakeSource>(describe("memory")));
}

Result<core::MemoryRef> FakeHost::make_memory() {
    TRY(note("make_memory"));
    return core::MemoryRef(std::make_shared<FakeMemory>(*this, ++last_memory_));
}

Result<std::pair<core::DescriptorRef, core::DescriptorRef>> FakeHost::make_pipe() {
    TRY(note("make_pipe"));
    return std::pair(describe("pipe:reader"), describe("pipe:writer"));
}

std::vector<std::string> FakeHost::register_names() const {
    return {"rax", "rdi", "rsi", "rsp", "rip"};
}

Result<std::string> FakeHost::register_for(const std::string& role, std::uint64_t value) const {
    if (role == "pc" && value >= core::address_space_end)
        return core::fail(std::errc::invalid_argument, "{:#x} is too high", value);
    const std::map<std::string, std::string> roles{
        {"pc", "rip"}, {"sp", "rsp"}, {"arg0", "rdi"}, {"arg1", "rsi"}};
    const auto found = roles.find(role);
    const std::string name = found == roles.end() ? role : found->second;
    const auto names = register_names();
    if (std::find(names.begin(), names.end(), name) != names.end()) return name;
    return core::fail(std::errc::invalid_argument, "unknown register {}", name);
}

Result<core::Pid> FakeHost::process_of_thread(core::Pid thread) {
    if (thread == 0) return core::refused("read", ESRCH);
    const auto found = leader_of_thread.find(thread);
    return found == leader_of_thread.end() ? thread : found->second;
}

Result<core::DescriptorRef> FakeHost::take_descriptor(const core::Request& request, core::Pid from,
                                                      int number) {
    TRY(note(fmt::format("take {} {} {}", request.who.uid, from, number)));
    const auto process = descriptors_of_others.find(from);
    if (process == descriptors_of_others.end()) return core::refused("pidfd_open", ESRCH);
    const auto found = process->second.find(number);
    if (found == process->second.end()) return no_descriptor(number);
    return describe(found->second);
}

Result<std::vector<core::Numbered>> FakeHost::take_inheritable(core::Pid from) {
    TRY(note(fmt::format("inheritable {}", from)));
    std::vector<core::Numbered> taken;
    for (const auto& [number, target] : descriptors_of_others[from])
        taken.push_back({number, describe(target)});
    return taken;
}

Result<core::DescriptorRef> FakeHost::environment_of(core::Pid from) {
    TRY(note(fmt::format("environment {}", from)));
    std::string text = "environ\n";
    for (const auto& word : environments[from]) text += word + '\0';
    return describe(std::move(text));
}

Result<core::DescriptorRef> FakeHost::directory_of(core::Pid from) {
    TRY(note(fmt::format("directory {}", from)));
    return describe("/home");
}

Result<std::vector<core::Setting>> FakeHost::settings_of(core::Pid thread) {
    TRY(note(fmt::format("settings {}", thread)));
    return settings[thread];
}

core::MemoryRef FakeEmbryo::hold_memory(int number) {
    return std::make_shared<FakeMemory>(host_, number);
}

core::Saved FakeEmbryo::save_state(core::Saving&) { return {{"pid", pid_}}; }

core::DescriptorRef FakeHost::hold_descriptor(int number) {
    return std::make_shared<FakeDescriptor>(number, "held");
}

std::unique_ptr<core::Embryo> FakeHost::restore(const core::Saved& saved, core::Restoring&) {
    return std::make_unique<FakeEmbryo>(*this, saved.at("pid"));
}

}  // namespace proc9::fake
