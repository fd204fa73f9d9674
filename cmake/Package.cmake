# Debian packages: `cpack -G DEB` in a build directory. The same source makes the same bytes: times are those of the last
# entry of cmake/debian/changelog.
set(debian ${PROJECT_SOURCE_DIR}/cmake/debian)
set(packages daemon library development)
set(name_of_daemon proc9)
set(name_of_library libproc9-1)
set(name_of_development libproc9-dev)

proc9_compress(${debian}/changelog debian)
foreach(component ${packages})
    set(documents ${CMAKE_INSTALL_DATADIR}/doc/${name_of_${component}})
    install(FILES ${PROJECT_BINARY_DIR}/debian/changelog.gz ${debian}/copyright DESTINATION ${documents} COMPONENT ${component})
    install(FILES ${debian}/overrides DESTINATION ${CMAKE_INSTALL_DATADIR}/lintian/overrides
        RENAME ${name_of_${component}} COMPONENT ${component})
    string(TOUPPER ${component} upper)
    set(CPACK_DEBIAN_${upper}_PACKAGE_NAME ${name_of_${component}})
    set(CPACK_DEBIAN_${upper}_FILE_NAME DEB-DEFAULT)
endforeach()

file(STRINGS ${debian}/changelog signed REGEX "^ -- ")
list(GET signed 0 signed)
string(REGEX REPLACE ".*>  " "" signed "${signed}")
execute_process(COMMAND date --date=${signed} +%s OUTPUT_VARIABLE epoch OUTPUT_STRIP_TRAILING_WHITESPACE)
file(WRITE ${PROJECT_BINARY_DIR}/debian/epoch.cmake "set(ENV{SOURCE_DATE_EPOCH} ${epoch})\n")
set(CPACK_PROJECT_CONFIG_FILE ${PROJECT_BINARY_DIR}/debian/epoch.cmake)

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_PACKAGE_NAME proc9)
set(CPACK_PACKAGE_CONTACT "proc9 <proc9@localhost>")
set(CPACK_STRIP_FILES ON)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
set(CPACK_COMPONENTS_ALL ${packages})
set(CPACK_COMPONENTS_GROUPING IGNORE)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS ON)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)

set(CPACK_DEBIAN_DAEMON_PACKAGE_SECTION admin)
set(CPACK_DEBIAN_DAEMON_PACKAGE_DEPENDS "fuse3")
set(CPACK_DEBIAN_DAEMON_PACKAGE_SUGGESTS "sshfs")
set(CPACK_DEBIAN_DAEMON_PACKAGE_CONTROL_EXTRA ${debian}/postinst ${debian}/prerm ${debian}/postrm)
set(CPACK_COMPONENT_DAEMON_DESCRIPTION "file system in which processes are built with files
Writing \"efork\" to a control file makes a blank process, without memory and
without descriptors, that shows up as a directory. It is furnished with
ordinary file calls and then started; nothing is inherited unless it is said.

This package has the daemon, units for systemd, a helper for mount(8) and the
command p9.")

set(CPACK_DEBIAN_LIBRARY_PACKAGE_SECTION libs)
set(CPACK_DEBIAN_LIBRARY_PACKAGE_CONTROL_EXTRA ${debian}/triggers)
set(CPACK_COMPONENT_LIBRARY_DESCRIPTION "processes built with files: library for programs
Functions that make children by way of the proc9 file system, fork() among
them, and a library to be preloaded that gives programs which know nothing of
it the same.")

set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_DEPENDS "libproc9-1 (= ${PROJECT_VERSION}), libc6-dev")
set(CPACK_COMPONENT_DEVELOPMENT_DESCRIPTION "processes built with files: headers and static library
What is needed to compile programs that use libproc9: headers for C and C++,
pkg-config and CMake files, manual pages.")

get_property(compressed GLOBAL PROPERTY proc9_compressed)
add_custom_target(compressed ALL DEPENDS ${compressed})
include(CPack)
