#!/bin/sh
# Makes sure that what the build needs is there: cargo, a C and a C++ compiler,
# make, and libclang with its headers (the RocksDB bindings are generated with
# it). ccache is welcome but not needed.
#
# With everything in place this returns at once and touches no network. On
# Debian and its relatives it installs what is missing; elsewhere it says what
# to install. SEALVEC_NO_CCACHE=1 leaves ccache out of it.
set -u

say() { printf 'setup: %s\n' "$*" >&2; }
have() { command -v "$1" >/dev/null 2>&1; }

# The first word of "$1", which may be a command with arguments.
first_word() {
    # shellcheck disable=SC2086
    set -- $1
    printf '%s' "${1:-}"
}

have_cc() { have "$(first_word "${CC:-cc}")"; }

# RocksDB is C++20.
have_cxx() {
    have "$(first_word "${CXX:-c++}")" || return 1
    # shellcheck disable=SC2086
    echo 'int main() { return 0; }' | ${CXX:-c++} -std=c++20 -fsyntax-only -x c++ - >/dev/null 2>&1
}

# True if one of the arguments, the results of a file pattern, exists.
# libclang-cpp is another library and does not count.
any_libclang() {
    for file in "$@"; do
        case ${file##*/} in
        libclang-cpp*) continue ;;
        esac
        [ -e "$file" ] && return 0
    done
    return 1
}

have_libclang_library() {
    if [ -n "${LIBCLANG_PATH:-}" ]; then
        [ -f "$LIBCLANG_PATH" ] && return 0
        any_libclang "$LIBCLANG_PATH"/libclang.so* "$LIBCLANG_PATH"/libclang-*.so* \
            "$LIBCLANG_PATH"/libclang*.dylib && return 0
    fi
    { ldconfig -p || /sbin/ldconfig -p; } 2>/dev/null |
        grep -v 'libclang-cpp' | grep -q -E 'libclang(-[0-9.]+)?\.so' && return 0
    any_libclang \
        /usr/lib/llvm-*/lib/libclang.so* /usr/lib/llvm-*/lib/libclang-*.so* \
        /usr/lib/llvm*/lib/libclang.so* \
        /usr/lib64/llvm*/lib/libclang.so* /usr/lib64/llvm*/lib64/libclang.so* \
        /usr/lib/libclang.so* /usr/lib64/libclang.so* /usr/local/lib/libclang.so* \
        /usr/lib/*-linux-gnu*/libclang.so* /usr/lib/*-linux-gnu*/libclang-*.so* \
        /opt/homebrew/opt/llvm/lib/libclang.dylib /usr/local/opt/llvm/lib/libclang.dylib \
        /Library/Developer/CommandLineTools/usr/lib/libclang.dylib \
        /Applications/Xcode.app/Contents/Developer/Toolchains/XcodeDefault.xctoolchain/usr/lib/libclang.dylib
}

# Debian packs clang's own headers (stddef.h and such) apart from the library.
have_libclang_headers() {
    [ -n "${LIBCLANG_PATH:-}" ] && return 0
    have apt-get || return 0
    for file in /usr/lib/llvm-*/lib/clang/*/include/stddef.h /usr/lib/clang/*/include/stddef.h; do
        [ -e "$file" ] && return 0
    done
    return 1
}

have_libclang() { have_libclang_library && have_libclang_headers; }

wants_ccache() { [ "${SEALVEC_NO_CCACHE:-}" != 1 ] && ! have ccache; }

# Sets $missing to what the build needs and does not find.
look() {
    missing=
    have make || missing="$missing make,"
    have_cc || missing="$missing a C compiler,"
    have_cxx || missing="$missing a C++20 compiler,"
    have_libclang || missing="$missing libclang,"
    missing=${missing# }
    missing=${missing%,}
}

if ! have cargo; then
    if [ -x "${CARGO_HOME:-${HOME:-}/.cargo}/bin/cargo" ]; then
        say "cargo is installed but not in PATH. Run:"
        say "    . \"${CARGO_HOME:-$HOME/.cargo}/env\""
    else
        say "cargo is missing. Install Rust from https://rustup.rs and come back:"
        say "    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh"
    fi
    exit 1
fi

look
[ -z "$missing" ] && ! wants_ccache && exit 0
[ -z "$missing" ] || say "missing: $missing"

if have apt-get; then
    as_root=
    if [ "$(id -u)" -ne 0 ]; then
        # For ccache alone nobody is asked for a password.
        as_root="sudo"
        [ -n "$missing" ] || as_root="sudo -n"
        if ! have sudo; then
            [ -n "$missing" ] || exit 0
            say "neither root nor sudo. As root, run:"
            say "    apt-get update && apt-get install g++ libclang-dev make ccache"
            exit 1
        fi
    fi
    apt() {
        # shellcheck disable=SC2086
        $as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -o Acquire::Retries=3 "$@"
    }

    packages=
    have make || packages="$packages make"
    { have_cc && have_cxx; } || packages="$packages g++"
    have_libclang || packages="$packages libclang-dev"

    if [ -n "$missing" ]; then
        say "installing:$packages"
        apt update >&2 || say "apt-get update failed; going on with the lists at hand"
        # shellcheck disable=SC2086
        if ! apt install -y --no-install-recommends $packages >&2; then
            say "could not install:$packages"
            exit 1
        fi
        if wants_ccache; then
            apt install -y --no-install-recommends ccache >&2 ||
                say "no ccache; builds work without it"
        fi
    else
        say "installing ccache, which makes rebuilds fast (SEALVEC_NO_CCACHE=1 to go without)"
        { apt update && apt install -y --no-install-recommends ccache; } >&2 ||
            say "no ccache; builds work without it"
    fi

    look
    [ -z "$missing" ] && exit 0
    say "still missing after the installation: $missing"
    have_cxx || say "RocksDB needs g++ 11 or newer (Debian 12, Ubuntu 22.04, or later)."
    exit 1
fi

# No apt-get: say what to install, and go on if only ccache is not there.
[ -z "$missing" ] && exit 0
if have dnf; then
    say "install it with:"
    say "    sudo dnf install clang-devel gcc-c++ make ccache"
elif have pacman; then
    say "install it with:"
    say "    sudo pacman -S clang gcc make ccache"
elif have apk; then
    say "install it with:"
    say "    apk add build-base linux-headers clang-dev llvm-dev ccache"
    say "and build with RUSTFLAGS=-Ctarget-feature=-crt-static if libclang cannot be loaded"
elif [ "$(uname -s)" = Darwin ]; then
    say "install it with:"
    say "    xcode-select --install"
    say "    brew install llvm ccache"
else
    say "install a C++20 compiler, make and libclang with your system's packages:"
    say "    Fedora: dnf install clang-devel gcc-c++ make ccache"
    say "    Arch:   pacman -S clang gcc make ccache"
    say "    Alpine: apk add build-base linux-headers clang-dev llvm-dev ccache"
    say "    macOS:  xcode-select --install; brew install llvm ccache"
fi
exit 1
