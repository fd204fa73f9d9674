// env/: a file per variable, holding exactly its bytes.
#include "fs/node/directory.hpp"
#include "fs/node/open_files.hpp"

namespace proc9::node {
namespace {

using core::done;
using core::fail;

constexpr std::uint64_t largest = 1U << 20U;  // the kernel takes less than this in one variable

Attributes attributes_of(const core::Process& process,
                         const core::Environment::Variable& variable) {
    Attributes attributes;
    attributes.id = {process.serial, Kind::variable, variable.id};
    attributes.mode = 0600;
    attributes.size = variable.value.size();
    attributes.owner = process.owner;
    return attributes;
}

core::Error no_variable(const std::string& name) {
    return fail(std::errc::no_such_file_or_directory, "no variable {}", core::requote(name));
}

class VariableFile : public OpenFile {
public:
    VariableFile(core::ProcessRef process, std::string name)
        : process_(std::move(process)), name_(std::move(name)) {}

    core::Task<core::Result<std::string>> read(core::Request& /*request*/, std::size_t size,
                                               std::uint64_t offset) override {
        const auto* const variable = process_->environment.find(name_);
        if (!variable) co_return no_variable(name_);
        if (offset >= variable->value.size()) co_return std::string{};
        co_return variable->value.substr(offset, size);
    }

    core::Task<core::Result<std::size_t>> write(core::Request& request, std::string bytes,
                                                std::uint64_t offset, bool /*may_go_on*/) override {
        const auto turn = co_await process_->turn(request);
        const auto* const variable = process_->environment.find(name_);
        if (!variable) co_return no_variable(name_);
        if (offset + bytes.size() > largest)
            co_return fail(std::errc::argument_list_too_long, "a variable of more than {} bytes",
                           largest);
        std::string value = variable->value;
        if (value.size() < offset)
            co_return fail(std::errc::invalid_argument, "a variable cannot have holes");
        value.replace(offset, bytes.size(), bytes);
        co_await process_->environment.set(name_, std::move(value), true);
        co_return bytes.size();
    }

private:
    core::ProcessRef process_;
    std::string name_;
};

class EnvironmentDirectory : public Directory {
public:
    core::Result<std::vector<DirectoryEntry>> list(Access, ProcessRef process) override {
        std::vector<DirectoryEntry> entries;
        for (const auto& [name, variable] : process->environment.variables()) {
            if (name.find('/') == std::string::npos)
                entries.push_back({name, attributes_of(*process, variable)});
        }
        return entries;
    }

    core::Result<Attributes> find(Access, ProcessRef process, const std::string& name) override {
        const auto* const variable = process->environment.find(name);
        if (!variable) return no_variable(name);
        return attributes_of(*process, *variable);
    }

    Answer<Created> create(Access access, ProcessRef process, std::string name, std::uint32_t,
                           OpenFlags) override {
        const auto turn = co_await process->turn(access.request);
        co_await process->environment.set(name, "", true);
        Created created;
        created.attributes = attributes_of(*process, *process->environment.find(name));
        created.file = std::make_unique<VariableFile>(process, name);
        co_return std::move(created);
    }

    Answer<> remove(Access access, ProcessRef process, std::string name) override {
        const auto turn = co_await process->turn(access.request);
        if (!process->environment.remove(name)) co_return no_variable(name);
        co_return done();
    }

    Answer<> rename(Access access, ProcessRef process, std::string name, ProcessRef other,
                    std::string new_name, bool replace) override {
        const auto turn = co_await process->turn(access.request);
        const auto* const variable = process->environment.find(name);
        if (!variable) co_return no_variable(name);
        if (!replace && other->environment.find(new_name))
            co_return fail(std::errc::file_exists, "there is a variable {}",
                           core::requote(new_name));
        if (process == other && name == new_name) co_return done();
        co_await other->check_embryo();
        co_await other->environment.set(new_name, variable->value, variable->is_file);
        process->environment.remove(name);
        co_return done();
    }
};

}  // namespace

Directory& environment_directory() {
    static EnvironmentDirectory directory;
    return directory;
}

core::Result<OpenFileRef> open_variable(Access, core::ProcessRef process, std::string name,
                                        OpenFlags flags) {
    if (flags.write || flags.truncate) TRY(process->check_embryo());
    if (flags.truncate) TRY(process->environment.set(name, "", true));
    return OpenFileRef(std::make_unique<VariableFile>(std::move(process), std::move(name)));
}

}  // namespace proc9::node
