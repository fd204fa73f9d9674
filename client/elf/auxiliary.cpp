#include "client/elf/auxiliary.hpp"

#include <elf.h>
#include <sys/auxv.h>
#include <sys/random.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "client/elf/refused.hpp"

namespace proc9::elf {
namespace {

// Younger than the C library's elf.h.
constexpr std::uint64_t at_rseq_feature_size = 27;
constexpr std::uint64_t at_rseq_align = 28;
constexpr std::uint64_t at_hwcap3 = 29;
constexpr std::uint64_t at_hwcap4 = 30;

std::string random_bytes() {
    std::string bytes(16, '\0');
    if (::getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size()))
        refuse_by_errno("getrandom");
    return bytes;
}

// What the kernel tells every program alike, this one too.
constexpr std::array<std::uint64_t, 9> common_types = {
    AT_HWCAP,     AT_HWCAP2, at_hwcap3,      at_hwcap4,
    AT_PAGESZ,    AT_CLKTCK, AT_MINSIGSTKSZ, at_rseq_feature_size,
    at_rseq_align};

// getauxval(AT_HWCAP) answers what the C library makes of it.
void add_common(std::vector<Auxiliary>& vector) {
    const std::string bytes = read_path("/proc/self/auxv");
    std::vector<Elf64_auxv_t> own(bytes.size() / sizeof(Elf64_auxv_t));
    std::memcpy(own.data(), bytes.data(), own.size() * sizeof(Elf64_auxv_t));
    for (const auto& [type, value] : own) {
        if (std::ranges::find(common_types, type) != common_types.end())
            vector.push_back({type, value.a_val});
    }
    const auto* const platform = reinterpret_cast<const char*>(::getauxval(AT_PLATFORM));
    if (platform) vector.push_back({AT_PLATFORM, 0, platform});
}

}  // namespace

std::vector<Auxiliary> auxiliary_of(const Image& image, const Identity& who) {
    const File& program = image.program;
    const bool changes_rights = who.user != who.effective_user || who.group != who.effective_group;
    std::vector<Auxiliary> vector;
    if (image.vdso != 0) vector.push_back({AT_SYSINFO_EHDR, image.vdso});
    add_common(vector);
    vector.insert(vector.end(), {{AT_PHDR, program.headers == 0 ? 0 : program.headers + image.bias},
                                 {AT_PHENT, program.header_size},
                                 {AT_PHNUM, program.header_count},
                                 {AT_BASE, image.base},
                                 {AT_FLAGS, 0},
                                 {AT_ENTRY, program.entry + image.bias},
                                 {AT_UID, who.user},
                                 {AT_EUID, who.effective_user},
                                 {AT_GID, who.group},
                                 {AT_EGID, who.effective_group},
                                 {AT_SECURE, changes_rights ? 1ULL : 0ULL},
                                 {AT_RANDOM, 0, random_bytes()},
                                 {AT_EXECFN, 0, program.path}});
    return vector;
}

}  // namespace proc9::elf
