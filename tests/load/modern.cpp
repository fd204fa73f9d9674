// What C++ needs of a start: constructors before main and destructors after it, exceptions, thread-local objects.
#include <iostream>
#include <stdexcept>
#include <string>
#include <thread>

namespace {

struct Loud {
    explicit Loud(const char* name) : name_(name) { std::cout << "made " << name_ << "\n"; }
    ~Loud() { std::cout << "gone " << name_ << "\n"; }
    const char* name_;
};

const Loud of_program("program");
thread_local const Loud of_thread("thread");

void fail(int depth) {
    const Loud local("frame");
    if (depth == 0) throw std::runtime_error("thrown");
    fail(depth - 1);
}

}  // namespace

int main() {
    try {
        fail(2);
    } catch (const std::exception& thrown) {
        std::cout << thrown.what() << std::endl;
    }
    std::thread([] { std::cout << std::string(of_thread.name_) << "\n"; }).join();
    return 3;
}
