#include "daemon/os/procfs.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <climits>
#include <memory>
#include <sstream>

namespace proc9::os::procfs {
namespace {

std::string path_of(core::Pid pid, std::string_view name) {
    return fmt::format("/proc/{}/{}", pid, name);
}

core::Error refused(std::string_view call, int problem) {
    return core::refused(call, problem == ENOENT ? ESRCH : problem);
}

// As mountinfo has blanks: \040.
std::string unescaped(std::string_view text) {
    std::string plain;
    for (std::size_t at = 0; at < text.size(); ++at) {
        int code = 0;
        const auto digits = text.substr(at).starts_with('\\') ? text.substr(at + 1, 3) : "";
        const auto [end, problem] =
            std::from_chars(digits.data(), digits.data() + digits.size(), code, 8);
        const bool is_code = problem == std::errc{} && digits.size() == 3;
        plain += is_code ? static_cast<char>(code) : text[at];
        at += is_code ? digits.size() : 0;
    }
    return plain;
}

core::Result<std::string> read_all(int fd) {
    std::string text;
    std::array<char, 16384> block;
    while (true) {
        const auto got = ::read(fd, block.data(), block.size());
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return refused("read", errno);
        if (got == 0) return text;
        text.append(block.data(), static_cast<std::size_t>(got));
    }
}

std::uint64_t hex(std::string_view text) {
    std::uint64_t value = 0;
    std::from_chars(text.data(), text.data() + text.size(), value, 16);
    return value;
}

}  // namespace

core::Result<std::string> read(core::Pid pid, std::string_view name) {
    const UniqueFd file(::open(path_of(pid, name).c_str(), O_RDONLY | O_CLOEXEC));
    if (!file) return refused("open", errno);
    return read_all(file.get());
}

core::Result<Record> Record::open(core::Pid pid, std::string_view name) {
    UniqueFd file(::open(path_of(pid, name).c_str(), O_RDONLY | O_CLOEXEC));
    if (!file) return refused("open", errno);
    return Record(std::move(file));
}

core::Result<std::string> Record::read() const {
    std::string text;
    std::array<char, 16384> block;
    while (true) {
        const auto got =
            ::pread(file_.get(), block.data(), block.size(), static_cast<off_t>(text.size()));
        if (got < 0) return refused("read", errno);
        text.append(block.data(), static_cast<std::size_t>(got));
        if (static_cast<std::size_t>(got) < block.size()) return text;
    }
}

std::uint32_t owner(core::Pid pid) {
    struct stat found{};
    return ::stat(path_of(pid, "").c_str(), &found) == 0 ? found.st_uid : 0;
}

core::Result<std::string> link(core::Pid pid, std::string_view name) {
    std::string target(PATH_MAX, '\0');
    const auto length = ::readlink(path_of(pid, name).c_str(), target.data(), target.size());
    if (length < 0) return core::refused("readlink", errno);
    target.resize(static_cast<std::size_t>(length));
    return target;
}

core::Result<std::vector<int>> numbers(core::Pid pid, std::string_view name) {
    const auto close = [](DIR* directory) { ::closedir(directory); };
    const std::unique_ptr<DIR, decltype(close)> directory(::opendir(path_of(pid, name).c_str()),
                                                          close);
    if (!directory) return refused("opendir", errno);
    std::vector<int> numbers;
    for (errno = 0; const dirent* entry = ::readdir(directory.get()); errno = 0) {
        const std::string_view text = entry->d_name;
        int number = 0;
        const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), number);
        if (problem == std::errc{} && end == text.data() + text.size()) numbers.push_back(number);
    }
    if (errno != 0) return refused("readdir", errno);
    std::sort(numbers.begin(), numbers.end());
    return numbers;
}

core::Result<std::map<std::string, std::string>> status(core::Pid pid) {
    std::map<std::string, std::string> fields;
    std::istringstream lines(TRY(read(pid, "status")));
    for (std::string line; std::getline(lines, line);) {
        const auto colon = line.find(':');
        if (colon == std::string::npos) continue;
        const auto value = line.find_first_not_of(" \t", colon + 1);
        fields[line.substr(0, colon)] = value == std::string::npos ? "" : line.substr(value);
    }
    return fields;
}

std::string Fields::operator[](std::string_view name) const {
    const std::string key = fmt::format("\n{}:\t", name);
    const auto found = text_.find(key);
    if (found == std::string::npos) return "";
    const auto value = found + key.size();
    return text_.substr(value, text_.find('\n', value) - value);
}

core::Result<Fields> fields(core::Pid pid) {
    const Record file = TRY(Record::open(pid, "status"));
    return Fields(TRY(file.read()));
}

core::MappedLine parse_maps_line(const std::string& text) {
    std::istringstream words(text);
    std::string range;
    std::string permissions;
    std::string offset;
    std::string device;
    std::string inode;
    words >> range >> permissions >> offset >> device >> inode >> std::ws;
    core::MappedLine line;
    std::getline(words, line.name);
    const auto has = [&](char letter) { return permissions.find(letter) != std::string::npos; };
    line.protection = {has('r'), has('w'), has('x')};
    line.shared = has('s');
    line.offset = hex(offset);
    if (inode != "0") line.file = fmt::format("{} {}", device, inode);
    const auto dash = range.find('-');
    const core::Address start{hex(std::string_view(range).substr(0, dash))};
    line.range = {start, hex(std::string_view(range).substr(dash + 1)) - start.value};
    line.text = text;
    return line;
}

core::Result<std::vector<core::MappedLine>> maps(core::Pid pid) {
    std::vector<core::MappedLine> found;
    std::istringstream lines(TRY(read(pid, "maps")));
    for (std::string line; std::getline(lines, line);) found.push_back(parse_maps_line(line));
    return found;
}

core::Result<DescriptorInfo> descriptor_info(core::Pid pid, int number) {
    DescriptorInfo info;
    const Record file = TRY(Record::open(pid, fmt::format("fdinfo/{}", number)));
    std::istringstream lines(TRY(file.read()));
    for (std::string key, value; lines >> key >> value;) {
        const int base = key == "flags:" ? 8 : 10;
        int* const field = key == "flags:" ? &info.flags : key == "mnt_id:" ? &info.mount : nullptr;
        if (field) std::from_chars(value.data(), value.data() + value.size(), *field, base);
    }
    return info;
}

std::optional<Mount> mount_at(std::string_view path) {
    std::optional<Mount> found;
    std::istringstream lines(read(::getpid(), "mountinfo").value_or(""));
    for (std::string line; std::getline(lines, line);) {
        std::istringstream words(line);
        Mount mount;
        std::string parent;
        std::string device;
        std::string root;
        std::string place;
        words >> mount.id >> parent >> device >> root >> place;
        if (unescaped(place) != path) continue;
        std::istringstream rest(line.substr(line.find(" - ") + 3));
        rest >> mount.type;
        found = std::move(mount);
    }
    return found;
}

}  // namespace proc9::os::procfs
