#include "client/elf/file.hpp"

#include <elf.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <climits>
#include <cstring>

#include "client/elf/refused.hpp"

namespace proc9::elf {

namespace {

constexpr std::size_t most_headers = 65536 / sizeof(Elf64_Phdr);  // as the kernel has it

struct Requirement {
    bool holds;
    const char* otherwise;
};

template <std::size_t N>
void require(const std::string& path, const Requirement (&requirements)[N]) {
    for (const auto& [holds, otherwise] : requirements) {
        if (!holds) refuse("{}: {}", path, otherwise);
    }
}

// What is asked for may lie beyond the end, however large the numbers are.
class Reader {
public:
    Reader(int descriptor, std::string path) : descriptor_(descriptor), path_(std::move(path)) {
        struct stat status{};
        if (::fstat(descriptor, &status) != 0) refuse_by_errno(path_);
        if (!S_ISREG(status.st_mode)) refuse("{}: not a regular file", path_);
        size_ = static_cast<std::uint64_t>(status.st_size);
    }

    [[nodiscard]] bool holds(std::uint64_t offset, std::uint64_t length) const {
        return offset <= size_ && length <= size_ - offset;
    }
    void read(void* to, std::uint64_t length, std::uint64_t offset, std::string_view what) const {
        if (!holds(offset, length)) refuse("{}: truncated, the {} is not there", path_, what);
        const auto count = ::pread(descriptor_, to, length, static_cast<off_t>(offset));
        if (count < 0) refuse_by_errno(path_);
        if (static_cast<std::uint64_t>(count) != length)
            refuse("{}: truncated, the {} is not there", path_, what);
    }
    [[nodiscard]] std::string text(std::uint64_t offset, std::uint64_t length,
                                   std::string_view what) const {
        std::string text(length, '\0');
        read(text.data(), length, offset, what);
        return text;
    }
    [[nodiscard]] const std::string& path() const { return path_; }

private:
    int descriptor_;
    std::string path_;
    std::uint64_t size_ = 0;
};

Elf64_Ehdr read_header(const Reader& reader) {
    Elf64_Ehdr header{};
    if (reader.holds(0, 2) && reader.text(0, 2, "header") == "#!")
        refuse("{}: a script: load its interpreter, with the script as an argument", reader.path());
    if (!reader.holds(0, SELFMAG) || reader.text(0, SELFMAG, "header") != ELFMAG)
        refuse("{}: not an ELF file", reader.path());
    reader.read(&header, sizeof header, 0, "header");
    const auto* const ident = header.e_ident;
    require(reader.path(),
            {{ident[EI_CLASS] == ELFCLASS64, "not a 64-bit file"},
             {ident[EI_DATA] == ELFDATA2LSB, "not little-endian"},
             {ident[EI_VERSION] == EV_CURRENT, "of an unknown version of ELF"},
             {header.e_machine == MACHINE_ELF, "not for " MACHINE_NAME},
             {header.e_type == ET_EXEC || header.e_type == ET_DYN, "not a program"},
             {header.e_phentsize == sizeof(Elf64_Phdr), "program headers of a wrong size"},
             {header.e_phnum > 0, "no program headers"},
             {header.e_phnum <= most_headers, "too many program headers"}});
    return header;
}

std::vector<Elf64_Phdr> read_program_headers(const Reader& reader, const Elf64_Ehdr& header) {
    std::vector<Elf64_Phdr> headers(header.e_phnum);
    reader.read(headers.data(), headers.size() * sizeof(Elf64_Phdr), header.e_phoff,
                "program header table");
    return headers;
}

std::string protection_of(std::uint32_t flags) {
    return {flags & PF_R ? 'r' : '-', flags & PF_W ? 'w' : '-', flags & PF_X ? 'x' : '-'};
}

void check_segment(const Reader& reader, const Elf64_Phdr& header) {
    const bool fits =
        header.p_memsz <= address_space_end && header.p_vaddr <= address_space_end - header.p_memsz;
    const bool is_aligned = header.p_align == 0 || std::has_single_bit(header.p_align);
    const bool is_congruent =
        header.p_filesz == 0 || header.p_vaddr % page_size == header.p_offset % page_size;
    require(reader.path(),
            {{fits, "a segment does not fit into the address space"},
             {header.p_filesz <= header.p_memsz, "a segment is larger in the file than in memory"},
             {reader.holds(header.p_offset, header.p_filesz),
              "truncated, a segment goes on beyond the end of the file"},
             {is_aligned, "the alignment of a segment is not a power of two"},
             {is_congruent, "address and file offset of a segment differ within a page"}});
}

Segment segment_of(const Reader& reader, const Elf64_Phdr& header) {
    check_segment(reader, header);
    Segment segment{header.p_vaddr,
                    header.p_memsz,
                    header.p_filesz,
                    header.p_offset,
                    protection_of(header.p_flags),
                    {}};
    const std::uint64_t end = header.p_offset + header.p_filesz;
    if (header.p_filesz > 0 && header.p_filesz < header.p_memsz)
        segment.tail = reader.text(page_floor(end), end - page_floor(end), "last page");
    return segment;
}

void add_segment(File& file, const Reader& reader, const Elf64_Phdr& header) {
    if (header.p_memsz == 0) return;
    Segment segment = segment_of(reader, header);
    if (!file.segments.empty() && page_floor(segment.start) < page_ceil(file.segments.back().end()))
        refuse("{}: segments overlap, or are not in the order of their addresses", file.path);
    file.alignment = std::max(file.alignment, header.p_align);
    file.segments.push_back(std::move(segment));
}

void set_interpreter(File& file, const Reader& reader, const Elf64_Phdr& header) {
    if (!file.interpreter.empty()) refuse("{}: names two interpreters", file.path);
    require(file.path, {{header.p_filesz >= 2, "the name of its interpreter is empty"},
                        {header.p_filesz <= PATH_MAX, "the name of its interpreter is too long"}});
    std::string name = reader.text(header.p_offset, header.p_filesz, "name of its interpreter");
    if (name.back() != '\0') refuse("{}: the name of its interpreter has no end", file.path);
    name.resize(std::strlen(name.c_str()));
    if (!name.starts_with('/')) refuse("{}: its interpreter has no absolute path", file.path);
    file.interpreter = std::move(name);
}

void add_header(File& file, const Reader& reader, const Elf64_Phdr& header) {
    if (header.p_type == PT_LOAD) add_segment(file, reader, header);
    if (header.p_type == PT_INTERP) set_interpreter(file, reader, header);
    if (header.p_type == PT_GNU_STACK) file.has_executable_stack = (header.p_flags & PF_X) != 0;
}

bool is_in_file_part(const Segment& segment, std::uint64_t offset) {
    return offset >= segment.offset && offset - segment.offset < segment.file_size;
}

bool is_code(const Segment& segment, Address address) {
    return address >= segment.start && address < segment.end() && segment.protection[2] == 'x';
}

}  // namespace

File read_file(int descriptor, const std::string& path) {
    const Reader reader(descriptor, path);
    const Elf64_Ehdr header = read_header(reader);
    File file;
    file.path = path;
    file.is_movable = header.e_type == ET_DYN;
    file.entry = header.e_entry;
    file.header_count = header.e_phnum;
    file.header_size = header.e_phentsize;
    for (const auto& each : read_program_headers(reader, header)) add_header(file, reader, each);
    if (file.segments.empty()) refuse("{}: nothing in it is to be loaded", path);
    for (const auto& segment : file.segments) {
        if (is_in_file_part(segment, header.e_phoff))
            file.headers = segment.start + (header.e_phoff - segment.offset);
    }
    if (std::ranges::none_of(file.segments, [&](const auto& s) { return is_code(s, file.entry); }))
        refuse("{}: its entry {:#x} is not in executable memory", path, file.entry);
    return file;
}

}  // namespace proc9::elf
