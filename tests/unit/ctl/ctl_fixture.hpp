// An embryo on a FakeHost with the ctl of the root and its own, in which every example of the table
// can run.
#pragma once

#include "fs/ctl/dispatch.hpp"
#include "tests/unit/fake_host.hpp"
#include "tests/unit/run.hpp"

namespace proc9::ctl {

struct Scene {
    fake::FakeHost host;
    core::Registry registry{host};
    core::Request request{.who = {1000, 1000}, .thread = 7, .cancellation = {}};
    Session root{nullptr, true};
    Session own{make(""), false};

    core::ProcessRef make(std::string name) {
        return fake::good(fake::run(registry.efork(request, std::move(name))));
    }
    core::Process& process() { return *own.process; }
    fake::FakeEmbryo& body() { return host.embryo(process().id()); }

    core::Result<> say(std::string line) { return say(own, std::move(line)); }
    core::Result<> say(Session& session, std::string line) {
        request.seen_unstopped = nullptr;  // another request by the same caller
        return fake::run(execute(registry, request, session, std::move(line)));
    }

    // What the examples need: a region, a variable, descriptor 1, two named embryos.
    void furnish(bool with_region) {
        host.files["/dev/null"] = "";
        for (const auto* const name : {"ls", "sort"}) make(name);
        fake::good(say("env HOME=/root"));
        fake::good(say("fd 1 open /dev/null r"));
        if (with_region) fake::good(say("map 0x600000 64K rw-"));
        host.calls.clear();
    }
};

}  // namespace proc9::ctl
