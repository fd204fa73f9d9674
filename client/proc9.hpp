// libproc9 for C++20: proc9.h with owners, exceptions and strings.
//
//     proc9::Embryo child;
//     child.inherit().env("GREETING", "hello").set("limit", "NOFILE", 64);
//     proc9::Process shell = std::move(child).exec("/bin/sh", {"sh", "-c", "echo $GREETING"});
//     return shell.wait().code();
//
// What proc9.h says of errors, waiting and threads holds here too. An error is an exception, proc9::Refusal.
#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <concepts>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <proc9.h>

namespace proc9 {

// Its code is the errno, what() the text that the mount gave.
class Refusal : public std::system_error {
public:
    Refusal(int code, std::string why)
        : std::system_error(code, std::generic_category()), why_(std::move(why)) {}
    [[nodiscard]] const char* what() const noexcept override {
        return why_.empty() ? std::system_error::what() : why_.c_str();
    }

private:
    std::string why_;
};

// How a process ended.
class End {
public:
    explicit End(const siginfo_t& info) : how_(info.si_code), status_(info.si_status) {}
    [[nodiscard]] bool exited() const { return how_ == CLD_EXITED; }
    [[nodiscard]] int code() const {
        return exited() ? status_ : 128 + status_;
    }  // as a shell's $?
    [[nodiscard]] int signal() const { return exited() ? 0 : status_; }

private:
    int how_;
    int status_;
};

// A descriptor, closed with it.
class Descriptor {
public:
    Descriptor() = default;
    explicit Descriptor(int number) : number_(number) {}
    Descriptor(Descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
    Descriptor& operator=(Descriptor&& other) noexcept {
        std::swap(number_, other.number_);
        return *this;
    }
    ~Descriptor() {
        if (number_ >= 0) ::close(number_);
    }
    [[nodiscard]] int number() const { return number_; }
    explicit operator bool() const { return number_ >= 0; }

private:
    int number_ = -1;
};

// One that was started. Nothing happens to it when this goes: it is a child like any other.
class Process {
public:
    explicit Process(Descriptor context) : context_(std::move(context)) {}

    [[nodiscard]] int context() const { return context_.number(); }
    [[nodiscard]] pid_t pid() const { return called(proc9_pid(context())); }
    [[nodiscard]] Descriptor pidfd() const { return Descriptor(called(proc9_pidfd(context()))); }
    void kill(int signal) const { checked(proc9_kill(context(), signal)); }
    // Reaps it.
    End wait() const {
        siginfo_t info{};
        while (proc9_wait(context(), &info, WEXITED) < 0) {
            if (errno != EINTR) called(-1);
        }
        return End(info);
    }

protected:
    template <class T>
    T checked(T outcome) const {
        return checked(outcome, context());
    }
    // Of what is no command of the mount: only errno tells.
    template <class T>
    static T called(T outcome) {
        if (outcome >= T{}) return outcome;
        throw Refusal(errno, "");
    }
    template <class T>
    static T checked(T outcome, int context) {
        if (outcome >= T{}) return outcome;
        const int problem = errno;
        std::array<char, 1024> text{};
        const auto length = proc9_error(context, text.data(), text.size());
        throw Refusal(problem, length > 0 ? text.data() : "");
    }

    Descriptor context_;
};

// A blank process: no memory, no descriptors, and it does not run. One that was not started ends with this.
class Embryo : private Process {
public:
    Embryo() : Process(Descriptor(checked(proc9_efork(), -1))) {}
    Embryo(Embryo&&) noexcept = default;
    Embryo& operator=(Embryo&&) noexcept = default;
    ~Embryo() {
        siginfo_t info{};
        if (!context_ || proc9_kill(context(), SIGKILL) < 0) return;
        while (proc9_wait(context(), &info, WEXITED) < 0 && errno == EINTR) continue;
    }

    using Process::context;
    using Process::pid;
    using Process::pidfd;

    // One more, equal to this.
    [[nodiscard]] Embryo instance() const {
        return Embryo(Descriptor(checked(proc9_instance(context()))));
    }

    // A command and its words: a setting, or whatever its ctl file takes.
    template <class... Words>
    Embryo& set(std::string_view command, const Words&... words) {
        const std::vector<std::string> all{std::string(command), word(words)...};
        checked(proc9_set(context(), pointers(all).data()));
        return *this;
    }
    Embryo& inherit() { return done(proc9_inherit(context())); }
    Embryo& env(const std::string& name, const std::string& value) {
        return done(proc9_env(context(), name.c_str(), value.c_str()));
    }
    Embryo& fd(int number, int mine) { return done(proc9_fd(context(), number, mine)); }
    Embryo& fd(int number, const std::string& path, const std::string& mode) {
        return done(proc9_fd_open(context(), number, path.c_str(), mode.c_str()));
    }

    Embryo& map(std::uint64_t address, std::uint64_t length, int protection,
                int flags = PROC9_PRIVATE) {
        return done(proc9_map(context(), address, length, protection, flags));
    }
    Embryo& map_file(std::uint64_t address, std::uint64_t length, int protection, int flags,
                     const std::string& path, std::uint64_t offset = 0) {
        return done(
            proc9_map_file(context(), address, length, protection, flags, path.c_str(), offset));
    }
    Embryo& unmap(std::uint64_t address, std::uint64_t length) {
        return done(proc9_unmap(context(), address, length));
    }
    Embryo& protect(std::uint64_t address, std::uint64_t length, int protection) {
        return done(proc9_protect(context(), address, length, protection));
    }
    Embryo& share(std::uint64_t address, const Embryo& other, std::uint64_t other_address) {
        return done(proc9_share(context(), address, other.context(), other_address));
    }
    Embryo& copy(std::uint64_t address, pid_t from, std::uint64_t source, std::uint64_t length) {
        return done(proc9_copy(context(), address, from, source, length));
    }
    std::size_t write(std::uint64_t address, std::span<const std::byte> bytes) {
        return static_cast<std::size_t>(
            called(proc9_write(context(), address, bytes.data(), bytes.size())));
    }
    std::size_t read(std::uint64_t address, std::span<std::byte> bytes) const {
        return static_cast<std::size_t>(
            called(proc9_read(context(), address, bytes.data(), bytes.size())));
    }

    // Both start it. If that is refused it is as it was, and can be told more.
    Process exec(const std::string& path, const std::vector<std::string>& words) && {
        const auto argv = pointers(words);
        checked(
            proc9_exec(context(), path.c_str(), const_cast<char* const*>(argv.data()), nullptr));
        return Process(std::move(context_));
    }
    Process eexec() && {
        checked(proc9_eexec(context()));
        return Process(std::move(context_));
    }

private:
    explicit Embryo(Descriptor context) : Process(std::move(context)) {}
    Embryo& done(int outcome) {
        checked(outcome);
        return *this;
    }
    static std::string word(std::string_view text) { return std::string(text); }
    static std::string word(std::integral auto number) { return std::to_string(number); }
    static std::vector<const char*> pointers(const std::vector<std::string>& words) {
        std::vector<const char*> all;
        for (const auto& word : words) all.push_back(word.c_str());
        all.push_back(nullptr);
        return all;
    }
};

}  // namespace proc9
