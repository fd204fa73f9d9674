#include "daemon/os/account.hpp"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>

namespace proc9::os {
namespace {

using core::Result;

Result<Account::Share> take(const AccountRef& account, std::size_t& count, std::size_t most,
                            std::errc problem, std::string_view what) {
    if (count >= most)
        return core::fail(problem, "user {} has {} {}, which is the limit", account->uid, count,
                          what);
    ++count;
    return Account::Share(&count, [account](std::size_t* taken) { --*taken; });
}

std::uint64_t half_of_memory() {
    const auto pages = static_cast<std::uint64_t>(::sysconf(_SC_PHYS_PAGES));
    return pages / 2 * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

std::size_t most_descriptors() {
    rlimit limit{};
    return ::getrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur : 0;
}

}  // namespace

Result<Account::Share> Account::take_process(const AccountRef& account) {
    const auto most = account->most_ ? account->most_->processes : SIZE_MAX;
    return take(account, account->processes_, most, std::errc::resource_unavailable_try_again,
                "processes");
}

Result<Account::Share> Account::take_region(const AccountRef& account) {
    const auto most = account->most_ ? account->most_->regions : SIZE_MAX;
    return take(account, account->regions_, most, std::errc::not_enough_memory, "regions");
}

Result<> Account::check_growth(std::uint64_t before, std::uint64_t after) const {
    if (!most_ || after <= before) return {};
    const std::uint64_t others = bytes_ - before;
    if (others <= most_->bytes && after <= most_->bytes - others) return {};
    return core::fail(std::errc::not_enough_memory,
                      "user {} has {} bytes in regions, and {} is the limit", uid, bytes_,
                      most_->bytes);
}

Accounts::Accounts(bool serves_all, Limits limits) : serves_all_(serves_all), limits_(limits) {
    if (limits_.bytes == 0) limits_.bytes = half_of_memory();
    // A process takes two of the daemon's descriptors, a region one: half of them are for the others, whatever the limits.
    const std::size_t share = most_descriptors() / 2;
    limits_.processes = std::min(limits_.processes, share / 4);
    limits_.regions = std::min(limits_.regions, share / 2);
}

AccountRef Accounts::of(const core::Identity& who) {
    return of(who.uid, serves_all_ && !who.is_master());
}

AccountRef Accounts::of(std::uint32_t user, bool is_limited) {
    auto& known = accounts_[{user, is_limited}];
    if (auto account = known.lock()) return account;
    auto account = std::make_shared<Account>(user, is_limited ? &limits_ : nullptr);
    known = account;
    return account;
}

}  // namespace proc9::os
