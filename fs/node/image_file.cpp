// The files of an image, as tar writes them.
#include <sstream>

#include "fs/ctl/dispatch.hpp"
#include "fs/node/open_files.hpp"
#include "fs/recipe/recipe.hpp"

namespace proc9::node {
namespace {

class ToldFile : public OpenFile {
public:
    core::Task<core::Result<std::string>> read(core::Request&, std::size_t,
                                               std::uint64_t) override {
        co_return std::string{};
    }
    core::Task<core::Result<std::size_t>> write(core::Request&, std::string bytes, std::uint64_t,
                                                bool) override {
        co_return bytes.size();
    }
    [[nodiscard]] core::Saved save(core::Saving&) const override { return {{"is", "told"}}; }
};

// Gathered until close, because tar writes in pieces and gives up the rest after an error.
class ImageFile : public OpenFile {
public:
    ImageFile(Access access, const FileRow& row, core::ProcessRef process)
        : registry_(access.registry),
          options_(access.options),
          row_(row),
          process_(std::move(process)) {}

    core::Task<core::Result<std::string>> read(core::Request&, std::size_t,
                                               std::uint64_t) override {
        co_return std::string{};
    }

    core::Task<core::Result<std::size_t>> write(core::Request&, std::string bytes, std::uint64_t,
                                                bool) override {
        constexpr std::size_t most = 16U << 20U;
        if (text_.size() + bytes.size() > most)
            co_return core::fail(std::errc::file_too_large, "more than {} bytes", most);
        text_ += bytes;
        co_return bytes.size();
    }

    [[nodiscard]] bool has_flush() const override { return true; }

    core::Task<core::Result<>> flush(core::Request& request) override {
        const std::string text = std::exchange(text_, {});
        if (text.empty()) co_return core::done();
        if (row_.kind == Kind::recipe) {
            auto restored = co_await recipe::restore(registry_, request, process_, text).result();
            co_return written_down(request, "close", std::move(restored));
        }
        core::Result<> outcome;
        std::istringstream lines(text);
        for (std::string line; std::getline(lines, line);) {
            const Access access{request, registry_, options_, 0, true};
            auto run = co_await row_.line(access, process_, line).result();
            run = written_down(request, line, std::move(run));
            if (outcome) outcome = std::move(run);
        }
        co_return outcome;
    }

    [[nodiscard]] core::Saved save(core::Saving& saving) const override {
        return {{"is", "image"},
                {"row", static_cast<int>(row_.kind)},
                {"process", saving.process(process_)},
                {"text", text_}};
    }
    void restore(const core::Saved& saved) { saved.at("text").get_to(text_); }

private:
    core::Result<> written_down(core::Request& request, const std::string& line,
                                core::Result<> outcome) {
        if (outcome) return outcome;
        const ctl::Session session{process_, false};
        return ctl::refuse(registry_, request, session, row_.name, line,
                           std::move(outcome).error());
    }

    core::Registry& registry_;
    const Options& options_;
    const FileRow& row_;
    core::ProcessRef process_;
    std::string text_;
};

}  // namespace

OpenFileRef restore_told(Access, core::ProcessRef, const core::Saved&) { return open_told(); }

OpenFileRef restore_image(Access access, core::ProcessRef process, const core::Saved& saved) {
    const FileRow& row = *file_row(static_cast<Kind>(saved.at("row").get<int>()));
    auto file = std::make_unique<ImageFile>(access, row, std::move(process));
    file->restore(saved);
    return file;
}

OpenFileRef open_told() { return std::make_unique<ToldFile>(); }

OpenFileRef open_image(Access access, const FileRow& row, core::ProcessRef process) {
    return std::make_unique<ImageFile>(access, row, std::move(process));
}

}  // namespace proc9::node
