// process.json: what is written is gathered until the object ends, then applied.
#include "fs/ctl/dispatch.hpp"
#include "fs/node/open_files.hpp"
#include "fs/node/texts.hpp"
#include "fs/recipe/recipe.hpp"

namespace proc9::node {
namespace {

using core::fail;

class RecipeFile : public OpenFile {
public:
    RecipeFile(Access access, core::ProcessRef process)
        : registry_(access.registry), process_(std::move(process)) {}

    core::Task<core::Result<std::string>> read(core::Request& request, std::size_t size,
                                               std::uint64_t offset) override {
        if (offset == 0 || !snapshot_)
            snapshot_ = co_await recipe::describe(registry_, request, process_);
        if (offset >= snapshot_->size()) co_return std::string{};
        co_return snapshot_->substr(offset, size);
    }

    core::Task<core::Result<std::size_t>> write(core::Request& request, std::string bytes,
                                                std::uint64_t /*offset*/,
                                                bool /*may_go_on*/) override {
        snapshot_.reset();
        constexpr std::size_t most = 16U << 20U;
        const std::size_t size = bytes.size();
        if (text_.empty()) bytes.erase(0, bytes.find_first_not_of(" \t\r\n"));
        if (bytes.empty()) co_return size;  // the end of a line after the object
        if (text_.size() + size > most)
            co_return refused(request, fail(std::errc::file_too_large, "more than {} bytes", most));
        const bool is_whole = brackets_.closed(bytes) || (text_ + bytes).front() != '{';
        text_ += bytes;
        if (!is_whole) co_return size;
        std::string whole = std::exchange(text_, {});
        brackets_ = {};
        auto outcome =
            co_await recipe::apply(registry_, request, process_, std::move(whole)).result();
        if (!outcome) co_return refused(request, std::move(outcome).error());
        co_return size;
    }

    core::Task<> close(core::Request& request) override {
        if (!text_.empty())
            (void)refused(request, fail(std::errc::invalid_argument, "the object does not end"));
        co_return;
    }

    [[nodiscard]] core::Saved save(core::Saving& saving) const override {
        return {{"is", "recipe"},
                {"process", saving.process(process_)},
                {"snapshot", snapshot_},
                {"text", text_}};
    }
    void restore(const core::Saved& saved) {
        saved.at("snapshot").get_to(snapshot_);
        saved.at("text").get_to(text_);
        (void)brackets_.closed(text_);
    }

private:
    core::Error refused(core::Request& request, core::Error error) {
        text_.clear();
        brackets_ = {};
        const ctl::Session session{process_, false};
        return ctl::refuse(registry_, request, session, "process.json", "write", std::move(error));
    }

    core::Registry& registry_;
    core::ProcessRef process_;
    std::optional<std::string> snapshot_;
    std::string text_;
    recipe::Brackets brackets_;
};

}  // namespace

Text recipe_text(Access access, core::ProcessRef process) {
    return recipe::describe(access.registry, access.request, std::move(process));
}

OpenFileRef restore_recipe_file(Access access, core::ProcessRef process, const core::Saved& saved) {
    auto file = std::make_unique<RecipeFile>(access, std::move(process));
    file->restore(saved);
    return file;
}

OpenFileRef open_recipe(Access access, core::ProcessRef process) {
    return std::make_unique<RecipeFile>(access, std::move(process));
}

}  // namespace proc9::node
