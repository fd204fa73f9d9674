// Children that are made ahead, while nobody asks for anything: to make one takes longer than a request.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "daemon/os/loop.hpp"
#include "fs/core/task.hpp"

namespace proc9::os {

class Child;
using Children = std::vector<std::unique_ptr<Child>>;

class Pool {
public:
    using Make = std::function<core::Task<core::Result<Children>>(std::size_t count)>;

    enum class Kind {
        of_blanks,  // the first who asks shows that many will
        of_copies,  // the oldest stays: of it the others are made
    };

    // `make` may make fewer. It is not called once the pool has gone; a call that is under way then must not use
    // what goes with it.
    Pool(Loop& loop, std::size_t most, Kind kind, Make make);
    ~Pool();

    // One that lives and was not stopped, or nullptr. The more often there was none, the more are made ahead.
    std::unique_ptr<Child> take();
    void add(std::unique_ptr<Child> child);
    [[nodiscard]] Child* oldest() const;  // nullptr: there is none
    // What was made is not what is wanted any more, nor what is being made; and nobody has asked yet for what is.
    void clear();
    [[nodiscard]] bool is_wanted() const;  // by more than one
    [[nodiscard]] std::size_t size() const;

private:
    struct State;
    std::shared_ptr<State> state_;
};

}  // namespace proc9::os
