#include "fs/core/address_space.hpp"

#include <set>

#include "tests/unit/fake_host.hpp"
#include "tests/unit/run.hpp"

namespace proc9::core {
namespace {

using fake::errno_of;
using fake::FakeMemory;
using fake::good;
using fake::run;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr std::uint64_t page = page_size;

constexpr Range range(std::uint64_t start, std::uint64_t length) {
    return {Address{start}, length};
}

Mapping anonymous(std::uint64_t start, std::uint64_t length, bool shared = false) {
    Mapping mapping;
    mapping.at = Address{start};
    mapping.length = length;
    mapping.protection = Protection{true, true, false};
    mapping.shared = shared;
    return mapping;
}

Mapping file(std::uint64_t start, std::uint64_t length) {
    Mapping mapping;
    mapping.at = Address{start};
    mapping.length = length;
    mapping.source = Mapping::File{"/lib/x", 0};
    return mapping;
}

FakeMemory& fake_of(const Region& region) {
    return static_cast<FakeMemory&>(*region.object);  // NOLINT: there are no others
}

// An embryo, its regions, and what has to be true of the two whatever happened before.
struct Space {
    fake::FakeHost host;
    fake::FakeEmbryo embryo{host, 100};
    AddressSpace memory{embryo};

    Space() { host.files["/lib/x"] = std::string(page, 'x') + std::string(page, 'y'); }

    Region& at(std::uint64_t start) { return *memory.at(Address{start}); }
    Region& map(Mapping mapping) { return *good(run(memory.map(std::move(mapping)))); }
    void fill(std::uint64_t start, std::string_view letters) {
        std::string bytes;
        for (const char c : letters) bytes += std::string(page, c);
        good(run(memory.materialise(at(start))));
        (void)good(at(start).object->write(bytes, 0));
    }
    // The first letter of each page, '.' for zero.
    std::map<std::uint64_t, char> letters() {
        std::map<std::uint64_t, char> found;
        for (const auto& [start, unused] : embryo.pages) {
            const char c = good(run(embryo.peek(Address{start}, 1))).front();
            found[start] = c == '\0' ? '.' : c;
        }
        return found;
    }
    std::vector<std::string> table() {
        std::vector<std::string> lines;
        for (const auto& [start, region] : memory.regions())
            lines.push_back(fmt::format("{:x}-{:x} {}{}", start, region.range.end().value,
                                        region.protection.text(), region.shared ? 's' : 'p'));
        return lines;
    }

    void expect_consistent() {
        std::size_t pages = 0;
        std::set<const Memory*> objects;
        for (const auto& [start, region] : memory.regions()) {
            if (region.object) objects.insert(region.object.get());
            for (std::uint64_t i = 0; i < region.range.length; i += page, ++pages)
                expect_mapped(region, i);
        }
        EXPECT_EQ(pages, embryo.pages.size()) << "pages are mapped that no region knows";
        EXPECT_EQ(host.living_memories(), static_cast<int>(objects.size())) << "an object leaked";
    }
    void expect_mapped(const Region& region, std::uint64_t offset) {
        const auto where = region.range.start.value + offset;
        const auto found = embryo.pages.find(where);
        ASSERT_NE(found, embryo.pages.end()) << fmt::format("{:x} is not mapped", where);
        const auto& there = found->second;
        EXPECT_EQ(there.protection.text(), region.protection.text()) << fmt::format("{:x}", where);
        EXPECT_EQ(there.shared, region.shared) << fmt::format("{:x}", where);
        if (!region.object) return;
        EXPECT_TRUE(there.bytes == fake_of(region).bytes)
            << fmt::format("{:x}: another object", where);
        EXPECT_EQ(there.offset, region.offset + offset) << fmt::format("{:x}", where);
        EXPECT_LT(there.offset, page_ceil(region.object->size()))
            << fmt::format("{:x} is behind the end of its object: SIGBUS", where);
    }
};

struct AddressSpaceTest : testing::Test, Space {
    void TearDown() override { expect_consistent(); }
};

TEST_F(AddressSpaceTest, APrivateMappingNeedsNoObject) {
    map(anonymous(0x600000, 2 * page));
    EXPECT_THAT(host.calls, ElementsAre("map 600000 2000 rw-p anonymous"));
    EXPECT_THAT(table(), ElementsAre("600000-602000 rw-p"));
}

TEST_F(AddressSpaceTest, ASharedMappingIsAnObjectOfItsSizeAndMode) {
    map(anonymous(0x600000, 2 * page, true));
    EXPECT_THAT(host.calls, ElementsAre("make_memory", "resize memory#1 2000",
                                        "chmod memory#1 1600", "map 600000 2000 rw-s memory#1 0"));
}

TEST_F(AddressSpaceTest, WhereTheKernelPutAMappingIsKnownAfterwards) {
    Mapping anywhere = anonymous(0, page);
    anywhere.at.reset();
    const auto start = map(anywhere).range.start.value;
    EXPECT_NE(map(anywhere).range.start.value, start);
}

TEST_F(AddressSpaceTest, AFileWithoutProtectionGetsItsOwnAndItsWholeLength) {
    map(file(0x600000, 0));
    EXPECT_THAT(table(), ElementsAre("600000-602000 rw-p"));
}

TEST_F(AddressSpaceTest, AMappingOverAnotherOrOverAnEmptyFileIsRefusedUntried) {
    map(anonymous(0x600000, page));
    good(run(memory.create(Address{0x700000}, 0600)));
    host.calls.clear();
    EXPECT_EQ(errno_of(run(memory.map(anonymous(0x5ff000, 2 * page)))), EEXIST);
    EXPECT_EQ(errno_of(run(memory.map(anonymous(0x700000, page)))), EEXIST);
    EXPECT_EQ(errno_of(run(memory.create(Address{0x600000}, 0600))), EEXIST);
    EXPECT_THAT(host.calls, IsEmpty());
}

TEST_F(AddressSpaceTest, ACreatedFileIsMappedWhenItHasBytes) {
    Region& region = *good(run(memory.create(Address{0x600000}, 0700)));
    EXPECT_EQ(embryo.pages.size(), 0U);
    fake_of(region).truncate_elsewhere(page + 1);
    good(run(memory.settle()));
    EXPECT_THAT(table(), ElementsAre("600000-602000 rwxp"));
    EXPECT_EQ(region.file_size(), page + 1);
}

TEST_F(AddressSpaceTest, AHoleInTheMiddleLeavesTwoRegionsWithTheirBytes) {
    map(anonymous(0x600000, 4 * page));
    fill(0x600000, "abcd");
    const auto id = at(0x600000).id;
    good(run(memory.unmap(range(0x601000, 2 * page))));
    EXPECT_THAT(table(), ElementsAre("600000-601000 rw-p", "603000-604000 rw-p"));
    EXPECT_THAT(letters(), ElementsAre(std::pair(0x600000, 'a'), std::pair(0x603000, 'd')));
    EXPECT_EQ(at(0x600000).id, id);
    EXPECT_NE(at(0x603000).id, id);
}

TEST_F(AddressSpaceTest, AHoleInASharedRegionKeepsTheObject) {
    map(anonymous(0x600000, 3 * page, true));
    good(run(memory.unmap(range(0x601000, page))));
    EXPECT_EQ(at(0x600000).object, at(0x602000).object);
    EXPECT_EQ(at(0x602000).offset, 2 * page);
    EXPECT_EQ(errno_of(run(memory.resize(at(0x602000), page))), EINVAL);
}

TEST_F(AddressSpaceTest, AProtectedPartOfASharedRegionKeepsItsMemoryAndItsLength) {
    map(anonymous(0x600000, 3 * page, true));
    (void)good(at(0x600000).object->write(
        std::string(page, 'a') + std::string(page, 'b') + std::string(page, 'c'), 0));
    good(run(memory.protect(range(0x601000, page), {true, false, false})));
    good(run(memory.settle()));
    EXPECT_THAT(table(),
                ElementsAre("600000-601000 rw-s", "601000-602000 r--s", "602000-603000 rw-s"));
    EXPECT_THAT(letters(), ElementsAre(std::pair(0x600000, 'a'), std::pair(0x601000, 'b'),
                                       std::pair(0x602000, 'c')));
}

TEST_F(AddressSpaceTest, WhatWasUnmappedOfASharedRegionDoesNotGrowBack) {
    map(anonymous(0x600000, 4 * page, true));
    good(run(memory.unmap(range(0x603000, page))));
    good(run(memory.unmap(range(0x601000, page))));
    good(run(memory.settle()));
    EXPECT_THAT(table(), ElementsAre("600000-601000 rw-s", "602000-603000 rw-s"));
}

TEST_F(AddressSpaceTest, ACopyHasTheHolesOfTheObject) {
    map(anonymous(0x600000, 5 * page));
    good(run(memory.materialise(at(0x600000))));
    (void)good(at(0x600000).object->write(std::string(page, 'b'), page));
    (void)good(at(0x600000).object->write(std::string(page, 'd'), 3 * page));
    at(0x600000).object->handles = 1;
    host.calls.clear();
    good(run(memory.isolate()));
    EXPECT_THAT(host.calls, testing::IsSupersetOf({"save 601000 1000 memory#2 1000",
                                                   "save 603000 1000 memory#2 3000"}));
    EXPECT_THAT(letters(),
                testing::IsSupersetOf({std::pair<const std::uint64_t, char>(0x600000, '.'),
                                       std::pair<const std::uint64_t, char>(0x601000, 'b'),
                                       std::pair<const std::uint64_t, char>(0x603000, 'd')}));
}

TEST_F(AddressSpaceTest, AfterAStartThatFailedASealedRegionIsCopiedWhenItIsOpened) {
    map(anonymous(0x600000, 2 * page));
    fill(0x600000, "ab");
    good(run(memory.isolate()));
    const auto sealed = at(0x600000).object;
    good(run(memory.isolate()));
    EXPECT_EQ(at(0x600000).object, sealed);
    good(run(memory.materialise(at(0x600000))));
    EXPECT_NE(at(0x600000).object, sealed);
    good(at(0x600000).object->write("c", 0));
    EXPECT_THAT(letters(), ElementsAre(std::pair(0x600000, 'c'), std::pair(0x601000, 'b')));
}

TEST_F(AddressSpaceTest, AForkHasTheSealedObjectsAndCopiesOfThoseThatAreOpen) {
    map(anonymous(0x600000, page));
    map(anonymous(0x700000, page));
    fill(0x600000, "a");
    fill(0x700000, "b");
    at(0x700000).object->handles = 1;
    memory.seal();
    auto body = good(run(embryo.fork()));
    AddressSpace other(*body);
    good(run(other.inherit(memory)));
    EXPECT_EQ(other.at(Address{0x600000})->object, at(0x600000).object);
    EXPECT_NE(other.at(Address{0x700000})->object, at(0x700000).object);
    EXPECT_EQ(good(other.at(Address{0x700000})->object->read(1, 0)), "b");
    at(0x700000).object->handles = 0;
}

TEST_F(AddressSpaceTest, ASealedRegionIsCutWithoutACopyAndItsModeIsItsOwn) {
    map(anonymous(0x600000, 3 * page));
    fill(0x600000, "abc");
    memory.seal();
    const auto sealed = at(0x600000).object;
    const auto mode = sealed->mode();
    good(run(memory.unmap(range(0x601000, page))));
    good(run(memory.protect(range(0x600000, page), Protection{true, false, false})));
    good(run(memory.settle()));
    EXPECT_EQ(at(0x600000).object, sealed);
    EXPECT_EQ(at(0x602000).object, sealed);
    EXPECT_EQ(sealed->mode(), mode);
    EXPECT_EQ(at(0x600000).file_size(), page);
    EXPECT_THAT(letters(), ElementsAre(std::pair(0x600000, 'a'), std::pair(0x602000, 'c')));
    good(run(memory.resize(at(0x600000), 2 * page)));
    EXPECT_NE(at(0x600000).object, sealed);
    EXPECT_EQ(at(0x600000).object->size(), 2 * page);
    EXPECT_EQ(good(at(0x600000).object->read(1, page)), std::string(1, '\0'));
}

TEST_F(AddressSpaceTest, WhatCannotBeReadIsCopiedAllTheSame) {
    Mapping hidden = file(0x600000, 2 * page);
    hidden.protection = Protection{};
    map(hidden);
    good(run(memory.materialise(at(0x600000))));
    EXPECT_THAT(table(), ElementsAre("600000-602000 ---p"));
    EXPECT_EQ(good(at(0x600000).object->read(1, page)), "y");
}

TEST_F(AddressSpaceTest, UnmappingAnEmptyFileForgetsIt) {
    good(run(memory.create(Address{0x600000}, 0600)));
    good(run(memory.unmap(range(0x600000, page))));
    EXPECT_THAT(table(), IsEmpty());
}

TEST_F(AddressSpaceTest, ProtectCutsTheRegionAndWantsAllOfItMapped) {
    map(anonymous(0x600000, 3 * page));
    const Protection read_only{true, false, false};
    good(run(memory.protect(range(0x601000, page), read_only)));
    EXPECT_THAT(table(),
                ElementsAre("600000-601000 rw-p", "601000-602000 r--p", "602000-603000 rw-p"));
    EXPECT_EQ(errno_of(run(memory.protect(range(0x602000, 2 * page), read_only))), ENOMEM);
    EXPECT_EQ(at(0x602000).protection.text(), "rw-");
}

TEST_F(AddressSpaceTest, MoveTakesBytesHandlesAndNumberAlong) {
    map(anonymous(0x600000, 2 * page));
    fill(0x600000, "ab");
    const auto id = at(0x600000).id;
    good(run(memory.move(Address{0x600000}, Address{0x700000})));
    EXPECT_THAT(letters(), ElementsAre(std::pair(0x700000, 'a'), std::pair(0x701000, 'b')));
    EXPECT_EQ(at(0x700000).id, id);
}

TEST_F(AddressSpaceTest, MoveRefusesNowhereTheSamePlaceAndATakenPlace) {
    map(anonymous(0x600000, 2 * page));
    map(anonymous(0x700000, page));
    EXPECT_EQ(errno_of(run(memory.move(Address{0x601000}, Address{0x800000}))), ENOENT);
    EXPECT_EQ(errno_of(run(memory.move(Address{0x600000}, Address{0x601000}))), EINVAL);
    EXPECT_EQ(errno_of(run(memory.move(Address{0x600000}, Address{0x6ff000}))), EEXIST);
    EXPECT_EQ(errno_of(run(memory.move(Address{0x600000}, Address{address_space_end - page}))),
              ENOMEM);
}

TEST_F(AddressSpaceTest, ResizeKeepsTheBytesThatStay) {
    map(anonymous(0x600000, 2 * page));
    fill(0x600000, "ab");
    good(run(memory.resize(at(0x600000), 3 * page)));
    good(run(memory.resize(at(0x600000), page + 5)));
    EXPECT_THAT(table(), ElementsAre("600000-602000 rw-p"));
    EXPECT_EQ(good(run(embryo.peek(Address{0x601004}, 2))), std::string("b\0", 2));
    good(run(memory.resize(at(0x600000), 0)));
    EXPECT_EQ(embryo.pages.size(), 0U);
}

TEST_F(AddressSpaceTest, ResizeIntoTheNeighbourIsRefusedAndTakenBack) {
    map(anonymous(0x600000, page));
    map(anonymous(0x602000, page));
    EXPECT_EQ(errno_of(run(memory.resize(at(0x600000), 3 * page))), EEXIST);
    EXPECT_EQ(at(0x600000).file_size(), page);
    EXPECT_EQ(errno_of(run(memory.resize(at(0x600000), ~0ULL))), EFBIG);
    EXPECT_EQ(at(0x600000).file_size(), page);
}

TEST_F(AddressSpaceTest, MaterialiseCopiesWhatTheFileHas) {
    map(file(0x600000, 0));
    good(run(memory.materialise(at(0x600000))));
    EXPECT_EQ(at(0x600000).kind, Region::Kind::anonymous);
    EXPECT_THAT(letters(), ElementsAre(std::pair(0x600000, 'x'), std::pair(0x601000, 'y')));
    const auto calls = host.calls.size();
    good(run(memory.materialise(at(0x600000))));
    EXPECT_EQ(host.calls.size(), calls) << "it has an object already";
}

TEST_F(AddressSpaceTest, ASharedFileAndTheVdsoHaveNoObject) {
    Mapping shared = file(0x600000, 2 * page);
    shared.shared = true;
    map(shared);
    good(run(memory.map_vdso(Address{0x700000})));
    for (const auto start : {0x600000ULL, 0x700000ULL, 0x701000ULL})
        EXPECT_EQ(errno_of(run(memory.materialise(at(start)))), ENOTSUP) << start;
    EXPECT_EQ(errno_of(run(memory.set_mode(at(0x701000), 0700))), EPERM);
}

TEST_F(AddressSpaceTest, ShareMapsTheSameBytesShared) {
    map(anonymous(0x600000, page));
    fill(0x600000, "a");
    good(run(memory.share(at(0x600000))));
    EXPECT_THAT(table(), ElementsAre("600000-601000 rw-s"));
    EXPECT_EQ(at(0x600000).object->mode(), 01600U);
    EXPECT_THAT(letters(), ElementsAre(std::pair(0x600000, 'a')));
}

TEST_F(AddressSpaceTest, AModeChangedThroughAnOpenFileIsFollowed) {
    map(anonymous(0x600000, page));
    fill(0x600000, "a");
    fake_of(at(0x600000)).chmod_elsewhere(0500);
    good(run(memory.settle()));
    EXPECT_THAT(table(), ElementsAre("600000-601000 r-xp"));
    fake_of(at(0x600000)).chmod_elsewhere(01500);
    good(run(memory.settle()));
    EXPECT_THAT(table(), ElementsAre("600000-601000 r-xs"));
    fake_of(at(0x600000)).chmod_elsewhere(0500);  // for good
    good(run(memory.settle()));
    EXPECT_EQ(at(0x600000).object->mode(), 01500U);
}

TEST_F(AddressSpaceTest, AFileThatGrewIntoItsNeighbourIsCutThereAndTheErrorSaysSo) {
    map(anonymous(0x600000, page));
    map(anonymous(0x602000, page));
    fill(0x600000, "a");
    fake_of(at(0x600000)).truncate_elsewhere(9 * page);
    const auto outcome = run(memory.settle());
    EXPECT_EQ(errno_of(outcome), EEXIST);
    EXPECT_THAT(outcome.error().why, HasSubstr("600000 reaches the one at 602000"));
    EXPECT_EQ(at(0x600000).file_size(), 2 * page);
    EXPECT_EQ(errno_of(run(memory.settle())), 0);
}

TEST_F(AddressSpaceTest, SettleAsksForNothingWhenNothingChanged) {
    map(anonymous(0x600000, page));
    map(anonymous(0x700000, page, true));
    fill(0x600000, "a");
    host.calls.clear();
    good(run(memory.settle()));
    EXPECT_THAT(host.calls, IsEmpty());
}

TEST_F(AddressSpaceTest, IsolateSealsWhatNobodyHoldsAndCopiesTheRest) {
    map(anonymous(0x600000, page));
    map(anonymous(0x700000, page));
    map(anonymous(0x800000, page));
    map(anonymous(0x900000, page, true));
    for (const auto start : {0x600000ULL, 0x700000ULL, 0x800000ULL}) fill(start, "a");
    const auto held = at(0x700000).object;
    const auto mapped = at(0x800000).object;
    held->handles = 1;
    fake_of(at(0x800000)).is_mapped_elsewhere = true;
    good(run(memory.isolate()));
    EXPECT_TRUE(fake_of(at(0x600000)).sealed);
    EXPECT_NE(at(0x700000).object, held);
    EXPECT_NE(at(0x800000).object, mapped);
    EXPECT_EQ(at(0x700000).object->handles, 0);
    EXPECT_FALSE(fake_of(at(0x900000)).sealed);
    (void)held->write("b", 0);
    EXPECT_EQ(letters()[0x700000], 'a') << "an old handle still reaches the child";
}

TEST_F(AddressSpaceTest, AdoptSharesTheObjectOfAnotherProcess) {
    fake::FakeEmbryo other(host, 101);
    AddressSpace there(other);
    map(anonymous(0x600000, page, true));
    good(run(there.adopt(Address{0x900000}, at(0x600000))));
    EXPECT_EQ(there.at(Address{0x900000})->object, at(0x600000).object);
    EXPECT_TRUE(other.pages.at(0x900000).shared);
    EXPECT_EQ(errno_of(run(there.adopt(Address{0x900000}, at(0x600000)))), EEXIST);
}

TEST_F(AddressSpaceTest, TheVdsoIsUnmappedWholeOrNotAtAll) {
    good(run(memory.map_vdso(std::nullopt)));
    const Range all{memory.regions().begin()->second.range.start, 2 * page};
    good(run(memory.unmap(all)));
    EXPECT_THAT(table(), IsEmpty());
}

TEST(AfterStart, OnlySharedObjectsStayInView) {
    Space space;
    space.map(anonymous(0x600000, page));
    space.map(anonymous(0x700000, page, true));
    Mapping shared_file = file(0x800000, page);
    shared_file.shared = true;
    space.map(shared_file);
    space.memory.started(space.embryo, true);
    EXPECT_THAT(space.table(), ElementsAre("700000-701000 rw-s"));
    space.memory.started(space.embryo, false);
    EXPECT_THAT(space.table(), IsEmpty());
}

// ---------------------------------------------------------------------------------------------
// Every verb, with every call that it makes failing once.

struct Verb {
    std::string name;
    std::function<Result<>(Space&)> run;
};
void PrintTo(const Verb& verb, std::ostream* stream) { *stream << verb.name; }

template <class T>
Result<> outcome_of(Task<Result<T>> task) {
    auto answer = run(std::move(task));
    if (!answer) return std::move(answer).error();
    return {};
}

const std::vector<Verb> verbs = {
    {"map_shared",
     [](Space& s) { return outcome_of(s.memory.map(anonymous(0x800000, page, true))); }},
    {"map_file", [](Space& s) { return outcome_of(s.memory.map(file(0x800000, 0))); }},
    {"create", [](Space& s) { return outcome_of(s.memory.create(Address{0x800000}, 01700)); }},
    {"adopt",
     [](Space& s) { return outcome_of(s.memory.adopt(Address{0x800000}, s.at(0x630000))); }},
    {"unmap_middle", [](Space& s) { return outcome_of(s.memory.unmap(range(0x601000, page))); }},
    {"unmap_many", [](Space& s) { return outcome_of(s.memory.unmap(range(0x603000, 0x2e000))); }},
    {"protect",
     [](Space& s) {
         return outcome_of(s.memory.protect(range(0x601000, 2 * page), {true, false, true}));
     }},
    {"protect_file",
     [](Space& s) {
         return outcome_of(s.memory.protect(range(0x621000, page), {true, false, false}));
     }},
    {"move",
     [](Space& s) { return outcome_of(s.memory.move(Address{0x600000}, Address{0x800000})); }},
    {"grow", [](Space& s) { return outcome_of(s.memory.resize(s.at(0x600000), 6 * page)); }},
    {"grow_anonymous",
     [](Space& s) { return outcome_of(s.memory.resize(s.at(0x610000), 6 * page)); }},
    {"shrink", [](Space& s) { return outcome_of(s.memory.resize(s.at(0x600000), page + 5)); }},
    {"grow_empty", [](Space& s) { return outcome_of(s.memory.resize(s.at(0x640000), page)); }},
    {"materialise", [](Space& s) { return outcome_of(s.memory.materialise(s.at(0x620000))); }},
    {"share", [](Space& s) { return outcome_of(s.memory.share(s.at(0x600000))); }},
    {"share_file", [](Space& s) { return outcome_of(s.memory.share(s.at(0x620000))); }},
    {"chmod", [](Space& s) { return outcome_of(s.memory.set_mode(s.at(0x600000), 01500)); }},
    {"isolate",
     [](Space& s) {
         s.at(0x600000).object->handles = 1;
         return outcome_of(s.memory.isolate());
     }},
    {"settle",
     [](Space& s) {
         if (!s.memory.at(Address{0x640000})->object->size())
             fake_of(s.at(0x640000)).truncate_elsewhere(2 * page);
         return outcome_of(s.memory.settle());
     }},
};

class EveryCallFails : public testing::TestWithParam<Verb> {
protected:
    static void prepare(Space& space) {
        space.map(anonymous(0x600000, 4 * page));
        space.fill(0x600000, "abcd");
        space.map(anonymous(0x610000, 2 * page));
        space.map(file(0x620000, 0));
        space.map(anonymous(0x630000, 2 * page, true));
        space.fill(0x630000, "st");
        good(run(space.memory.create(Address{0x640000}, 0600)));
        good(run(space.memory.map_vdso(Address{0x650000})));
    }
};

TEST_P(EveryCallFails, OnceAndTheRegionsStillAreWhatIsMappedAndNothingIsLost) {
    for (int n = 1; n < 50; ++n) {
        SCOPED_TRACE(fmt::format("call {} fails", n));
        Space space;
        prepare(space);
        const auto before = space.letters();
        space.host.calls.clear();
        space.host.fail_at(n, std::errc::not_enough_memory);
        (void)GetParam().run(space);
        if (!space.host.has_failed()) return;
        SCOPED_TRACE(fmt::format("after {}", fmt::join(space.host.calls, ", ")));
        (void)run(space.memory.settle());  // as the next turn begins
        space.expect_consistent();
        for (const auto& [start, letter] : space.letters()) {
            const auto was = before.find(start);
            EXPECT_EQ(was == before.end() ? letter : was->second, letter)
                << fmt::format("at {:x}", start);
        }
        EXPECT_EQ(fake::why(GetParam().run(space)), "") << "when it is tried again";
        space.expect_consistent();
    }
    FAIL() << "it never ends";
}

INSTANTIATE_TEST_SUITE_P(Verbs, EveryCallFails, testing::ValuesIn(verbs),
                         [](const auto& verb) { return verb.param.name; });

}  // namespace
}  // namespace proc9::core
