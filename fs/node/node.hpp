// What the tree is made of, as whoever serves it sees it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "fs/core/registry.hpp"

namespace proc9::node {

enum class Kind : std::uint8_t {
    root,
    root_ctl,
    clone,
    help,
    self,
    stats,
    root_error,
    name_link,
    process,
    ctl,
    status,
    status_json,
    maps,
    memory,
    region,
    region_link,
    descriptors,
    descriptor,
    environment,
    variable,
    arguments,
    cwd,
    root_link,
    exe,
    registers,
    note,
    wait,
    error,
    pending_link,
    limits,
    recipe,
    namespaces,
    namespace_link,
    threads,
    thread,
    thread_status,
    thread_registers,
    placeholder,
    told_thread,
    told_file,
};

// The number of a file: what it is, of which process, which one of its kind. Never used again, so a
// stale handle cannot hit another process, and nothing has to be remembered for the kernel.
struct NodeId {
    std::uint32_t process = 0;  // serial, 0 outside any
    Kind kind = Kind::root;
    std::uint32_t item = 0;  // 24 bits: region, descriptor, variable; caller of a ctl
    static constexpr std::uint32_t most_items = 0xffffff;
    static_assert(core::highest_descriptor <= most_items);

    [[nodiscard]] std::uint64_t pack() const {
        return (std::uint64_t{process} << 32U) |
               (std::uint64_t{static_cast<std::uint8_t>(kind)} << 24U) | (item & most_items);
    }
    static NodeId unpack(std::uint64_t number) {
        return {static_cast<std::uint32_t>(number >> 32U),
                static_cast<Kind>((number >> 24U) & 0xffU),
                static_cast<std::uint32_t>(number & most_items)};
    }
};
inline constexpr NodeId root_id{0, Kind::root, 1};  // packs to 1

enum class Type { file, directory, link };

struct Attributes {
    NodeId id;
    Type type = Type::file;
    std::uint32_t mode = 0;  // permissions
    std::uint64_t size = 0;
    std::optional<std::uint64_t> allocated = std::nullopt;    // none: all of it
    std::optional<core::Memory::Times> times = std::nullopt;  // none: since the tree is there
    core::Identity owner;
    bool lasting = false;  // its name means this file as long as the directory is there
    bool is_gone = false;  // removed, and open
};

struct Change {
    std::optional<std::uint32_t> mode;
    std::optional<std::uint64_t> size;
    std::optional<core::Identity> owner;
    std::optional<core::Memory::NewTimes> times = std::nullopt;
};

struct DirectoryEntry {
    std::string name;
    Attributes attributes;
};

struct OpenFlags {
    bool read = false;
    bool write = false;
    bool truncate = false;
    bool non_blocking = false;
    bool exclusive = false;  // O_EXCL: as tar makes what it extracts
};

// An open file. Reads and writes answer as read(2) and write(2) would.
class OpenFile {
public:
    virtual ~OpenFile() = default;
    virtual core::Task<core::Result<std::string>> read(core::Request& request, std::size_t size,
                                                       std::uint64_t offset) = 0;
    // `may_go_on`: the piece is as long as the kernel passes at once.
    virtual core::Task<core::Result<std::size_t>> write(core::Request& request, std::string bytes,
                                                        std::uint64_t offset, bool may_go_on) = 0;
    // At each close(2), which can still be refused; only of those that say so.
    virtual core::Task<core::Result<>> flush(core::Request& /*request*/) { co_return core::done(); }
    [[nodiscard]] virtual bool has_flush() const { return false; }
    // Closed for the last time.
    virtual core::Task<> close(core::Request& /*request*/) { co_return; }
    // The memory that the kernel may read, write and map itself; none: ask read and write.
    [[nodiscard]] virtual core::MemoryRef memory() const { return nullptr; }
    // What open_saved() makes an equal one of.
    [[nodiscard]] virtual core::Saved save(core::Saving& saving) const = 0;
    // Can be read without waiting? If not, the hook runs once when it can.
    virtual bool readable(std::function<void()> /*hook*/) { return true; }
};
using OpenFileRef = std::unique_ptr<OpenFile>;

}  // namespace proc9::node
