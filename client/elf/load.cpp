#include "client/elf/load.hpp"

#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "client/elf/auxiliary.hpp"
#include "client/elf/embryo.hpp"
#include "client/elf/image.hpp"
#include "client/elf/refused.hpp"
#include "client/elf/stack.hpp"

namespace proc9::elf {
namespace {

constexpr std::uint64_t least_stack = 128 << 10;
constexpr std::uint64_t most_stack = 1ULL << 30U;  // also where the limit is higher, or none
constexpr std::uint64_t guard_size = 256 * page_size;

void place_interpreter(Plan& plan, Layout& layout, const Embryo& embryo, Image& image) {
    const std::string& path = image.program.interpreter;
    const Descriptor opened = embryo.open(path);
    const File interpreter = read_file(opened.get(), path);
    const Address bias = place(layout, interpreter, window::libraries);
    image.base = bias;
    image.entry = interpreter.entry + bias;
    map_image(plan, interpreter, bias);
}

void place_program(Plan& plan, Layout& layout, const Embryo& embryo, Image& image) {
    image.bias = place(layout, image.program, window::programs);
    image.entry = image.program.entry + image.bias;
    map_image(plan, image.program, image.bias);
    if (!image.program.interpreter.empty()) place_interpreter(plan, layout, embryo, image);
}

void place_vdso(Plan& plan, Layout& layout, const Embryo& embryo, Image& image) {
    image.vdso = vdso_in(embryo.maps()).code;
    const auto [range, code] = vdso_in(parse_maps(read_path("/proc/self/maps")));
    if (image.vdso != 0 || code == 0 || !MACHINE_HAS_MAP_VDSO) return;
    const Address start =
        layout.choose(window::libraries, range.end - range.start, page_size, "vdso");
    plan.tell("map vdso {:#x}", start);
    image.vdso = start + (code - range.start);
}

// As large as it may become, for it does not grow by itself; below it what nobody may touch.
void place_stack(Plan& plan, Layout& layout, const Embryo& embryo, Image& image) {
    const std::uint64_t size =
        page_floor(std::clamp(embryo.stack_limit(), least_stack, most_stack));
    const Address guard = layout.choose(window::stacks, guard_size + size, page_size, "stack");
    image.stack = {guard + guard_size, guard + guard_size + size};
    plan.tell("map {:#x} {:#x} ---", guard, guard_size);
    plan.tell("map {:#x} {:#x} {}", image.stack.start, size,
              image.program.has_executable_stack ? "rwx" : "rw-");
}

void fill_stack(Plan& plan, const Embryo& embryo, const Request& request, const Image& image) {
    const Start start{request.arguments, embryo.environment(),
                      auxiliary_of(image, embryo.identity())};
    const auto [first, top] = image.stack;
    Stack stack = build_stack(top, (top - first) / 4, start);
    plan.write(first, stack.pointer - first, std::move(stack.bytes));
    plan.tell("reg pc {:#x}", image.entry);
    plan.tell("reg sp {:#x}", stack.pointer);
}

void name_process(Plan& plan, const std::string& path) {
    constexpr std::size_t longest = 15;
    const std::string name = std::filesystem::path(path).filename();
    plan.suggest("exe " + quote_word(path));
    plan.tell("comm {}", quote_word(name.substr(0, longest)));
}

Plan plan_for(const Embryo& embryo, const Request& request) {
    const std::string path = std::filesystem::absolute(request.arguments.front());
    Image image;
    image.program = read_file(embryo.open(path).get(), path);
    Layout layout;
    for (const auto& line : embryo.maps()) layout.take(line.range);
    Plan plan;
    name_process(plan, path);
    place_program(plan, layout, embryo, image);
    place_vdso(plan, layout, embryo, image);
    place_stack(plan, layout, embryo, image);
    fill_stack(plan, embryo, request, image);
    if (!request.hold) plan.tell("entry");
    return plan;
}

void print(const Plan& plan) {
    for (const auto& step : plan.steps()) {
        const std::string text = step.line.empty()
                                     ? fmt::format("# {} bytes to mem/{:x} at {:#x}",
                                                   step.bytes.size(), step.region, step.offset)
                                     : step.line;
        std::puts(text.c_str());
    }
}

}  // namespace

void load(const Request& request) {
    Embryo embryo(request.embryo);
    const Plan plan = plan_for(embryo, request);
    request.plan ? print(plan) : embryo.follow(plan);
}

}  // namespace proc9::elf
