// Requests that wait to be served, where several users ask: one of each in turn, so that nobody waits for more than a
// request of each of the others.
#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace proc9::fuse {

class WaitingLine {
public:
    void add(std::uint32_t user, std::string request) {
        const std::size_t size = request.size();
        requests_.emplace(user, std::move(request));
        bytes_ += size;
    }
    [[nodiscard]] bool empty() const { return requests_.empty(); }
    [[nodiscard]] std::size_t bytes() const { return bytes_; }

    // Of the user whose turn it is.
    std::string take() {
        auto next = requests_.upper_bound(last_);
        if (next == requests_.end()) next = requests_.begin();
        last_ = next->first;
        std::string request = std::move(next->second);
        requests_.erase(next);
        bytes_ -= request.size();
        return request;
    }
    [[nodiscard]] std::size_t users() const {
        std::size_t count = 0;
        for (auto of = requests_.begin(); of != requests_.end();
             of = requests_.upper_bound(of->first))
            ++count;
        return count;
    }

private:
    std::multimap<std::uint32_t, std::string> requests_;  // of each, in the order they came
    std::uint32_t last_ = 0;
    std::size_t bytes_ = 0;
};

}  // namespace proc9::fuse
