// The verbs that build an embryo, each as the system calls that its stub makes.
#include <fcntl.h>
#include <linux/stat.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <algorithm>
#include <csignal>
#include <cstring>

#include "daemon/os/child.hpp"
#include "daemon/os/procfs.hpp"
#include "daemon/os/settings/settings.hpp"
#include "daemon/os/vdso.hpp"

namespace proc9::os {
namespace {

using core::Result;
using core::Task;

int prot_of(core::Protection protection) {
    return (protection.read ? PROT_READ : 0) | (protection.write ? PROT_WRITE : 0) |
           (protection.execute ? PROT_EXEC : 0);
}

int flags_of(const core::Mapping& mapping) {
    const int place = !mapping.at ? 0 : mapping.replace ? MAP_FIXED : MAP_FIXED_NOREPLACE;
    return place | (mapping.shared ? MAP_SHARED : MAP_PRIVATE);
}

int flags_of(const core::OpenMode& mode) {
    return (mode.read && mode.write ? O_RDWR
            : mode.write            ? O_WRONLY
                                    : O_RDONLY) |
           (mode.append ? O_APPEND : 0) | (mode.create ? O_CREAT : 0) |
           (mode.truncate ? O_TRUNC : 0) | (mode.exclusive ? O_EXCL : 0) |
           (mode.non_blocking ? O_NONBLOCK : 0) | O_NOCTTY;
}

}  // namespace

// ---------------------------------------------------------------------------------------------
// Making room

Task<Result<>> Child::clear(core::Range range) {
    const auto embryos = memory_->embryos;
    for (Child* const embryo : embryos) {
        if (range.overlaps(with_margin(embryo->hidden()))) co_await embryo->move_stub(range);
    }
    co_return core::done();
}

Task<Result<>> Child::move_away() {
    const bool is_at_birth_place = stub_.value == PROC9_STUB_BASE;
    if (is_at_birth_place) co_await move_stub(hidden());
    co_return core::done();
}

// A place for hidden pages, with nothing near.
Result<core::Range> Child::free_place(core::Range range) const {
    const auto lines = TRY(procfs::maps(pid_));
    constexpr std::uint64_t step = 1ULL << 30U;
    core::Range place{core::Address{PROC9_STUB_BASE}, PROC9_STUB_SIZE};
    const auto is_taken = [&] {
        return with_margin(place).overlaps(range) ||
               std::any_of(lines.begin(), lines.end(), [&](const auto& line) {
                   return line.range.overlaps(with_margin(place));
               });
    };
    while (is_taken()) {
        place.start = place.start + step;
        if (place.end().value >= core::address_space_end)
            return core::fail(std::errc::not_enough_memory, "no room for the hidden pages");
    }
    return place;
}

Task<Result<>> Child::move_stub(core::Range range) {
    const core::Range place = co_await free_place(range);
    const auto threads = co_await unpark();
    auto moved = co_await move_pages(place).result();
    co_await park(threads);
    co_return moved;
}

Task<Result<>> Child::move_pages(core::Range place) {
    Batch batch = this->batch();
    batch.call("move", PROC9_CALL_MOVE_STUB, place.start);
    co_await run_checked(std::move(batch));
    stub_ = place.start;
    co_return core::done();
}

Task<Result<>> Child::clear(int number) {
    const auto embryos = files_->embryos;
    for (Child* const embryo : embryos) {
        if (number == embryo->link_number_) co_await embryo->move_link(number + 1);
    }
    co_return core::done();
}

Task<Result<>> Child::move_link(int least) {
    Batch batch = this->batch();
    const auto moved = batch.call("fcntl", PROC9_CALL_MOVE_LINK, least);
    const Replies replies = co_await run(batch);
    link_number_ = static_cast<int>(co_await replies.of(moved.index()));
    co_return core::done();
}

Result<> Child::check_not_link(int number) const {
    const auto links = hidden_links();
    if (std::find(links.begin(), links.end(), number) != links.end())
        return core::fail(std::errc::bad_file_descriptor, "no descriptor {}", number);
    return {};
}

// ---------------------------------------------------------------------------------------------
// Memory

Task<Result<core::Range>> Child::map(core::Mapping mapping) {
    if (mapping.at && mapping.length != 0) {
        const core::Range wanted = co_await core::checked_range(*mapping.at, mapping.length);
        co_await clear(wanted);
    }
    if (const auto* file = std::get_if<core::Mapping::File>(&mapping.source))
        co_return co_await map_file(mapping, *file);
    Batch batch = this->batch();
    const auto at = mapping.at.value_or(core::Address{});
    const int prot = prot_of(mapping.protection.value_or(core::Protection{}));
    std::uint32_t result = 0;
    if (const auto* object = std::get_if<core::Mapping::Object>(&mapping.source)) {
        const auto fd = batch.send(object->memory);
        const auto mapped = batch.call("mmap", SYS_mmap, at, mapping.length, prot,
                                       flags_of(mapping), fd, object->offset);
        batch.call("close", SYS_close, fd).always();
        result = mapped.index();
    } else {
        result = batch
                     .call("mmap", SYS_mmap, at, mapping.length, prot,
                           flags_of(mapping) | MAP_ANONYMOUS, -1, 0)
                     .index();
    }
    const Replies replies = co_await run(batch);
    const auto start = static_cast<std::uint64_t>(co_await replies.of(result));
    co_return core::Range{core::Address{start}, core::page_ceil(mapping.length)};
}

// Two messages, because the length of the second may be the answer of the first.
Task<Result<core::Range>> Child::map_file(const core::Mapping& mapping,
                                          const core::Mapping::File& file) {
    const bool writes = mapping.shared && mapping.protection.value_or(core::Protection{}).write;
    Batch opening = batch();
    const auto attributes = opening.space(sizeof(struct statx));
    const auto opened = opening.call("open", SYS_openat, AT_FDCWD, opening.text(file.path),
                                     (writes ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOCTTY, 0);
    opening.call("statx", SYS_statx, opened, opening.text(""), AT_EMPTY_PATH,
                 STATX_SIZE | STATX_MODE | STATX_TYPE, attributes);
    const Replies first = co_await run(opening);
    const auto fd = co_await first.of(opened.index());
    if (auto described = first.checked(); !described) {
        co_await drop(fd);
        co_return std::move(described).error();
    }
    struct statx found{};
    const std::string bytes = first.data(attributes, sizeof found);
    std::memcpy(&found, bytes.data(), sizeof found);

    Batch mapper = batch();
    core::Range range{mapping.at.value_or(core::Address{}), mapping.length};
    if (range.length == 0)
        range.length = found.stx_size > file.offset ? found.stx_size - file.offset : 0;
    const bool runs = (found.stx_mode & 0111U) != 0;
    const auto prot = mapping.protection.value_or(core::Protection{true, !runs, runs});
    // The whole of an empty file, or of a directory, is refused by mmap itself.
    const auto mapped = mapper.call("mmap", SYS_mmap, range.start, range.length, prot_of(prot),
                                    flags_of(mapping), fd, file.offset);
    mapper.call("close", SYS_close, fd).always();
    if (mapping.at && range.length != 0) {
        if (auto cleared =
                co_await clear(core::Range{range.start, core::page_ceil(range.length)}).result();
            !cleared) {
            co_await drop(fd);
            co_return std::move(cleared).error();
        }
    }
    auto answered = co_await run(mapper).result();
    if (!answered) co_await drop(fd);
    const Replies second = co_await std::move(answered);
    range.start.value = static_cast<std::uint64_t>(co_await second.of(mapped.index()));
    range.length = core::page_ceil(range.length);
    co_return range;
}

// What was opened for the time. If that cannot be said either, nobody is there any more.
Task<> Child::drop(std::int64_t fd) {
    Batch batch = this->batch();
    batch.call("close", SYS_close, fd);
    (void)co_await run(batch).result();
}

Task<Result<std::vector<core::MappedLine>>> Child::map_vdso(std::optional<core::Address> at) {
    co_await maps();  // who cannot look hears it before anything is done
    Batch batch = this->batch();
    co_await arch::add_vdso(batch, at.value_or(core::Address{}));
    co_await run_checked(std::move(batch));
    const auto seen = maps();
    // Else once more, for what nobody knows of must not stay.
    auto looked = seen ? seen : maps();
    auto lines = co_await std::move(looked);
    std::erase_if(lines, [](const auto& line) { return !line.is_kernels(); });
    // The kernel takes the address as a hint.
    const bool is_elsewhere = at && !lines.empty() && lines.front().range.start != *at;
    if (seen && !is_elsewhere) co_return std::move(lines);
    for (const auto& line : lines) co_await unmap(line.range);
    if (!seen) co_return seen.error();
    co_return core::fail(std::errc::file_exists, "something is in the way at {:x}", at->value);
}

Task<Result<>> Child::unmap(core::Range range) {
    Batch batch = this->batch();
    core::Address from = range.start;
    for (const auto& hidden : hidden_ranges()) {  // takes away all but those
        if (!range.overlaps(hidden)) continue;
        if (from < hidden.start) batch.call("munmap", SYS_munmap, from, hidden.start - from);
        from = std::max(from, hidden.end());
    }
    if (from < range.end()) batch.call("munmap", SYS_munmap, from, range.end() - from);
    co_await run_checked(std::move(batch));
    co_return core::done();
}

Task<Result<>> Child::protect(core::Range range, core::Protection protection) {
    Batch batch = this->batch();
    batch.call("mprotect", SYS_mprotect, range.start, range.length, prot_of(protection));
    co_await run_checked(std::move(batch));
    co_return core::done();
}

Task<Result<>> Child::move(core::Range range, core::Address to) {
    co_await clear(core::Range{to, range.length});
    Batch batch = this->batch();
    batch.call("mremap", SYS_mremap, range.start, range.length, range.length,
               MREMAP_MAYMOVE | MREMAP_FIXED, to);
    co_await run_checked(std::move(batch));
    co_return core::done();
}

// By the daemon, where a limit forbids the process to write files.
Task<Result<>> Child::save_from_outside(core::Range range, core::MemoryRef to,
                                        std::uint64_t offset) {
    constexpr std::uint64_t piece = 256 * core::page_size;
    for (std::uint64_t done = 0; done < range.length;) {
        const auto bytes =
            co_await peek(range.start + done, std::min(piece, range.length - done)).result();
        const std::uint64_t count = bytes ? bytes->size() : 0;
        if (count != 0) co_await to->write(*bytes, offset + done);
        done += std::max(count, core::page_size);  // past what cannot be read
    }
    co_return core::done();
}

Task<Result<>> Child::save(core::Range range, core::MemoryRef to, std::uint64_t offset) {
    constexpr std::uint64_t most = 1ULL << 30U;  // one write takes less than 2 GiB
    for (std::uint64_t done = 0; done < range.length; done += most) {
        const auto length = std::min(most, range.length - done);
        Batch batch = this->batch();
        const auto fd = batch.send(to);
        // Beyond `limit FSIZE` there is a signal, which kills.
        using Action = std::array<std::uint64_t, 4>;  // handler, flags, restorer, mask
        const Action ignored{1};
        const auto before = batch.space(sizeof(Action));
        batch.call("rt_sigaction", SYS_rt_sigaction, SIGXFSZ, batch.bytes(bytes_of(ignored)),
                   before, sizeof(std::uint64_t));
        // What cannot be read (a file that is shorter than its mapping) stays zero.
        const auto written =
            batch.call("pwrite", SYS_pwrite64, fd, range.start + done, length, offset + done)
                .keep_going();
        batch.call("rt_sigaction", SYS_rt_sigaction, SIGXFSZ, before, 0, sizeof(std::uint64_t))
            .always();
        batch.call("close", SYS_close, fd).always();
        const Replies replies = co_await run(batch);
        co_await replies.checked();
        const auto count = replies.of(written.index());
        if (!count && count.error().code == std::errc::file_too_large)
            co_return co_await save_from_outside(range, to, offset).result();
        if (!count && count.error().code != std::errc::bad_address) co_return count.error();
    }
    co_return core::done();
}

// Into an object through a mapping of it for the time, a batch for each few pieces.
Task<Result<>> Child::load(core::Load load) {
    constexpr std::uint64_t most = 64ULL << 20U;  // of a piece: an interruption waits for its end
    constexpr std::size_t most_pieces = 128;
    std::vector<core::Range> pieces;
    for (const auto& piece : load.pieces) {
        for (std::uint64_t at = 0; at < piece.length; at += most)
            pieces.push_back({piece.start + at, std::min(most, piece.length - at)});
    }
    for (std::size_t first = 0; first < pieces.size(); first += most_pieces) {
        Batch batch = this->batch();
        std::vector<std::pair<std::uint32_t, std::uint64_t>> reads;
        const auto source = batch.send(load.source);
        std::optional<Batch::Sent> object;
        if (load.object) object = batch.send(load.object);
        for (std::size_t i = first; i < std::min(first + most_pieces, pieces.size()); ++i) {
            const core::Range piece = pieces[i];
            const std::uint64_t offset = piece.start - load.origin;
            Batch::Argument to = load.to + offset;
            if (object)
                to = batch.call("mmap", SYS_mmap, 0, piece.length, PROT_READ | PROT_WRITE,
                                MAP_SHARED, *object, offset);
            const auto got = batch.call("pread", SYS_pread64, source, to, piece.length, piece.start)
                                 .keep_going();
            reads.emplace_back(got.index(), piece.length);
            if (object) batch.call("munmap", SYS_munmap, to, piece.length).always();
        }
        batch.call("close", SYS_close, source).always();
        if (object) batch.call("close", SYS_close, *object).always();
        const Replies replies = co_await run(batch);
        co_await replies.checked();
        for (const auto& [index, length] : reads) {
            const auto got = replies.of(index);
            if (got && static_cast<std::uint64_t>(*got) == length) continue;
            if (load.may_be_short) continue;
            // The kernel says EIO of what is not mapped there any more.
            const bool is_gone = got || got.error().code == std::errc::io_error;
            co_return is_gone ? core::refused("pread", EFAULT) : got.error();
        }
    }
    co_return core::done();
}

// ---------------------------------------------------------------------------------------------
// Descriptors

Task<Result<>> Child::open(int number, std::string path, core::OpenMode mode, std::uint32_t perm) {
    co_await clear(number);
    Batch batch = this->batch();
    const auto fd =
        batch.call("open", SYS_openat, AT_FDCWD, batch.text(path), flags_of(mode), perm);
    batch.call("dup3", PROC9_CALL_INSTALL, fd, number, 0);
    co_await run_checked(std::move(batch));
    co_return core::done();
}

// As many as one message takes; answers how many were installed, and why no more.
Task<std::pair<std::size_t, Result<>>> Child::install_some(std::span<core::Numbered> descriptors,
                                                           bool close_on_exec) {
    Batch batch = this->batch();
    std::vector<Batch::Sent> sent;
    std::vector<std::uint32_t> calls;
    for (const auto& [number, descriptor] : descriptors) {
        sent.push_back(batch.send(descriptor));
        calls.push_back(
            batch.call("dup3", PROC9_CALL_INSTALL, sent.back(), number, close_on_exec ? 1 : 0)
                .index());
    }
    // Those behind one that was refused.
    for (const auto fd : sent) batch.call("close", SYS_close, fd).always().keep_going();
    const auto replies = co_await run(batch).result();
    if (!replies) co_return std::pair(std::size_t{0}, Result<>(replies.error()));
    const auto refused =
        std::find_if(calls.begin(), calls.end(), [&](auto call) { return !replies->of(call); });
    co_return std::pair(static_cast<std::size_t>(refused - calls.begin()), replies->checked());
}

Task<Result<>> Child::clear(std::span<const core::Numbered> descriptors) {
    for (const auto& one : descriptors) co_await clear(one.number);
    co_return core::done();
}

// They need as many free numbers for a moment: if there are too few below its limit, one at a time.
Task<Result<>> Child::install(std::vector<core::Numbered> descriptors, bool close_on_exec) {
    std::span<core::Numbered> rest = descriptors;
    std::size_t most = PROC9_MOST_DESCRIPTORS;
    while (!rest.empty()) {
        const auto next = rest.first(std::min(most, rest.size()));
        co_await clear(next);
        // The link may have given way to one and be where another belongs.
        const bool is_in_the_way = std::any_of(
            next.begin(), next.end(), [this](auto& one) { return !check_not_link(one.number); });
        if (is_in_the_way && next.size() > 1) {
            most = 1;
            continue;
        }
        auto [count, outcome] = co_await install_some(next, close_on_exec);
        if (count == 0 && outcome) co_return core::refused("dup3", ESRCH);  // no stub answers so
        const bool was_crowded =
            most > 1 && !outcome && outcome.error().code == std::errc::too_many_files_open;
        if (!was_crowded) co_await std::move(outcome);
        if (was_crowded) most = 1;
        rest = rest.subspan(count);
    }
    co_return core::done();
}

Task<Result<>> Child::duplicate(int from, int to) {
    co_await check_not_link(from);
    if (from == to) co_return core::fail(std::errc::invalid_argument, "{} is itself", to);
    co_await clear(to);
    co_await check_not_link(from);  // it may have moved there
    Batch batch = this->batch();
    batch.call("dup3", SYS_dup3, from, to, 0);
    co_await run_checked(std::move(batch));
    co_return core::done();
}

Task<Result<>> Child::close(int number) {
    co_await check_not_link(number);
    Batch batch = this->batch();
    batch.call("close", SYS_close, number);
    co_await run_checked(std::move(batch));
    co_return core::done();
}

Task<Result<>> Child::set_close_on_exec(int number, bool on) {
    co_await check_not_link(number);
    Batch batch = this->batch();
    batch.call("fcntl", SYS_fcntl, number, F_SETFD, on ? FD_CLOEXEC : 0);
    co_await run_checked(std::move(batch));
    co_return core::done();
}

Task<Result<>> Child::seek(int number, std::uint64_t offset) {
    co_await check_not_link(number);
    Batch batch = this->batch();
    batch.call("lseek", SYS_lseek, number, offset, SEEK_SET);
    co_await run_checked(std::move(batch));
    co_return core::done();
}

Task<Result<std::string>> Child::read(core::DescriptorRef file, std::size_t most) {
    constexpr std::size_t piece = 48U << 10U;
    std::string text;
    while (true) {
        Batch batch = this->batch();
        const auto here = batch.space(piece);
        const auto fd = batch.send(file);
        const auto got = batch.call("pread", SYS_pread64, fd, here, piece, text.size()).index();
        batch.call("close", SYS_close, fd).always();
        const Replies replies = co_await run(batch);
        const auto count = std::min(piece, static_cast<std::size_t>(co_await replies.of(got)));
        if (count == 0) co_return std::move(text);
        text += replies.data(here, count);
        if (text.size() > most) co_return core::refused("read", EFBIG);
    }
}

// ---------------------------------------------------------------------------------------------
// Threads

Task<Result<>> Child::add_thread() {
    co_await make_owed();
    auto made = co_await make_thread().result();
    if (!made) (void)co_await make_owed().result();
    co_return made;
}

// Its id is that of its own pid namespace; the kernel tells both.
Task<Result<>> Child::make_thread() {
    Batch batch = this->batch();
    const auto made = batch.call("clone3", PROC9_CALL_PARK);
    const Replies replies = co_await run(batch);
    const auto inside = co_await replies.of(made.index());
    const auto thread = seen_from_outside(inside);
    parked_.push_back(thread.value_or(0));
    parked_inside_.push_back(static_cast<std::int32_t>(inside));
    if (thread) co_return core::done();
    // One that nobody knows must not be there: all end, for that is how one does.
    const auto ended = co_await unpark().result();
    if (ended) owed_ += *ended - 1;
    if (!ended) (void)send_signal(SIGKILL);
    co_return thread.error();
}

Result<core::Pid> Child::seen_from_outside(std::int64_t inside) {
    for (const auto thread : TRY(threads())) {
        auto status = procfs::status(thread);
        if (!status && status.error().code == std::errc::no_such_process) continue;
        const std::string ids = TRY(std::move(status))["NSpid"];
        const auto last = ids.find_last_of('\t') + 1;  // the innermost
        if (ids.substr(last) == std::to_string(inside)) return thread;
    }
    return core::refused("clone3", ESRCH);
}

Task<Result<std::size_t>> Child::unpark() {
    const std::size_t count = parked_.size();
    if (count == 0) co_return count;
    Batch batch = this->batch();
    batch.call("threads", PROC9_CALL_UNPARK, batch.bytes(bytes_of(parked_inside_)), count);
    co_await run_checked(std::move(batch));
    parked_.clear();
    parked_inside_.clear();
    co_return count;
}

// What is refused here is made later: by the next that parks them, or adds one, at the latest by `entry`.
Task<Result<>> Child::park(std::size_t count) {
    owed_ += count;
    auto made = co_await make_owed().result();
    if (parked_.size() >= count) co_return core::done();  // others were owed before
    co_return made;
}

Task<Result<>> Child::make_owed() {
    for (; owed_ > 0; --owed_) co_await make_thread();
    co_return core::done();
}

// ---------------------------------------------------------------------------------------------
// Settings

Task<Result<>> Child::apply_all(std::vector<core::Setting>& settings) {
    forget_copies();
    const auto threads = co_await unpark();
    auto outcome = co_await apply_settings(*this, settings).result();
    co_await park(threads);
    co_return outcome;
}

void Child::was_set(core::Setting setting, bool is_inherited) {
    passed_on_.reset();
    if (!is_inherited) not_inherited_.push_back(std::move(setting));
}

Result<std::vector<core::Setting>> Child::passed_on() {
    if (!passed_on_) passed_on_ = TRY(os::passed_on(pid_));
    return *passed_on_;
}

Task<Result<std::vector<core::Setting>>> Child::settings() {
    if (exited_) co_return core::refused("settings", ESRCH);
    co_return co_await read_settings(*this);
}

}  // namespace proc9::os
