// The files of the mount, read and written whole. What fails throws Problem, which tells the user what to do.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace proc9::p9 {

std::string path_of(const std::string& name);

std::string read_file(const std::string& name);
std::optional<std::string> try_read(const std::string& name);  // nothing: not there, or not for us
void write_file(const std::string& name, const std::string& text);

std::vector<std::string> list(const std::string& directory);

// An open ctl file: what it is told, and what it reads back.
class Ctl {
public:
    explicit Ctl(const std::string& directory);  // of N, or of the mount: ""
    Ctl(int descriptor, std::string directory);  // takes a context of libproc9
    static Ctl efork(const std::string& words);  // of a blank process, a child of the mount's
    static Ctl clone();  // the same, and it goes with this unless it was started
    Ctl(Ctl&& other) noexcept;
    Ctl(const Ctl&) = delete;
    Ctl& operator=(const Ctl&) = delete;
    Ctl& operator=(Ctl&&) = delete;
    ~Ctl();

    void tell(const std::string& lines) const;
    std::vector<std::string> answer() const;  // ID, STATE, and what the last command chose
    int get() const { return descriptor_; }
    const std::string& directory() const { return directory_; }

private:
    int descriptor_;
    std::string directory_;
};

// What the file `error` of the mount, or of a process, says; if nothing, what errno does.
std::string refusal(const std::string& directory, int problem);

// Why a file of the mount could not be opened.
[[noreturn]] void fail_to_open(const std::string& name, int problem);

}  // namespace proc9::p9
