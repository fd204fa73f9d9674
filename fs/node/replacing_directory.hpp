// A directory with links that are replaced to change what they show: cwd, root, ns/net.
#pragma once

#include "fs/node/directory.hpp"

namespace proc9::node {

class ReplacingDirectory : public Directory {
public:
    Answer<Attributes> make_link(Access access, ProcessRef process, std::string name,
                                 std::string target) override;
    Answer<> remove(Access access, ProcessRef process, std::string name) override;
    Answer<> rename(Access access, ProcessRef process, std::string name, ProcessRef other,
                    std::string new_name, bool replace) override;

protected:
    // What changes it; none: it is not one that can be replaced.
    [[nodiscard]] virtual std::optional<core::Setting> setting(const std::string& name,
                                                               const std::string& target) const = 0;
    // Such a link, or one that waits to replace it. None: look elsewhere.
    static std::optional<core::Result<Attributes>> find_replaceable(const core::Process& process,
                                                                    const std::string& name);

private:
    [[nodiscard]] core::Error not_replaceable() const;
    Answer<> replace_link(Access access, ProcessRef process, std::string name, std::string target);
};

}  // namespace proc9::node
