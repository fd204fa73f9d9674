# What cmake --install puts on a machine, and which part of it each component is: `daemon` (with the command line and what a
# machine's operator wants), `library`, `development`.
if(CMAKE_LIBRARY_ARCHITECTURE AND EXISTS /etc/debian_version)   # wherever it goes, not in /usr alone
    set(CMAKE_INSTALL_LIBDIR lib/${CMAKE_LIBRARY_ARCHITECTURE} CACHE PATH "libraries")
endif()
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(service daemon/service)
install(TARGETS proc9d RUNTIME DESTINATION ${CMAKE_INSTALL_SBINDIR} COMPONENT daemon)
install(TARGETS p9 RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT daemon)
install(PROGRAMS ${service}/mount.fuse.proc9 DESTINATION ${CMAKE_INSTALL_SBINDIR} COMPONENT daemon)
install(DIRECTORY ${service}/system ${service}/user DESTINATION lib/systemd COMPONENT daemon)

set(completions client/p9/completions)
install(FILES ${completions}/p9.bash DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions RENAME p9 COMPONENT daemon)
install(FILES ${completions}/p9.zsh DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/vendor-completions RENAME _p9 COMPONENT daemon)
install(FILES ${completions}/p9.fish DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d COMPONENT daemon)

# proc9_compress(FILE FOLDER): FOLDER/NAME.gz in the build directory, the same bytes each time.
find_program(GZIP gzip REQUIRED)
function(proc9_compress file folder)
    get_filename_component(name ${file} NAME)
    set(made ${PROJECT_BINARY_DIR}/${folder}/${name}.gz)
    file(MAKE_DIRECTORY ${PROJECT_BINARY_DIR}/${folder})
    add_custom_command(OUTPUT ${made} DEPENDS ${file} COMMAND sh -c "'${GZIP}' -9nc '${file}' > '${made}'" VERBATIM)
    set_property(GLOBAL APPEND PROPERTY proc9_compressed ${made})
endfunction()

# Manual pages: those of section 3 are for who develops.
file(GLOB pages CONFIGURE_DEPENDS docs/man/*.[1-8])
foreach(page ${pages})
    string(REGEX MATCH "[1-8]$" section ${page})
    set(component daemon)
    if(section EQUAL 3)
        set(component development)
    endif()
    proc9_compress(${page} man)
    get_filename_component(name ${page} NAME)
    install(FILES ${PROJECT_BINARY_DIR}/man/${name}.gz DESTINATION ${CMAKE_INSTALL_MANDIR}/man${section} COMPONENT ${component})
endforeach()

set(package ${CMAKE_INSTALL_LIBDIR}/cmake/proc9)
install(TARGETS proc9_shared EXPORT proc9 LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT library NAMELINK_COMPONENT development)
install(TARGETS proc9_static EXPORT proc9 ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT development)
install(TARGETS proc9_preload LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT library)
install(FILES client/proc9.h client/proc9.hpp TYPE INCLUDE COMPONENT development)

install(EXPORT proc9 NAMESPACE proc9:: FILE proc9-targets.cmake DESTINATION ${package} COMPONENT development)
write_basic_package_version_file(proc9-config-version.cmake COMPATIBILITY SameMajorVersion)
install(FILES client/proc9-config.cmake ${CMAKE_CURRENT_BINARY_DIR}/proc9-config-version.cmake
    DESTINATION ${package} COMPONENT development)

file(RELATIVE_PATH up /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
configure_file(client/proc9.pc.in proc9.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/proc9.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT development)
