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
