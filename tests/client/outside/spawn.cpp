// The same in C++: what is refused is an exception that says why.
#include <iostream>
#include <proc9.hpp>
#include <string>
#include <vector>

int main(int count, char** words) try {
    proc9::Embryo child;
    child.inherit().env("GREETING", "hello").set("limit", "NOFILE", 64);
    const std::vector<std::string> all(words + 1, words + count);
    const auto process = std::move(child).exec(all.at(0), all);
    const auto end = process.wait();
    std::cout << (end.exited() ? "exit " : "signal ") << (end.exited() ? end.code() : end.signal())
              << '\n';
} catch (const proc9::Refusal& refusal) {
    std::cout << refusal.code().value() << ": " << refusal.what() << '\n';
}
