# What the scripts have in common; sourced by them. Leaves the shell in the root of the repository.
# shellcheck shell=bash

set -euo pipefail
# shellcheck disable=SC2034 # for scripts that take paths
invoked_from=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Toolchains are the business of whoever owns the machine: none is downloaded from here, not even
# by rustup on its own account.
export RUSTUP_AUTO_INSTALL=0

# Says what is being done, on standard error, so that standard output belongs to the programs run. That
# nobody may listen any more, as after a hangup, is no reason to end.
say() {
    echo "$(basename "$0"): $*" >&2 || true
}

# Says why nothing can be done, and ends as the program does then.
die() {
    say "error: $*"
    exit 2
}

# Sets nightly_cargo to the command that is cargo of a nightly toolchain; to nothing if there is
# none. A toolchain called `nightly` comes first, then the latest dated one, then the default.
# shellcheck disable=SC2034 # for the scripts
find_nightly() {
    local toolchain
    nightly_cargo=()
    if cargo +nightly --version >/dev/null 2>&1; then
        nightly_cargo=(cargo +nightly)
        return
    fi
    if command -v rustup >/dev/null; then
        toolchain=$(rustup toolchain list 2>/dev/null | grep -o '^nightly[^ ]*' | sort | tail -n 1 || true)
        if [[ -n $toolchain ]]; then
            nightly_cargo=(cargo "+$toolchain")
            return
        fi
    fi
    if cargo --version 2>/dev/null | grep -q nightly; then
        nightly_cargo=(cargo)
    fi
}

# Sets llvm to the version of LLVM that the compiler has, and profdata to its llvm-profdata, to nothing if
# there is none. That of another version does not read what programs of this compiler write.
# shellcheck disable=SC2034 # for the scripts
find_profdata() {
    local candidate
    llvm=$(rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
    profdata=
    for candidate in "$(rustc --print target-libdir)/../bin/llvm-profdata" \
        "$(command -v "llvm-profdata-$llvm" || true)" "/usr/lib/llvm-$llvm/bin/llvm-profdata"; do
        if [[ -x $candidate ]]; then
            profdata=$candidate
            return
        fi
    done
}

# Leaves out of the release profile what makes each program that is linked take a minute, for whoever
# links many.
quick_links() {
    export CARGO_PROFILE_RELEASE_LTO=false CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16
}

# How fuzz targets are built: without debug assertions, which Cranelift and regalloc2 are full of, and
# without tracing the operands of comparisons, which costs more than anything else does. `cargo fuzz
# run` by itself does neither, and is several times slower (docs/performance.md).
# shellcheck disable=SC2034 # for the scripts
fuzz_build=(-O --no-trace-compares)

# Puts the compilers' flags in order for that, whatever the environment says, so that all builds of
# fuzz targets are the same and share what they build. cargo-fuzz chooses sanitizer and debug
# information itself, and frame pointers make AddressSanitizer's stack traces cheap. What lies on the
# stack is guarded in our own crates (scripts/stack-guards) and not in what they are built on, and
# coverage is of branches alone, not of indirect calls and of how deep the stack is, nor are conditions
# kept apart for its sake: the same inputs are run in four fifths of the time (docs/performance.md).
# Crates are not divided for code generation either: that makes faster code, and takes hardly longer on
# two cores. No flags for C come from outside. (The crate cc has what is C, which is Unicorn and
# libFuzzer, guarded by AddressSanitizer all the same, as it does whatever Rust is built with.)
fuzz_environment() {
    local flag flags=()
    RUSTFLAGS=${RUSTFLAGS:-}
    for flag in ${RUSTFLAGS//--cfg fuzzing/}; do
        case $flag in
            -Zsanitizer=* | -Csanitizer=* | -Cdebuginfo=* | -Cforce-frame-pointers*) ;;
            *) flags+=("$flag") ;;
        esac
    done
    # Of an option of LLVM's that is given twice, as some are by cargo-fuzz, the last holds.
    flags+=(
        -Cforce-frame-pointers
        -Cllvm-args=-asan-stack=0
        -Cllvm-args=-sanitizer-coverage-level=3
        -Cllvm-args=-sanitizer-coverage-stack-depth=0
        -Cllvm-args=-simplifycfg-branch-fold-threshold=2
    )
    export RUSTFLAGS="${flags[*]}"
    export RUSTC_WORKSPACE_WRAPPER=$PWD/scripts/stack-guards
    quick_links
    export CARGO_PROFILE_RELEASE_CODEGEN_UNITS=1
    if [[ "${CFLAGS:-} ${CXXFLAGS:-}" == *-fsanitize* ]]; then
        unset CFLAGS CXXFLAGS
    fi
}

# The options of a section of a .options file, as NAME=VALUE, one a line.
options_of() {
    sed -n "/^\[$2\]/,/^\[/s/^\([a-z_]*\) *= */\1=/p" "$1"
}
