// A directory whose files are replaced by removing and making them again: links, to change what they
// show (cwd, root, ns/net), and what tar extracts from an image.
#pragma once

#include "fs/node/file_table.hpp"
#include "fs/node/placeholders.hpp"

namespace proc9::node {

class ReplacingDirectory : public Directory {
public:
    Answer<Created> create(Access access, ProcessRef process, std::string name, std::uint32_t mode,
                           OpenFlags flags) override;
    Answer<Attributes> make_link(Access access, ProcessRef process, std::string name,
                                 std::string target) override;
    Answer<> remove(Access access, ProcessRef process, std::string name) override;
    Answer<> rename(Access access, ProcessRef process, std::string name, ProcessRef other,
                    std::string new_name, bool replace) override;

protected:
    using Changes = std::vector<core::Setting>;
    // What a link to there asks for: nothing where it says what is so already.
    virtual Answer<Changes> changes(Access access, ProcessRef process, std::string name,
                                    std::string target, bool is_image) const = 0;
    enum class Place { none, told_link, link, file };
    [[nodiscard]] virtual Place place(const std::string& name) const = 0;
    // Of a name in this directory, below N/ and in /proc/PID.
    [[nodiscard]] virtual std::string path_of(const std::string& name) const { return name; }
    // Such a link, or one that waits to replace it. None: look elsewhere.
    [[nodiscard]] std::optional<core::Result<Attributes>>
    find_replaceable(const core::Process& process, const std::string& name) const;

private:
    static core::Error not_replaceable();
    Answer<> replace_link(Access access, ProcessRef process, std::string name, std::string target,
                          bool is_image);
};

// Makes a file of the table again that rm took away. From an image (O_EXCL) its state is restored,
// and what only tells goes on telling.
core::Result<Created> make_again(Access access, core::ProcessRef process, const FileRow& row,
                                 bool is_state, OpenFlags flags);

}  // namespace proc9::node
