// A Tree on a FakeHost, used by paths as a shell would.
#pragma once

#include "fs/node/file_table.hpp"
#include "fs/node/tree.hpp"
#include "tests/unit/fake_host.hpp"
#include "tests/unit/run.hpp"

namespace proc9::node {

inline constexpr OpenFlags for_reading{.read = true};
inline constexpr OpenFlags for_writing{.write = true};

inline Change to_mode(std::uint32_t mode) { return {mode, std::nullopt, std::nullopt}; }
inline Change to_size(std::uint64_t size) { return {std::nullopt, size, std::nullopt}; }
inline Change to_owner(core::Identity owner) { return {std::nullopt, std::nullopt, owner}; }

// An open file, closed at the end.
class File {
public:
    File(core::Request& request, OpenFileRef file) : request_(&request), file_(std::move(file)) {}
    File(File&&) = default;
    File& operator=(File&&) = delete;
    ~File() {
        if (file_) close();
    }

    core::Result<std::string> read(std::size_t size = 1U << 20U, std::uint64_t offset = 0) {
        return fake::run(file_->read(*request_, size, offset));
    }
    core::Result<std::size_t> write(std::string bytes, std::uint64_t offset = 0,
                                    bool may_go_on = false) {
        return fake::run(file_->write(*request_, std::move(bytes), offset, may_go_on));
    }
    void close() {
        fake::run(file_->close(*request_));
        file_.reset();
    }
    OpenFile& operator*() { return *file_; }
    OpenFile* operator->() { return file_.get(); }

private:
    core::Request* request_;
    OpenFileRef file_;
};

struct Grove {
    fake::FakeHost host;
    core::Registry registry{host};
    Tree tree{registry, {}};
    core::Request request{.who = {1000, 1000}, .thread = 7, .cancellation = {}};
    core::Request stranger{.who = {2000, 2000}, .thread = 8, .cancellation = {}};

    core::ProcessRef make(std::string name) {
        return fake::good(fake::run(registry.efork(request, std::move(name))));
    }
    fake::FakeEmbryo& body(const core::ProcessRef& process) { return host.embryo(process->id()); }

    static std::string path_of(const core::ProcessRef& process, std::string_view name) {
        return fmt::format("{}/{}", process->id(), name);
    }

    // The file at a path; the last link is not followed.
    core::Result<Attributes> find(std::string path) { return find(request, std::move(path)); }
    core::Result<Attributes> find(core::Request& who, const std::string& path) {
        Attributes found;
        found.id = root_id;
        for (std::size_t begin = 0; begin < path.size();) {
            const auto end = std::min(path.find('/', begin), path.size());
            found = TRY(fake::run(tree.find(who, found.id, path.substr(begin, end - begin))));
            begin = end + 1;
        }
        return found;
    }
    NodeId id(const std::string& path) { return fake::good(find(path)).id; }
    static std::pair<std::string, std::string> split(const std::string& path) {
        const auto slash = path.rfind('/');
        if (slash == std::string::npos) return {"", path};
        return {path.substr(0, slash), path.substr(slash + 1)};
    }

    core::Result<OpenFileRef> try_open(const std::string& path, OpenFlags flags) {
        return fake::run(tree.open(request, TRY(find(path)).id, flags));
    }
    File open(const std::string& path, OpenFlags flags = for_reading) {
        return {request, fake::good(try_open(path, flags))};
    }
    core::Result<std::string> read(const std::string& path) {
        File file(request, TRY(try_open(path, for_reading)));
        return file.read();
    }
    // As `echo TEXT > path` does it.
    core::Result<> write(const std::string& path, std::string text) {
        const auto [directory, name] = split(path);
        OpenFileRef opened;
        if (find(path)) {
            opened = TRY(try_open(path, {.write = true, .truncate = true}));
        } else {
            opened =
                TRY(fake::run(tree.create(request, id(directory), name, 0600, for_writing))).file;
        }
        File file(request, std::move(opened));
        TRY(file.write(std::move(text)));
        return {};
    }
    core::Result<std::string> link_target(const std::string& path) {
        return fake::run(tree.link_target(request, TRY(find(path)).id));
    }
    core::Result<Attributes> symlink(std::string target, const std::string& path) {
        const auto [directory, name] = split(path);
        return fake::run(tree.make_link(request, id(directory), name, std::move(target)));
    }
    core::Result<Attributes> hard_link(const std::string& from, const std::string& path) {
        const auto [directory, name] = split(path);
        return fake::run(tree.add(request, id(directory), name, TRY(find(from)).id));
    }
    core::Result<> remove(const std::string& path) {
        const auto [directory, name] = split(path);
        return fake::run(tree.remove(request, id(directory), name));
    }
    core::Result<> rename(const std::string& from, const std::string& to, bool replace = true) {
        const auto [directory, name] = split(from);
        const auto [new_directory, new_name] = split(to);
        return fake::run(
            tree.rename(request, id(directory), name, id(new_directory), new_name, replace));
    }
    core::Result<Attributes> change(const std::string& path, Change wanted) {
        return fake::run(tree.change(request, id(path), wanted));
    }
    // ln -sfn: makes the link under a name of its own and moves that over the old one.
    core::Result<> replace_link(std::string target, const std::string& path) {
        const auto temporary = split(path).first + "/CuXXXX12";
        TRY(symlink(std::move(target), temporary));
        return rename(temporary, path);
    }

    // name -> type and mode, as ls -l begins its lines.
    std::map<std::string, std::string> list(const std::string& path) {
        const NodeId directory = path.empty() ? root_id : id(path);
        std::map<std::string, std::string> found;
        for (const auto& entry : fake::good(tree.list(request, directory))) {
            constexpr std::string_view types = "-dl";
            found[entry.name] =
                fmt::format("{}{:o}", types[static_cast<std::size_t>(entry.attributes.type)],
                            entry.attributes.mode);
        }
        return found;
    }
};

}  // namespace proc9::node
