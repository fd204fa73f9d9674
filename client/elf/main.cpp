#include "client/elf/load.hpp"

int main(int argc, char** argv) { return proc9::elf::load(argc, argv); }
