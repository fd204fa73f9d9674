# proc9_room(NAME DIR dir... [DEPENDS room...] [LIBRARIES target...])
#
# One static library proc9_NAME (alias proc9::NAME) of all dir/*.cpp. Whoever uses a room uses the rooms below it.
# A room without sources yet is an interface library, so that the arrows are there from the start.
function(proc9_room name)
    cmake_parse_arguments(room "" "" "DIR;DEPENDS;LIBRARIES" ${ARGN})
    list(TRANSFORM room_DEPENDS PREPEND proc9::)
    list(TRANSFORM room_DIR APPEND /*.cpp OUTPUT_VARIABLE patterns)
    file(GLOB sources CONFIGURE_DEPENDS ${patterns})

    if(sources)
        add_library(proc9_${name} STATIC ${sources})
        target_link_libraries(proc9_${name} PUBLIC proc9_options ${room_DEPENDS} ${room_LIBRARIES})
    else()
        add_library(proc9_${name} INTERFACE)
        target_link_libraries(proc9_${name} INTERFACE proc9_options ${room_DEPENDS} ${room_LIBRARIES})
    endif()
    add_library(proc9::${name} ALIAS proc9_${name})
endfunction()

# proc9_embed_text(TARGET FILE VARIABLE): the target defines `const char* const VARIABLE` with what is in the file.
function(proc9_embed_text target file variable)
    set(path ${PROJECT_SOURCE_DIR}/${file})
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${path})
    file(READ ${path} text)
    string(MAKE_C_IDENTIFIER ${file} name)
    set(source ${PROJECT_BINARY_DIR}/${name}.cpp)
    string(REGEX MATCH "[^:]+$" plain ${variable})
    string(REGEX REPLACE "::[^:]+$" "" namespace ${variable})
    file(CONFIGURE OUTPUT ${source} CONTENT [[
namespace @namespace@ {
extern const char* const @plain@;
const char* const @plain@ = R"~(@text@)~";
}
]] @ONLY)
    target_sources(${target} PRIVATE ${source})
endfunction()

# proc9_program(NAME source...): an executable; or its objects, where the libraries of the architecture that is compiled for
# are not there.
function(proc9_program name)
    if(CMAKE_CROSSCOMPILING AND NOT PROC9_LIBRARIES)
        add_library(${name} OBJECT ${ARGN})
    else()
        add_executable(${name} ${ARGN})
    endif()
endfunction()
