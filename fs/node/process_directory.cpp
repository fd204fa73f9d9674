// N/: the files of the table; cwd and root are replaced to change them.
#include "fs/node/file_table.hpp"
#include "fs/node/replacing_directory.hpp"

namespace proc9::node {
namespace {

class ProcessDirectory : public ReplacingDirectory {
public:
    core::Result<std::vector<DirectoryEntry>> list(Access access, ProcessRef process) override {
        std::vector<DirectoryEntry> entries;
        for (const auto& row : process_files()) {
            if (!process->removed_links.contains(std::string(row.name)))
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
    [[nodiscard]] std::optional<core::Setting> setting(const std::string& name,
                                                       const std::string& target) const override {
        if (name == "cwd") return core::Setting{"chdir", {target}};
        if (name == "root") return core::Setting{"chroot", {target}};
        return std::nullopt;
    }
};

}  // namespace

Directory& process_directory() {
    static ProcessDirectory directory;
    return directory;
}

}  // namespace proc9::node
