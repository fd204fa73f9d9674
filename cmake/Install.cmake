# What cmake --install puts on a machine: the daemon, the libraries with their headers, and how others find them.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(package ${CMAKE_INSTALL_LIBDIR}/cmake/proc9)
install(TARGETS proc9d RUNTIME DESTINATION ${CMAKE_INSTALL_SBINDIR} COMPONENT daemon)
install(TARGETS proc9_shared proc9_static EXPORT proc9 COMPONENT development)
install(TARGETS proc9_preload LIBRARY COMPONENT client)
install(FILES client/proc9.h client/proc9.hpp TYPE INCLUDE COMPONENT development)

install(EXPORT proc9 NAMESPACE proc9:: FILE proc9-targets.cmake DESTINATION ${package} COMPONENT development)
write_basic_package_version_file(proc9-config-version.cmake COMPATIBILITY SameMajorVersion)
install(FILES client/proc9-config.cmake ${CMAKE_CURRENT_BINARY_DIR}/proc9-config-version.cmake
    DESTINATION ${package} COMPONENT development)

file(RELATIVE_PATH up /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
configure_file(client/proc9.pc.in proc9.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/proc9.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT development)
