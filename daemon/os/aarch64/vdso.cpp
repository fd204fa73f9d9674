#include "daemon/os/vdso.hpp"

namespace proc9::os::arch {

core::Result<> add_vdso(Batch& /*batch*/, core::Address /*at*/) {
    return core::fail(std::errc::not_supported, "on arm64 the kernel maps a vdso at exec only");
}

}  // namespace proc9::os::arch
