// One directory of the tree: a process from efork until nobody needs to know of it any more.
//
//     embryo --exec, entry--> running --exit--> exited --reaped--> gone
//        \-----------killed, rmdir---------------------------------^
#pragma once

#include <list>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "fs/core/address_space.hpp"
#include "fs/core/host.hpp"
#include "fs/core/saved.hpp"
#include "fs/core/turnstile.hpp"

namespace proc9::core {

// What a process will find in its environment. A variable written as a file keeps exactly the bytes
// written there; the newline that echo ends with does not go into the process.
class Environment {
public:
    struct Variable {
        std::uint32_t id = 0;  // never used again in this process
        std::string value;
        bool is_file = false;
    };

    [[nodiscard]] const std::map<std::string, Variable>& variables() const { return variables_; }
    [[nodiscard]] const Variable* find(const std::string& name) const;
    [[nodiscard]] std::optional<std::string> name_of(std::uint32_t id) const;
    [[nodiscard]] std::string value_of(const std::string& name) const;  // as the process sees it

    Result<> set(const std::string& name, std::string value, bool is_file = false);
    bool remove(const std::string& name);
    Result<> rename(const std::string& name, const std::string& new_name);  // replaces
    void clear() { variables_.clear(); }
    [[nodiscard]] Words words() const;  // NAME=VALUE

    [[nodiscard]] Saved save() const;
    void restore(const Saved& saved);

private:
    std::map<std::string, Variable> variables_;
    std::uint32_t last_id_ = 0;
};

// What is half done while an image is extracted, until the start.
struct Extraction {
    // An empty file stands where a symbolic link will be, or has just made room for it.
    struct Placeholder {
        std::uint32_t id = 0;
        bool stands = true;
    };
    // As the recipe opened it. Removed to be linked again, it is kept as it is.
    struct OpenedFile {
        std::string path;
        bool close_on_exec = false;
        DescriptorRef kept = nullptr;
    };
    std::map<std::string, Placeholder> placeholders;  // by path: "cwd", "fd/3"
    std::uint32_t last_placeholder = 0;
    std::map<int, OpenedFile> files;
    std::set<std::uint64_t> shared;    // regions that the recipe says are; a mode may not say it
    std::vector<std::string> threads;  // directories that stand for threads

    [[nodiscard]] Saved save(Saving& saving) const;
    void restore(const Saved& saved, Host& host);
};

class Process : public std::enable_shared_from_this<Process> {
public:
    enum class State { embryo, running, exited };

    Process(std::uint32_t serial, Host& host, std::unique_ptr<Embryo> body, Identity owner,
            Pid creator);
    // One that was made to share contexts with another: their commands run one after the other.
    Process(std::uint32_t serial, Process& other, bool shares_memory, std::unique_ptr<Embryo> body,
            Identity owner, Pid creator);
    [[nodiscard]] Saved save(Saving& saving);
    static std::shared_ptr<Process> restore(const Saved& saved, Restoring& restoring, Host& host);
    ~Process() { memory.leave(*body); }
    Process(const Process&) = delete;
    Process& operator=(const Process&) = delete;

    const std::uint32_t serial;  // unlike a pid never used again
    const Identity owner;
    const Pid creator;
    const std::unique_ptr<Embryo> body;
    const std::shared_ptr<AddressSpace> address_space;
    AddressSpace& memory;
    Environment environment;
    Words arguments;
    std::vector<Registers> threads{1};  // initial registers, the first thread's first
    std::string name;                   // its link in the root directory; empty: none
    std::string error;                  // the last refusal
    bool persistent = true;             // outlives the open file that made it
    bool doomed = false;                // its death was asked for: nobody will read `wait`
    bool visible = true;                // still in the tree
    std::string last_made;              // what a command chose: an address, the id of a fork

    // Symbolic links that ln -f and install make first under another name (name -> target), and
    // names that rm took away until they are made again, by their path: "cwd", "ns/net".
    std::map<std::string, std::string> pending_links;
    std::set<std::string> removed;
    Extraction extraction;

    [[nodiscard]] Pid id() const { return body->pid(); }
    [[nodiscard]] State state() const { return state_; }
    [[nodiscard]] const std::optional<ExitStatus>& exit_status() const { return exit_; }
    [[nodiscard]] std::uint64_t real_ms() const { return ended_ms_ - started_ms_; }

    // EPERM once it was started, ESRCH once it is gone, EBUSY while it is stopped.
    [[nodiscard]] Result<> check_embryo() const;

    // The right to build, until the Turn dies: commands of a process run one after the other. An
    // interruption of the request from now on interrupts what the child does for it. Mappings are
    // settled.
    class Turn {
    public:
        Turn(std::shared_ptr<Process> process, Request& request, Turnstile::Turn turn);
        Turn(Turn&& other) noexcept = default;
        Turn& operator=(Turn&&) = delete;
        ~Turn();

    private:
        std::shared_ptr<Process> process_;
        Request* request_;
        Turnstile::Turn turn_;
    };
    Task<Result<Turn>> turn(Request& request);
    // Whether a command is under way that is not one of `mine`, whose turn it is.
    [[nodiscard]] bool is_busy_beside(const Process& mine) const {
        return turnstile_ != mine.turnstile_ && turnstile_->busy();
    }
    [[nodiscard]] bool is_busy() const { return turnstile_->busy(); }
    // For those who only look: settles unless a command is under way.
    Task<> settle(Request& request);

    // A path "fd:N" is the program that its descriptor N is open on.
    Task<Result<>> exec(std::optional<std::string> path, Words words);
    // The same after settings, as Embryo::exec_with.
    Task<Result<>> exec_with(std::vector<Setting>& settings, std::optional<std::string> path,
                             Words words);
    Task<Result<>> enter(Registers changed);
    Task<Result<>> resume();
    Task<Result<>> add_thread(Registers initial);
    // Of one of its threads before the start; ENOENT.
    [[nodiscard]] Result<Registers*> registers_of(Pid thread);

    // Runs once, when the process has exited; at once if it has.
    using Watcher = std::list<std::function<void()>>::iterator;
    Watcher on_exit(std::function<void()> hook);
    void forget(Watcher watcher) { watchers_.erase(watcher); }

private:
    friend class Registry;
    Process(std::uint32_t serial, Host& host, std::unique_ptr<Embryo> body, Identity owner,
            Pid creator, std::shared_ptr<AddressSpace> space, std::shared_ptr<Turnstile> turnstile);
    [[nodiscard]] Result<> check_not_started() const;
    [[nodiscard]] Result<> check_not_stopped() const;
    [[nodiscard]] Result<Program> find_program(std::optional<std::string> path, Words& words) const;
    void started(bool keeps_memory);
    void exited(ExitStatus status);

    Host& host_;
    State state_ = State::embryo;
    bool was_started_ = false;
    std::shared_ptr<Turnstile> turnstile_;
    std::optional<ExitStatus> exit_;
    std::uint64_t started_ms_ = 0;
    std::uint64_t ended_ms_ = 0;
    std::list<std::function<void()>> watchers_;
};
using ProcessRef = std::shared_ptr<Process>;

// The paths that execvp(3) would try for a program; without a PATH there is nowhere to look.
std::vector<std::string> search_path(const std::string& program, const std::string& path);

}  // namespace proc9::core
