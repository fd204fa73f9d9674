#!/bin/bash
# Installs what proc9 needs and is missing; with nothing missing it is done in a moment and asks no network.
#
#     cmake/install-dependencies.sh [--build] [--test] [--bench] [--fuzz]     (--build goes without saying)
#
#     --build   what ./mount.sh needs: compiler, libraries, a libfuse that can pass through (3.17 or later)
#     --test    what tests/run needs besides; among it openssh-server and diod, whose packages start their services
#     --bench   what tests/bench/run compares with where it is there
#     --fuzz    what the preset `fuzz` needs besides
#
# The last line on stdout is the prefix of libfuse3; everything else goes to stderr.
set -euo pipefail
shopt -s inherit_errexit

readonly FUSE_WANTED=3.17
readonly FUSE_SUITES=(trixie forky sid)   # where to look for its source package; the first that is new enough wins
readonly CACHE=${XDG_CACHE_HOME:-${HOME:?is not set}/.cache}/proc9   # outlives any build directory

readonly BUILD_PACKAGES=(g++ cmake ninja-build pkg-config fuse3 libboost-dev libboost-filesystem-dev
    nlohmann-json3-dev libfmt-dev libexpected-dev libcli11-dev
    libseccomp-dev libvalijson-dev systemtap-sdt-dev)
readonly TEST_PACKAGES=(libgtest-dev libgmock-dev python3 python3-pytest python3-pytest-timeout python3-jsonschema tmux busybox-static
    ccache perl gawk mawk tcl nodejs default-jdk-headless strace clang-format-19 clang-tidy-19 shellcheck
    mandoc parallel lintian debootstrap systemd bpftrace sshfs openssh-server openssh-client diod iproute2)
readonly CROSS_PACKAGES=(gcc-aarch64-linux-gnu g++-aarch64-linux-gnu qemu-user-static)   # with --test, on x86-64
readonly BENCH_PACKAGES=(bubblewrap)
readonly FUZZ_CLANGS=(19 18 17 16 20 21)   # the first that the release has; those before 16 cannot read libstdc++'s coroutines
readonly LIBFUSE_PACKAGES=(meson ninja-build gcc dpkg-dev xz-utils)   # only where it has to be built

say() { printf '%s\n' "$*" >&2; }
fail() { say "install-dependencies: $*"; exit 1; }

# The packages of "$@" that are not installed.
missing() {
    local installed
    installed=$(dpkg-query --show --showformat='${Package} ${db:Status-Status}\n' "$@" 2>/dev/null || true)
    for package; do
        grep -qx "$package installed" <<<"$installed" || printf '%s ' "$package"
    done
}

apt_install() {
    local as_root=()
    if ((EUID != 0)); then
        command -v sudo >/dev/null || fail "not root, and no sudo. Please run:  apt-get install $*"
        as_root=(sudo)
    fi
    say "installing: $*"
    "${as_root[@]}" apt-get update -qq >&2 || say "apt-get update failed; trying with the package lists at hand"
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install --yes --quiet --no-install-recommends "$@" >&2 || fail "could not install: $*"
}

need() {
    local packages
    read -ra packages <<<"$(missing "$@")"
    ((${#packages[@]} == 0)) || apt_install "${packages[@]}"
}

new_enough() { dpkg --compare-versions "$1" ge "$FUSE_WANTED"; }

# The prefix of a usable libfuse3 that is here already: the system's, or one built by an earlier run.
installed_libfuse() {
    if pkg-config --atleast-version="$FUSE_WANTED" fuse3 2>/dev/null; then
        pkg-config --variable=prefix fuse3
        return
    fi
    local newest
    newest=$(printf '%s\n' "$CACHE"/fuse3-*/lib/pkgconfig/fuse3.pc | sort -V | tail -n 1)
    [[ -f $newest ]] && printf '%s\n' "${newest%/lib/pkgconfig/fuse3.pc}"
}

has_package() { apt-cache show "$1" >/dev/null 2>&1; }

# A clang with libFuzzer; cmake/Clang.cmake finds it.
fuzz_packages() {
    local version
    for version in "${FUZZ_CLANGS[@]}"; do
        has_package "libclang-rt-$version-dev" && break
    done
    printf '%s ' "clang-$version" "libclang-rt-$version-dev"
}

packaged_libfuse_version() { apt-cache policy libfuse3-dev 2>/dev/null | awk '$1 == "Candidate:" { print $2 }'; }

# Runs an apt tool on a configuration of its own in directory $1: the system's is to know nothing of the foreign suite.
private_apt() {
    local root=$1
    shift
    "$@" -o Dir::Etc::SourceList="$root/sources.list" -o Dir::Etc::SourceParts=- \
        -o Dir::State::Lists="$root/lists" -o Dir::Cache="$root/cache" -o APT::Sandbox::User=""
}

# Prepares directory $1 for suite $2, taking the mirror and the keyring from the machine's own apt configuration.
private_apt_setup() {
    local root=$1 suite=$2 mirror keys
    # shellcheck disable=SC2016  # apt expands these
    mirror=$(apt-get indextargets --format '$(REPO_URI) $(LABEL) $(ORIGIN) $(COMPONENT)' 'Created-By: Packages' |
        awk '$2 == "Debian" && $3 == "Debian" && $4 == "main" { print $1; exit }')
    [[ -n $mirror ]] || fail "apt knows no Debian mirror; libfuse3 $FUSE_WANTED or later has to be installed by hand"
    keys=/usr/share/keyrings/debian-archive-keyring.gpg
    mkdir -p "$root/lists/partial" "$root/cache/archives/partial"
    printf 'deb-src [signed-by=%s] %s %s main\n' "$keys" "$mirror" "$suite" >"$root/sources.list"
}

# Downloads and unpacks fuse3's source of the first suite that is new enough, into $1/source; prints the version.
fetch_libfuse() {
    local work=$1 suite version
    for suite in "${FUSE_SUITES[@]}"; do
        private_apt_setup "$work/apt-$suite" "$suite"
        private_apt "$work/apt-$suite" apt-get update -qq >&2 || continue
        version=$(private_apt "$work/apt-$suite" apt-cache showsrc --only-source fuse3 2>/dev/null |
            awk '$1 == "Version:" { print $2 }' | sort -V | tail -n 1)
        new_enough "${version:-0}" || continue
        say "building libfuse $version from the source package of $suite"
        (cd "$work" && private_apt "$work/apt-$suite" apt-get source -qq --download-only "fuse3=$version" >&2)
        dpkg-source --no-check -x "$work"/fuse3_*.dsc "$work/source" >&2   # apt has checked signature and hashes
        printf '%s\n' "${version%-*}"
        return
    done
    fail "none of the suites ${FUSE_SUITES[*]} has libfuse $FUSE_WANTED or later, or the mirror cannot be reached"
}

# Builds the library alone: a fusermount3 of our own would not be set-user-id and yet be found first.
build_libfuse() {
    local work version prefix options
    need "${LIBFUSE_PACKAGES[@]}"
    work=$(mktemp -d)
    # shellcheck disable=SC2064  # $work is local: expand it now
    trap "rm -rf '$work'" EXIT
    version=$(fetch_libfuse "$work")
    prefix=$CACHE/fuse3-$version
    options=(-Ddefault_library=static -Dutils=false -Dexamples=false -Dtests=false)
    # From 3.18 on; would pull in liburing and libnuma.
    ! grep -q "'enable-io-uring'" "$work/source/meson_options.txt" || options+=(-Denable-io-uring=false)
    {
        meson setup --prefix="$prefix" --libdir=lib --bindir=/usr/bin --buildtype=debugoptimized \
            "${options[@]}" "$work/build" "$work/source"
        ninja -C "$work/build"
        DESTDIR=$work/stage ninja -C "$work/build" install
    } >"$work/log" 2>&1 || { tail -n 40 "$work/log" >&2; fail "libfuse did not build"; }
    mkdir -p "$CACHE"
    rm -rf "$prefix"
    mv "$work/stage$prefix" "$prefix"   # in one step: nobody finds half a library
    printf '%s\n' "$prefix"
}

# Prints the prefix of libfuse3, having seen to it that there is one.
libfuse() {
    installed_libfuse && return
    if new_enough "$(packaged_libfuse_version)"; then
        apt_install libfuse3-dev
        installed_libfuse
    else
        build_libfuse
    fi
}

packages=("${BUILD_PACKAGES[@]}")
for argument in "${@:---build}"; do
    case $argument in
        --build) ;;
        --test)
            packages+=("${TEST_PACKAGES[@]}")
            [[ $(uname -m) != x86_64 ]] || packages+=("${CROSS_PACKAGES[@]}")
            ;;
        --bench) packages+=("${BENCH_PACKAGES[@]}") ;;
        --fuzz) read -ra fuzz <<<"$(fuzz_packages)" && packages+=("${fuzz[@]}") ;;
        *) fail "unknown argument $argument; known: --build --test --bench --fuzz" ;;
    esac
done
need "${packages[@]}"
# Python's own test suite has the version in its name.
[[ " ${packages[*]} " != *" python3 "* ]] ||
    need "libpython$(/usr/bin/python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')-testsuite"
libfuse
