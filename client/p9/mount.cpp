#include "client/p9/mount.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstring>
#include <memory>
#include <sstream>
#include <utility>

#include "client/mount.h"
#include "client/p9/command.hpp"
#include "client/p9/host.hpp"

namespace proc9::p9 {
namespace {

class Descriptor {
public:
    explicit Descriptor(int number) : number_(number) {}
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
    ~Descriptor() {
        if (number_ >= 0) ::close(number_);
    }
    int get() const { return number_; }

private:
    int number_;
};

int open_file(const std::string& name, int flags) {
    return ::mount_open(name.c_str(), flags | O_CLOEXEC, 0);
}

int must_open(const std::string& name, int flags) {
    const int descriptor = open_file(name, flags);
    if (descriptor < 0) fail_to_open(name, errno);
    return descriptor;
}

std::optional<std::string> read_all(int descriptor) {
    std::string text;
    std::array<char, 65536> piece{};
    ssize_t length = 0;
    while ((length = ::read(descriptor, piece.data(), piece.size())) > 0)
        text.append(piece.data(), static_cast<std::size_t>(length));
    return length == 0 ? std::optional(text) : std::nullopt;
}

std::string join(const std::string& directory, const std::string& name) {
    return directory.empty() ? name : directory + '/' + name;
}

bool is_there(const std::string& name) { return ::access(path_of(name).c_str(), F_OK) == 0; }

}  // namespace

std::string path_of(const std::string& name) {
    std::array<char, PATH_MAX> path{};
    ::mount_path(path.data(), path.size(), name.c_str());
    return path.data();
}

void fail_to_open(const std::string& name, int problem) {
    std::string where = host().empty() ? path_of("") : host() + '/';
    where.pop_back();
    const bool is_lost = problem == ENOTCONN || problem == ECONNABORTED;
    if (is_lost && !host().empty()) throw Problem(where + ": the connection is lost");
    if (is_lost)
        throw Problem(
            fmt::format("the proc9 at {0} has died: ./mount.sh -u, then ./mount.sh", where));
    if (!is_there("ctl") && !host().empty())
        throw Problem(fmt::format("no proc9 came from {}: ssh has to reach that host, ./mount.sh "
                                  "to be run there, and its place to be said: -H HOST:PATH",
                                  where));
    if (!is_there("ctl"))
        throw Problem(fmt::format("no proc9 at {}: start it with ./mount.sh, or set PROC9", where));
    const std::string process = name.substr(0, name.find('/'));
    if (problem == ENOENT && !is_there(process))
        throw Problem(fmt::format("no process {} at {}: p9 ps lists them", process, where));
    if (problem == EACCES) throw Problem(path_of(name) + " is somebody else's");
    throw Problem(fmt::format("{}: {}", path_of(name), std::strerror(problem)));
}

std::string read_file(const std::string& name) {
    const Descriptor file(must_open(name, O_RDONLY));
    auto text = read_all(file.get());
    if (!text) throw Problem(fmt::format("{}: {}", path_of(name), std::strerror(errno)));
    return *text;
}

std::optional<std::string> try_read(const std::string& name) {
    const Descriptor file(open_file(name, O_RDONLY));
    return file.get() < 0 ? std::nullopt : read_all(file.get());
}

void write_file(const std::string& name, const std::string& text) {
    const Descriptor file(must_open(name, O_WRONLY));
    if (::mount_write(file.get(), text.data(), text.size()) < 0)
        throw Problem(refusal(name.substr(0, name.find('/')), errno));
}

std::vector<std::string> list(const std::string& directory) {
    const std::unique_ptr<DIR, int (*)(DIR*)> open(
        ::fdopendir(must_open(directory, O_RDONLY | O_DIRECTORY)), ::closedir);
    if (directory.empty() && !is_there("ctl")) fail_to_open(directory, ENOENT);
    std::vector<std::string> names;
    while (const dirent* entry = open ? ::readdir(open.get()) : nullptr) {
        if (entry->d_name[0] != '.') names.emplace_back(entry->d_name);
    }
    std::sort(names.begin(), names.end());
    return names;
}

std::string refusal(const std::string& directory, int problem) {
    std::string text = try_read(join(directory, "error")).value_or("");
    while (text.ends_with('\n')) text.pop_back();
    return text.empty() ? std::strerror(problem) : text;
}

Ctl::Ctl(const std::string& directory)
    : Ctl(must_open(join(directory, "ctl"), O_RDWR), directory) {}

Ctl::Ctl(int descriptor, std::string directory)
    : descriptor_(descriptor), directory_(std::move(directory)) {}

Ctl Ctl::efork(const std::string& words) {
    Ctl ctl("");
    ctl.tell("efork " + words + '\n');
    ctl.directory_ = ctl.answer().at(0);
    return ctl;
}

Ctl Ctl::clone() {
    Ctl ctl(must_open("clone", O_RDWR), "");
    ctl.directory_ = ctl.answer().at(0);
    return ctl;
}

Ctl::Ctl(Ctl&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)), directory_(std::move(other.directory_)) {}

Ctl::~Ctl() {
    if (descriptor_ >= 0) ::close(descriptor_);
}

void Ctl::tell(const std::string& lines) const {
    if (::mount_write(descriptor_, lines.data(), lines.size()) < 0)
        throw Problem(refusal(directory_, errno));
}

std::vector<std::string> Ctl::answer() const {
    std::array<char, 256> text{};
    const ssize_t length = ::pread(descriptor_, text.data(), text.size() - 1, 0);
    std::istringstream words(
        std::string(text.data(), static_cast<std::size_t>(std::max<ssize_t>(length, 0))));
    return {std::istream_iterator<std::string>(words), {}};
}

}  // namespace proc9::p9
