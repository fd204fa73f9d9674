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

// Others are made by commands: they reach the process and have no file.
bool can_name_a_file(const std::string& name) {
    constexpr std::size_t longest = 255;
    return name.size() <= longest && name != "." && name != ".." &&
           name.find('/') == std::string::npos;
}

core::Error no_variable(const std::string& name) {
    return fail(std::errc::no_such_file_or_directory, "no variable {}", core::requote(name));
}

class VariableFile : public OpenFile {
public:
    VariableFile(core::ProcessRef process, std::uint32_t id)
        : process_(std::move(process)), id_(id) {}

    core::Task<core::Result<std::string>> read(core::Request& /*request*/, std::size_t size,
                                               std::uint64_t offset) override {
        const std::string name = co_await this->name();
        const std::string& value = process_->environment.find(name)->value;
        if (offset >= value.size()) co_return std::string{};
        co_return value.substr(offset, size);
    }

    core::Task<core::Result<std::size_t>> write(core::Request& request, std::string bytes,
                                                std::uint64_t offset, bool /*may_go_on*/) override {
        const auto turn = co_await process_->turn(request);
        const std::string name = co_await this->name();
        if (offset + bytes.size() > largest)
            co_return fail(std::errc::argument_list_too_long, "a variable of more than {} bytes",
                           largest);
        std::string value = process_->environment.find(name)->value;
        if (value.size() < offset)
            co_return fail(std::errc::invalid_argument, "a variable cannot have holes");
        value.replace(offset, bytes.size(), bytes);
        co_await process_->environment.set(name, std::move(value), true);
        co_return bytes.size();
    }

    [[nodiscard]] core::Saved save(core::Saving& saving) const override {
        return {{"is", "variable"}, {"process", saving.process(process_)}, {"id", id_}};
    }

private:
    [[nodiscard]] core::Result<std::string> name() const {
        if (auto name = process_->environment.name_of(id_)) return std::move(*name);
        return fail(std::errc::no_such_file_or_directory, "the variable has gone");
    }

    core::ProcessRef process_;
    std::uint32_t id_;  // another one may get its name
};

class EnvironmentDirectory : public Directory {
public:
    core::Result<std::vector<DirectoryEntry>> list(Access, ProcessRef process) override {
        std::vector<DirectoryEntry> entries;
        for (const auto& [name, variable] : process->environment.variables()) {
            if (can_name_a_file(name)) entries.push_back({name, attributes_of(*process, variable)});
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
        created.file = std::make_unique<VariableFile>(process, created.attributes.id.item);
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
        if (process == other) co_return process->environment.rename(name, new_name);
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

OpenFileRef restore_variable(Access, core::ProcessRef process, const core::Saved& saved) {
    return std::make_unique<VariableFile>(std::move(process), saved.at("id"));
}

core::Result<OpenFileRef> open_variable(Access access, core::ProcessRef process,
                                        const std::string& name, OpenFlags flags) {
    if (flags.write || flags.truncate) TRY(process->check_embryo());
    if (flags.truncate) TRY(process->environment.set(name, "", true));
    return OpenFileRef(std::make_unique<VariableFile>(std::move(process), access.item));
}

}  // namespace proc9::node
