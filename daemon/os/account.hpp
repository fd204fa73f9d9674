// What a user has of the daemon: counted and limited, so that nobody can take what the others need.
#pragma once

#include <cstdint>
#include <map>
#include <memory>

#include "fs/core/request.hpp"
#include "fs/core/result.hpp"

namespace proc9::os {

// For each user, but the daemon's own where that serves nobody else, and root.
struct Limits {
    std::size_t processes = 4096;  // with a directory
    std::size_t regions = 16384;   // that were opened as files, or shared
    std::uint64_t bytes = 0;       // in those; 0: half of what the machine has
};

class Account {
public:
    // What is taken is given back with the last copy.
    using Share = std::shared_ptr<const void>;

    Account(std::uint32_t user, const Limits* most) : uid(user), most_(most) {}

    const std::uint32_t uid;
    [[nodiscard]] bool is_limited() const { return most_ != nullptr; }

    static core::Result<Share> take_process(const std::shared_ptr<Account>& account);  // EAGAIN
    static core::Result<Share> take_region(const std::shared_ptr<Account>& account);   // ENOMEM
    // Of a region that had `before` bytes and is to have `after`. What others made of it is counted as it is seen.
    core::Result<> check_growth(std::uint64_t before, std::uint64_t after) const;  // ENOMEM
    void resized(std::uint64_t before, std::uint64_t after) { bytes_ += after - before; }

private:
    const Limits* const most_;
    std::size_t processes_ = 0;
    std::size_t regions_ = 0;
    std::uint64_t bytes_ = 0;
};
using AccountRef = std::shared_ptr<Account>;

class Accounts {
public:
    Accounts(bool serves_all, Limits limits);
    AccountRef of(const core::Identity& who);
    AccountRef of(std::uint32_t user, bool is_limited);

private:
    const bool serves_all_;
    Limits limits_;
    std::map<std::pair<std::uint32_t, bool>, std::weak_ptr<Account>> accounts_;  // by user, limited
};

}  // namespace proc9::os
