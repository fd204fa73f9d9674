// Memory kept back for what has begun and must not fail in the middle. Small pieces of it stand behind `operator new` of
// the whole program; large ones, which are what callers bring, get std::bad_alloc as ever.
#pragma once

namespace proc9::fuse {

// Kept back once more if some was used. False if it cannot be: then nothing new should be begun.
bool keep_reserve() noexcept;

}  // namespace proc9::fuse
