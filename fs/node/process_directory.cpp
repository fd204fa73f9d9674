// N/: the files of the table; cwd and root are replaced to change them.
#include "fs/ctl/descriptors.hpp"
#include "fs/node/replacing_directory.hpp"

namespace proc9::node {
namespace {

// As the process itself sees a path that the kernel tells to the daemon.
std::string seen_from(const std::string& root, const std::string& path) {
    if (root == "/") return path;
    if (path == root) return "/";
    return path.starts_with(root + "/") ? path.substr(root.size()) : path;
}

class ProcessDirectory : public ReplacingDirectory {
public:
    core::Result<std::vector<DirectoryEntry>> list(Access access, ProcessRef process) override {
        std::vector<DirectoryEntry> entries;
        for (const auto& row : process_files()) {
            if (!process->removed.contains(std::string(row.name)))
                entries.push_back(
                    {std::string(row.name), attributes_of(row, process.get(), access)});
        }
        return entries;
    }

    core::Result<Attributes> find(Access access, ProcessRef process,
                                  const std::string& name) override {
        if (auto found = find_replaceable(*process, name)) return std::move(*found);
        return find_row(process_files(), name, process.get(), access);
    }

protected:
    [[nodiscard]] Place place(const std::string& name) const override {
        for (const auto& row : process_files()) {
            if (row.name != name || row.type == Type::directory) continue;
            if (row.type == Type::file) return Place::file;
            return row.kind == Kind::exe ? Place::told_link : Place::link;
        }
        return Place::none;
    }

    Answer<Changes> changes(Access access, ProcessRef process, std::string name, std::string target,
                            bool is_image) const override {
        const std::string root = process->body->link("root").value_or("/");
        const bool is_so = process->body->link(name).value_or("") == target;
        if (is_so && (is_image || root == "/")) co_return Changes{};
        if (is_image) co_return restored(*process, name, root, target);
        Changes wanted = made_by_hand(name, target);
        const auto source = ctl::callers_descriptor(target);
        if (source && name == "cwd") {
            core::Host& host = access.registry.host();
            const core::Pid caller = co_await host.process_of_thread(access.request.thread);
            wanted.front().directory =
                co_await host.take_descriptor(access.request, caller, *source);
        }
        co_return std::move(wanted);
    }

private:
    static Changes made_by_hand(const std::string& name, const std::string& target) {
        return {{name == "cwd" ? "chdir" : "chroot", {target}}};
    }

    // A link of an image has the path that its process showed, from the daemon's root.
    static core::Result<Changes> restored(core::Process& process, const std::string& name,
                                          const std::string& root, const std::string& target) {
        if (name == "exe" && target.starts_with("/memfd:")) return Changes{};  // had no program
        if (ctl::has_no_path(target)) return ctl::cannot_restore(target);
        if (name == "exe") return Changes{{"exe", {seen_from(root, target)}}};
        if (name == "cwd") return Changes{{"chdir", {seen_from(root, target)}}};
        Changes both{{"chroot", {seen_from(root, target)}}};  // which goes there
        const std::string cwd = process.body->link("cwd").value_or("/");
        if (cwd == target || cwd.starts_with(target + "/"))
            both.push_back({"chdir", {seen_from(target, cwd)}});
        return both;
    }
};

}  // namespace

Directory& process_directory() {
    static ProcessDirectory directory;
    return directory;
}

}  // namespace proc9::node
