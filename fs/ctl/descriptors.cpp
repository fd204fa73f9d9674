#include "fs/ctl/descriptors.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>

#include "fs/ctl/verbs.hpp"

namespace proc9::ctl {
namespace {

using core::done;
using core::fail;

constexpr core::OpenMode for_reading{.read = true};
constexpr core::OpenMode for_both{.read = true, .write = true};
constexpr core::OpenMode for_writing{.write = true};
constexpr core::OpenMode for_appending{.write = true, .append = true, .create = true};

std::optional<int> whole_number(std::string_view text) {
    int number = 0;
    const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (problem != std::errc{} || end != text.data() + text.size() || number < 0)
        return std::nullopt;
    return number;
}

bool another_mode_may_do(std::errc code) {
    return code == std::errc::permission_denied || code == std::errc::is_a_directory ||
           code == std::errc::read_only_file_system || code == std::errc::text_file_busy;
}

core::Task<core::Result<>> open_as_permitted(core::Process& process, int number,
                                             std::string target) {
    constexpr std::array modes = {for_both, for_reading, for_writing};
    core::Result<> outcome;
    for (const auto& mode : modes) {
        outcome = co_await process.body->open(number, target, mode, 0).result();
        if (outcome || !another_mode_may_do(outcome.error().code)) break;
    }
    co_return outcome;
}

}  // namespace

core::Result<core::OpenMode> parse_open_mode(std::string_view word) {
    const auto wrong = [&] {
        return fail(
            std::errc::invalid_argument,
            "{} is not a mode: r r+ w w+ a a+, then x (exclusive), n (non-blocking), k (keep: "
            "neither create nor truncate)",
            core::requote(word));
    };
    core::OpenMode mode;
    if (word.starts_with('r')) {
        mode.read = true;
    } else if (word.starts_with('w')) {
        mode.write = mode.create = mode.truncate = true;
    } else if (word.starts_with('a')) {
        mode.write = mode.create = mode.append = true;
    } else {
        return wrong();
    }
    for (const char c : word.substr(1)) {
        switch (c) {
            case '+': mode.read = mode.write = true; break;
            case 'x': mode.exclusive = true; break;
            case 'n': mode.non_blocking = true; break;
            case 'k': mode.create = mode.truncate = false; break;
            default: return wrong();
        }
    }
    return mode;
}

std::optional<int> callers_descriptor(std::string_view target) {
    constexpr std::array<std::string_view, 3> standard = {"/dev/stdin", "/dev/stdout",
                                                          "/dev/stderr"};
    for (std::size_t i = 0; i < standard.size(); ++i) {
        if (target == standard.at(i)) return static_cast<int>(i);
    }
    for (const std::string_view prefix : {"/dev/fd/", "/proc/self/fd/", "/proc/thread-self/fd/"}) {
        if (target.starts_with(prefix)) return whole_number(target.substr(prefix.size()));
    }
    return std::nullopt;
}

bool has_no_path(std::string_view target) {
    const auto colon = target.find(':');
    const bool is_kind = colon != std::string_view::npos && colon != 0 &&
                         std::all_of(target.begin(), target.begin() + static_cast<long>(colon),
                                     [](unsigned char c) { return std::isalpha(c) || c == '_'; });
    const bool is_numbered = is_kind && target.substr(colon).starts_with(":[");
    return is_numbered || target.starts_with("anon_inode:") || target.ends_with(" (deleted)");
}

core::Error cannot_restore(std::string_view target) {
    return fail(std::errc::no_such_device_or_address,
                "{} has no path that could be opened: it must be made or handed over anew", target);
}

core::Task<core::Result<>> hand_over(core::Registry& registry, core::Request& request,
                                     core::Process& process, int number, core::Pid from,
                                     int source) {
    // An embryo's descriptors are not where its link is hidden.
    const auto embryo = registry.by_id(from);
    core::DescriptorRef descriptor;
    if (embryo && embryo->state() == core::Process::State::embryo) {
        co_await core::Registry::check_owner(request.who, *embryo);
        descriptor = co_await embryo->body->take_descriptor(source);
    } else {
        descriptor = co_await registry.host().take_descriptor(request, from, source);
    }
    co_await process.body->install(number, std::move(descriptor), false);
    co_return done();
}

core::Task<core::Result<>> open_target(core::Registry& registry, core::Request& request,
                                       core::Process& process, int number, std::string target) {
    if (const auto source = callers_descriptor(target)) {
        const core::Pid caller = co_await registry.host().process_of_thread(request.thread);
        co_await hand_over(registry, request, process, number, caller, *source);
    } else if (number > 2) {
        co_await open_as_permitted(process, number, std::move(target));
    } else {
        const core::OpenMode mode = number == 0 ? for_reading : for_appending;
        auto opened = co_await process.body->open(number, target, mode, 0666).result();
        if (!opened && another_mode_may_do(opened.error().code))
            opened = co_await open_as_permitted(process, number, std::move(target)).result();
        co_await std::move(opened);
    }
    co_return done();
}

Outcome open_descriptor(Invocation call) {
    const int number = co_await call.arguments.descriptor("n");
    const core::OpenMode mode = co_await parse_open_mode(call.arguments["mode"]);
    std::uint32_t perm = 0666;
    if (call.arguments.has("perm")) perm = co_await core::parse_octal(call.arguments["perm"]);
    co_await call.body().open(number, call.arguments["path"], mode, perm);
    co_return done();
}

Outcome take_descriptor(Invocation call) {
    const int number = co_await call.arguments.descriptor("n");
    const std::string& from = call.arguments["from"];
    const auto colon = from.find(':');
    if (colon == std::string::npos)
        co_return fail(std::errc::invalid_argument,
                       "{} is not open, dup, mem, close, cloexec, seek, self:M, PID:M or NAME:M",
                       core::requote(from));
    const std::string who = from.substr(0, colon);
    const auto source = co_await core::parse_number_up_to(
        "descriptor", std::string_view(from).substr(colon + 1), core::highest_descriptor);
    const core::Pid pid = co_await process_named(call, who);
    co_await hand_over(call.registry, call.request, call.process(), number, pid,
                       static_cast<int>(source));
    co_return done();
}

Outcome duplicate(Invocation call) {
    const int number = co_await call.arguments.descriptor("n");
    const int source = co_await call.arguments.descriptor("m");
    co_await call.body().duplicate(source, number);
    co_return done();
}

Outcome memory_descriptor(Invocation call) {
    const int number = co_await call.arguments.descriptor("n");
    const core::Address address = co_await call.arguments.address("addr");
    core::Region* const region = call.memory().at(address);
    if (!region)
        co_return fail(std::errc::no_such_file_or_directory, "no region begins at {:x}",
                       address.value);
    co_await call.memory().share(*region);
    if (region->offset != 0)
        co_return fail(std::errc::invalid_argument,
                       "a part of a shared region has no file of its own");
    if (!region->object)
        co_return fail(std::errc::not_supported, "the region at {:x} is a shared file: open that",
                       address.value);
    co_await call.body().install(number, region->object, false);
    co_return done();
}

Outcome close_descriptor(Invocation call) {
    const int number = co_await call.arguments.descriptor("n");
    co_await call.body().close(number);
    co_return done();
}

Outcome close_on_exec(Invocation call) {
    const int number = co_await call.arguments.descriptor("n");
    const std::string& wanted = call.arguments["switch"];
    if (wanted != "on" && wanted != "off")
        co_return fail(std::errc::invalid_argument, "{} is not on or off", core::requote(wanted));
    co_await call.body().set_close_on_exec(number, wanted == "on");
    co_return done();
}

Outcome seek(Invocation call) {
    const int number = co_await call.arguments.descriptor("n");
    const std::uint64_t offset = co_await call.arguments.size("offset");
    co_await call.body().seek(number, offset);
    co_return done();
}

}  // namespace proc9::ctl
