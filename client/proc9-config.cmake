# find_package(proc9): targets proc9::proc9 (shared) and proc9::static.
include(CMakeFindDependencyMacro)
find_dependency(Threads)
include(${CMAKE_CURRENT_LIST_DIR}/proc9-targets.cmake)
