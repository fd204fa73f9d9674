// Where a symbolic link will be, tar first makes an empty file that nobody may open, and replaces it at
// the end. In an embryo it may stand wherever such a link may; `path` is that below N/: "cwd", "fd/3".
#pragma once

#include "fs/node/directory.hpp"

namespace proc9::node {

inline bool is_placeholder(OpenFlags flags, std::uint32_t mode) {
    return flags.exclusive && mode == 0;
}

core::Result<Created> make_placeholder(core::Process& process, const std::string& path);
std::optional<Attributes> find_placeholder(const core::Process& process, const std::string& path);
// Removes it, if there is one: the next link that is made there is an image's.
bool remove_placeholder(core::Process& process, const std::string& path);
// Whether a link that is made there now is an image's; asked once.
bool take_placeholder(core::Process& process, const std::string& path);

}  // namespace proc9::node
