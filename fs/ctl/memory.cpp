#include "fs/core/copy.hpp"
#include "fs/ctl/verbs.hpp"

namespace proc9::ctl {
namespace {

using core::done;
using core::fail;

core::Result<core::Range> range_of(const Arguments& arguments) {
    return core::checked_range(TRY(arguments.address("addr")), TRY(arguments.size("len")));
}

struct Wanted {
    std::string who;
    core::Range range{core::Address{0}, core::address_space_end};
    bool is_all = true;
};

// PID[:ADDR[-END]]; without END the mapping or region at ADDR.
core::Result<Wanted> parse_wanted(const std::string& word) {
    Wanted wanted;
    const auto colon = word.find(':');
    wanted.who = word.substr(0, colon);
    if (colon == std::string::npos) return wanted;
    wanted.is_all = false;
    const auto dash = word.find('-', colon);
    wanted.range.start = TRY(core::parse_address(word.substr(colon + 1, dash - colon - 1)));
    wanted.range.length = 0;
    if (dash == std::string::npos) return wanted;
    const auto end = TRY(core::parse_address(word.substr(dash + 1)));
    if (end <= wanted.range.start)
        return fail(std::errc::invalid_argument, "{} ends before it begins", core::requote(word));
    wanted.range.length = end - wanted.range.start;
    return wanted;
}

core::Result<core::Range> mapping_at(const std::vector<core::MappedLine>& lines, core::Address at) {
    for (const auto& line : lines) {
        if (line.range.contains({at, 1})) return core::Range{at, line.range.end() - at};
    }
    return fail(std::errc::no_such_file_or_directory, "nothing is mapped at {:x}", at.value);
}

}  // namespace

Outcome copy(Invocation call) {
    Wanted wanted = co_await parse_wanted(call.arguments["from"]);
    const core::Pid from = co_await process_named(call, wanted.who);
    const core::ProcessRef other = call.registry.by_id(from);
    const bool is_embryo = other && other->state() == core::Process::State::embryo;
    if (other) co_await core::Registry::check_owner(call.request.who, *other);
    if (is_embryo && other->is_busy_beside(call.process()))
        co_return fail(std::errc::device_or_resource_busy, "process {} is being built", from);
    if (is_embryo && other->id() != call.process().id()) co_await other->settle(call.request);
    const auto source = co_await call.registry.host().freeze(call.request, from, is_embryo);
    if (is_embryo) other->memory.seal();
    auto told = is_embryo ? other->body->maps() : source->maps();
    const auto lines = co_await std::move(told);
    if (wanted.range.length == 0) wanted.range = co_await mapping_at(lines, wanted.range.start);
    auto pieces = co_await core::pieces_of(lines, other ? &other->memory : nullptr, wanted.range);
    const core::Address first = pieces.front().range.start;
    core::Address to = first;
    if (call.arguments.has("addr")) to = co_await call.arguments.address("addr");
    co_await core::copy(call.memory(), call.body(), *source, std::move(pieces),
                        to.value - first.value);
    call.process().last_made = fmt::format("{:#x}", to.value);
    co_return done();
}

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
