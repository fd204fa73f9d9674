#include "fs/ctl/verbs.hpp"

namespace proc9::ctl {
namespace {

using core::done;
using core::fail;

core::Result<core::Range> range_of(const Arguments& arguments) {
    return core::checked_range(TRY(arguments.address("addr")), TRY(arguments.size("len")));
}

}  // namespace

Outcome map(Invocation call) {
    core::Mapping mapping;
    const bool anywhere = call.arguments["addr"] == "any";
    if (!anywhere) mapping.at = co_await call.arguments.address("addr");
    const auto length = co_await call.arguments.size("len");
    const core::Range checked =
        co_await core::checked_range(mapping.at.value_or(core::Address{}), length);
    mapping.length = checked.length;
    mapping.protection = co_await core::parse_protection(call.arguments["prot"]);
    mapping.shared = call.arguments.has("shared");
    if (call.arguments.has("file")) {
        std::uint64_t offset = 0;
        if (call.arguments.has("offset")) offset = co_await call.arguments.size("offset");
        if (offset % core::page_size != 0)
            co_return fail(std::errc::invalid_argument,
                           "offset {} is not a multiple of the page size {}",
                           call.arguments["offset"], core::page_size);
        mapping.source = core::Mapping::File{call.arguments["file"], offset};
    } else if (call.arguments.has("offset")) {
        co_return fail(std::errc::invalid_argument, "unknown word {}",
                       core::requote(call.arguments["offset"]));
    }
    const core::Region* const region = co_await call.memory().map(std::move(mapping));
    if (anywhere) call.process().last_made = fmt::format("{:#x}", region->range.start.value);
    co_return done();
}

Outcome map_vdso(Invocation call) {
    std::optional<core::Address> at;
    if (call.arguments.has("addr") && call.arguments["addr"] != "any")
        at = co_await call.arguments.address("addr");
    const core::Region* const region = co_await call.memory().map_vdso(at);
    if (!at) call.process().last_made = fmt::format("{:#x}", region->range.start.value);
    co_return done();
}

Outcome unmap(Invocation call) {
    core::Range range;
    if (call.arguments.has("len")) {
        range = co_await range_of(call.arguments);
    } else {
        range.start = co_await call.arguments.address("addr");
        const core::Region* const region = call.memory().at(range.start);
        if (!region)
            co_return fail(std::errc::no_such_file_or_directory, "no region begins at {:x}",
                           range.start.value);
        range.length = std::max(region->range.length, core::page_size);
    }
    co_await call.memory().unmap(range);
    co_return done();
}

Outcome protect(Invocation call) {
    const core::Range range = co_await range_of(call.arguments);
    const core::Protection protection = co_await core::parse_protection(call.arguments["prot"]);
    co_await call.memory().protect(range, protection);
    co_return done();
}

Outcome move(Invocation call) {
    const core::Address from = co_await call.arguments.address("addr");
    const core::Address to = co_await call.arguments.address("new");
    co_await call.memory().move(from, to);
    co_return done();
}

}  // namespace proc9::ctl
