#include "daemon/os/source.hpp"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>

#include "daemon/os/procfs.hpp"

namespace proc9::os {
namespace {

using core::Result;
using core::Task;

constexpr auto patience_with_threads = std::chrono::milliseconds(200);

// linux/fs.h of Linux 6.7.
struct PageRegion {
    std::uint64_t start;
    std::uint64_t end;
    std::uint64_t categories;
};
struct PageScan {
    std::uint64_t size;
    std::uint64_t flags;
    std::uint64_t start;
    std::uint64_t end;
    std::uint64_t walk_end;
    std::uint64_t regions;
    std::uint64_t capacity;
    std::uint64_t most_pages;
    std::uint64_t inverted;
    std::uint64_t all_of;
    std::uint64_t any_of;
    std::uint64_t answer;
};
constexpr unsigned long page_scan = _IOWR('f', 16, PageScan);
constexpr std::uint64_t is_file = 1U << 2U;
constexpr std::uint64_t is_present = 1U << 3U;
constexpr std::uint64_t is_swapped = 1U << 4U;
constexpr std::uint64_t is_zero = 1U << 5U;

void add(std::vector<core::Range>& ranges, core::Address start, std::uint64_t length) {
    if (!ranges.empty() && ranges.back().end() == start) {
        ranges.back().length += length;
    } else {
        ranges.push_back({start, length});
    }
}

// Quick where much of the range is empty. EINVAL or ENOTTY before Linux 6.7.
Result<std::vector<core::Range>> scan(int page_map, core::Range range) {
    std::vector<core::Range> found;
    std::array<PageRegion, 512> regions{};
    core::Address at = range.start;
    while (at < range.end()) {
        PageScan scan{};
        scan.size = sizeof scan;
        scan.start = at.value;
        scan.end = range.end().value;
        scan.regions = reinterpret_cast<std::uint64_t>(regions.data());  // NOLINT: for the kernel
        scan.capacity = regions.size();
        scan.inverted = scan.all_of = is_file | is_zero;
        scan.any_of = is_present | is_swapped;
        scan.answer = is_present;
        const int count = TRY(check("PAGEMAP_SCAN", ::ioctl(page_map, page_scan, &scan)));
        for (int i = 0; i < count; ++i) {
            const auto& region = regions.at(static_cast<std::size_t>(i));
            add(found, core::Address{region.start}, region.end - region.start);
        }
        if (scan.walk_end <= at.value) break;
        at.value = scan.walk_end;
    }
    return found;
}

// The older way: a word for each page.
Result<std::vector<core::Range>> walk(int page_map, core::Range range) {
    constexpr std::uint64_t present_or_swapped = 3ULL << 62U;
    constexpr std::uint64_t of_a_file = 1ULL << 61U;
    std::vector<core::Range> found;
    std::array<std::uint64_t, 4096> words{};
    const std::uint64_t pages = range.length / core::page_size;
    for (std::uint64_t page = 0; page < pages;) {
        const auto wanted = std::min<std::uint64_t>(words.size(), pages - page);
        const auto place = (range.start.value / core::page_size + page) * sizeof words[0];
        const auto got =
            TRY(check("pread", ::pread(page_map, words.data(), wanted * sizeof words[0],
                                       static_cast<off_t>(place))));
        const auto count = static_cast<std::uint64_t>(got) / sizeof words[0];
        if (count == 0) break;
        for (std::uint64_t i = 0; i < count; ++i) {
            const std::uint64_t word = words.at(i);
            if ((word & present_or_swapped) != 0 && (word & of_a_file) == 0)
                add(found, range.start + (page + i) * core::page_size, core::page_size);
        }
        page += count;
    }
    return found;
}

Result<UniqueFd> open_of(core::Pid pid, std::string_view name) {
    const std::string path = fmt::format("/proc/{}/{}", pid, name);
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) return core::refused("open", ESRCH);
    return check_fd("open", fd);
}

void let_go(Tracer& tracer, core::Pid thread, int stop) {
    (void)tracer.release(thread,
                         is_event(stop) ? 0 : stop);  // if it is dying the tracer sees to it
}

// One that has not stopped in time.
Task<> let_go_later(Tracer& tracer, core::Pid thread) {
    const auto stop = co_await tracer.stopped(thread).result();
    if (stop) let_go(tracer, thread, *stop);
}

}  // namespace

Result<std::unique_ptr<FrozenProcess>> FrozenProcess::look(Workshop& workshop, core::Pid pid) {
    std::unique_ptr<FrozenProcess> process(new FrozenProcess(workshop, pid));
    process->memory_ = std::make_shared<HeldDescriptor>(TRY(open_of(pid, "mem")));
    process->page_map_ = TRY(open_of(pid, "pagemap"));
    return process;
}

Task<Result<std::unique_ptr<FrozenProcess>>>
FrozenProcess::freeze(Workshop& workshop, core::Pid pid, core::Pid waiting) {
    if (workshop.tracer.is_ours(pid))  // and would go on amid this
        co_return core::fail(std::errc::device_or_resource_busy,
                             "process {} is being copied already", pid);
    auto process = co_await look(workshop, pid);
    auto status = co_await procfs::status(pid);
    const std::string& state = status["State"];
    const bool is_still = state.starts_with('T') || state.starts_with('t');
    if (!is_still) co_await process->stop_all(waiting);
    co_return std::move(process);
}

// Until there is none that it does not know: they may be making new ones.
Task<Result<>> FrozenProcess::stop_all(core::Pid waiting) {
    const auto is_known = [this, waiting](core::Pid id) {
        return id == waiting || std::any_of(threads_.begin(), threads_.end(),
                                            [id](const Thread& thread) { return thread.id == id; });
    };
    while (true) {
        std::size_t fresh = 0;
        for (const core::Pid id : co_await procfs::numbers(pid_, "task")) {
            if (is_known(id)) continue;
            auto seized = workshop_.tracer.seize(id, 0);
            if (!seized && seized.error().code == std::errc::no_such_process) continue;
            co_await std::move(seized);
            threads_.push_back({id, std::nullopt});
            (void)workshop_.tracer.interrupt(id);  // unless it is dying
            ++fresh;
        }
        if (fresh == 0) co_return core::done();
        co_await wait_for_stops();
    }
}

Task<Result<>> FrozenProcess::wait_for_stops() {
    const auto deadline = workshop_.loop.after(patience_with_threads, [this] {
        for (const auto& thread : threads_) workshop_.tracer.stop_waiting(thread.id);
    });
    for (auto& thread : threads_) {
        if (thread.stop) continue;
        const auto stop = co_await workshop_.tracer.stopped(thread.id).result();
        if (stop) thread.stop = *stop;
    }
    co_return core::done();
}

FrozenProcess::~FrozenProcess() {
    for (const auto& thread : threads_) {
        if (thread.stop)
            let_go(workshop_.tracer, thread.id, *thread.stop);
        else
            core::spawn(let_go_later(workshop_.tracer, thread.id));
    }
}

Result<std::vector<core::MappedLine>> FrozenProcess::maps() { return procfs::maps(pid_); }

Result<std::vector<core::Range>> FrozenProcess::own_pages(core::Range range) {
    auto found = scan(page_map_.get(), range);
    if (found) return found;
    return walk(page_map_.get(), range);
}

core::Words FrozenProcess::paths_of(const core::MappedLine& line) const {
    core::Words paths{fmt::format("/proc/{}/map_files/{:x}-{:x}", pid_, line.range.start.value,
                                  line.range.end().value)};
    if (line.name.starts_with('/')) paths.push_back(line.name);
    return paths;
}

}  // namespace proc9::os
