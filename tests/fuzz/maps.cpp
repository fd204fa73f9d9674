// Lines of a maps file: as they are written to one of ours, and as the kernel's are read.
#include "client/elf/maps.hpp"
#include "daemon/os/procfs.hpp"
#include "fs/node/texts.hpp"
#include "tests/fuzz/fixture.hpp"

using namespace proc9;
using fuzz::check_error;
using fuzz::good;
using fuzz::require;
using fuzz::run;

namespace {

struct Atlas : fuzz::Scene {
    node::Options options;

    core::Result<> write(core::ProcessRef process, std::string line) {
        request.seen_unstopped = nullptr;
        return run(
            node::maps_line({request, registry, options}, std::move(process), std::move(line)));
    }
    std::string read(core::ProcessRef process) {
        request.seen_unstopped = nullptr;
        return good(run(node::maps_text({request, registry, options}, std::move(process))));
    }
};

std::vector<std::string> lines_of(const std::string& text) {
    std::vector<std::string> lines;
    for (std::size_t start = 0; start < text.size();) {
        const auto end = std::min(text.find('\n', start), text.size());
        lines.push_back(text.substr(start, end - start));
        start = end + 1;
    }
    return lines;
}

// The library's reader sees what the daemon's does.
void check_client(const std::string& line) {
    const core::MappedLine ours = os::procfs::parse_maps_line(line);
    const auto theirs = elf::parse_maps(line);
    require(theirs.size() == 1, "a line is a line");
    require(theirs[0].range.start == ours.range.start.value, "both read the same start");
    require(theirs[0].range.end == ours.range.end().value, "both read the same end");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string text(reinterpret_cast<const char*>(data), size);
    Atlas atlas;
    const auto first = atlas.make("");
    for (const auto& line : lines_of(text)) {
        (void)os::procfs::parse_maps_line(line);
        (void)elf::vdso_in(elf::parse_maps(line));
        check_error(atlas.write(first, line));
    }
    atlas.check();

    const std::string printed = atlas.read(first);
    const auto second = atlas.make("");
    for (const auto& line : lines_of(printed)) {
        check_client(line);
        good(atlas.write(first, line));  // is there already
        good(atlas.write(second, line));
    }
    require(atlas.read(first) == printed, "what is there stays as it is");
    const auto copied = lines_of(atlas.read(second));
    const auto wanted = lines_of(printed);
    for (const auto& line : wanted) {
        const auto now = os::procfs::parse_maps_line(line);
        require(std::ranges::any_of(copied,
                                    [&](const auto& other) {
                                        const auto made = os::procfs::parse_maps_line(other);
                                        return made.range == now.range &&
                                               made.protection == now.protection &&
                                               made.shared == now.shared;
                                    }),
                "what is printed can be mapped");
    }
    atlas.check();
    return 0;
}
