// The functions of the command table, by the file that holds them.
#pragma once

#include "fs/ctl/command.hpp"

namespace proc9::ctl {

// make.cpp: new processes and what connects them
Outcome efork(Invocation invocation);
Outcome fork(Invocation invocation);
Outcome adopt(Invocation invocation);
Outcome pipe(Invocation invocation);

// memory.cpp
Outcome map(Invocation invocation);
Outcome copy(Invocation invocation);
Outcome map_vdso(Invocation invocation);
Outcome unmap(Invocation invocation);
Outcome protect(Invocation invocation);
Outcome move(Invocation invocation);

// descriptors.cpp
Outcome open_descriptor(Invocation invocation);
Outcome take_descriptor(Invocation invocation);
Outcome duplicate(Invocation invocation);
Outcome memory_descriptor(Invocation invocation);
Outcome close_descriptor(Invocation invocation);
Outcome close_on_exec(Invocation invocation);
Outcome seek(Invocation invocation);

// surroundings.cpp: environment, arguments, directories
Outcome set_variable(Invocation invocation);
Outcome unset_variable(Invocation invocation);
Outcome clear_environment(Invocation invocation);
Outcome set_arguments(Invocation invocation);
Outcome set(Invocation invocation);  // any setting of the host
Outcome inherit(Invocation invocation);

// life.cpp: start, signals, names
Outcome exec(Invocation invocation);
Outcome enter(Invocation invocation);
Outcome resume(Invocation invocation);
Outcome thread(Invocation invocation);
Outcome set_register(Invocation invocation);
Outcome die_on_close(Invocation invocation);
Outcome kill(Invocation invocation);
Outcome note(Invocation invocation);
Outcome stop(Invocation invocation);
Outcome start(Invocation invocation);
Outcome rename(Invocation invocation);
Outcome persist(Invocation invocation);

}  // namespace proc9::ctl
