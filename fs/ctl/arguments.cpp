#include "fs/core/text.hpp"
#include "fs/ctl/command.hpp"

namespace proc9::ctl {

const std::string& Arguments::operator[](std::string_view name) const {
    static const std::string nothing;
    const auto found = values_.find(name);
    return found == values_.end() ? nothing : found->second;
}

core::Result<core::Address> Arguments::address(std::string_view name) const {
    return core::parse_address((*this)[name]);
}

core::Result<std::uint64_t> Arguments::size(std::string_view name) const {
    return core::parse_size((*this)[name]);
}

core::Result<int> Arguments::descriptor(std::string_view name) const {
    const auto number = TRY(core::parse_number_up_to("descriptor", (*this)[name], 0x7fffffff));
    if (number > core::highest_descriptor)
        return core::fail(std::errc::too_many_files_open, "descriptor {} is above the limit",
                          number);
    return static_cast<int>(number);
}

core::Result<core::Pid> process_named(const Invocation& call, const std::string& who) {
    if (who == "self") return call.registry.host().process_of_thread(call.request.thread);
    if (const auto named = call.registry.by_name(who)) return named->id();
    const auto given = core::parse_number_up_to("process", who, core::highest_pid);
    if (!given)
        return core::fail(std::errc::no_such_file_or_directory, "no process {}",
                          core::requote(who));
    return static_cast<core::Pid>(*given);
}

}  // namespace proc9::ctl
