#include "daemon/os/vdso.hpp"

#include <sys/syscall.h>

namespace proc9::os::arch {

core::Result<> add_vdso(Batch& batch, core::Address at) {
    constexpr int map_vdso_64 = 0x2003;  // asm/prctl.h does not go with sys/prctl.h
    batch.call("arch_prctl", SYS_arch_prctl, map_vdso_64, at);
    return {};
}

}  // namespace proc9::os::arch
