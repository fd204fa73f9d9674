// The embryo that a program is loaded into, as the files of its directory tell of it.
#pragma once

#include <string>
#include <vector>

#include "client/elf/descriptor.hpp"
#include "client/elf/file.hpp"
#include "client/elf/maps.hpp"
#include "client/elf/plan.hpp"

namespace proc9::elf {

struct Identity {
    std::uint64_t user = 0, effective_user = 0, group = 0, effective_group = 0;
};

class Embryo {
public:
    // By its id or its name.
    explicit Embryo(std::string name);

    [[nodiscard]] Identity identity() const;
    [[nodiscard]] std::vector<std::string> environment() const;
    [[nodiscard]] std::uint64_t stack_limit() const;
    [[nodiscard]] std::vector<MapsLine> maps() const;
    // An absolute path, as it would open it.
    [[nodiscard]] Descriptor open(const std::string& path) const;

    // Up to and not including the first step that is refused; that is thrown, with the embryo's reason.
    void follow(const Plan& plan);

private:
    [[nodiscard]] std::string read(const std::string& file) const;
    [[nodiscard]] std::string field(const std::string& file, const std::string& key) const;
    void tell(const std::string& lines, bool may_fail);
    void write(const Step& step) const;

    std::string name_;
    Descriptor ctl_;
};

}  // namespace proc9::elf
