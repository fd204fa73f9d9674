# ctest entries for the checks of tests/lint.

set(python /usr/bin/python3 -B)
set(lint ${PROJECT_SOURCE_DIR}/tests/lint)

add_test(NAME lint.rooms COMMAND ${python} ${lint}/rooms.py)
add_test(NAME lint.rooms_test COMMAND ${python} ${lint}/rooms_test.py)
add_test(NAME lint.format COMMAND ${lint}/format.sh)
add_test(NAME lint.shell COMMAND ${lint}/shell.sh)
add_test(NAME lint.generated
         COMMAND ${python} ${PROJECT_SOURCE_DIR}/docs/generate.py --check $<TARGET_FILE:proc9d>)
set_tests_properties(lint.rooms lint.rooms_test lint.format lint.shell lint.generated PROPERTIES TIMEOUT 60 LABELS lint)

add_test(NAME lint.tidy COMMAND ${python} ${lint}/tidy.py ${PROJECT_BINARY_DIR})
set_tests_properties(lint.tidy PROPERTIES TIMEOUT 1500 PROCESSORS 2 LABELS lint)
