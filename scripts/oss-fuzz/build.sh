#!/usr/bin/env bash
# Builds the fuzz targets as OSS-Fuzz does, into $OUT: each with its options, its seeds and the
# dictionary. OSS-Fuzz runs this in its image; scripts/oss-fuzz/check runs it anywhere.
#
# Takes from the environment what OSS-Fuzz sets: SRC (the repository is $SRC/parallax), OUT, WORK, CC,
# CXX, CFLAGS, CXXFLAGS, RUSTFLAGS, SANITIZER, FUZZING_ENGINE, LIB_FUZZING_ENGINE, ARCHITECTURE.

. "$SRC/parallax/scripts/common.sh"

[[ ${FUZZING_ENGINE:-libfuzzer} == libfuzzer ]] || die "no targets for the fuzzing engine $FUZZING_ENGINE"
[[ ${ARCHITECTURE:-x86_64} == x86_64 ]] || die "no targets for the architecture $ARCHITECTURE"
case ${SANITIZER:-address} in
    address) sanitizer=(--sanitizer=address) ;;
    # cargo-fuzz has no name for builds that say how much of the sources is reached.
    coverage | introspector) sanitizer=(--sanitizer=none) ;;
    *) die "no targets for the sanitizer $SANITIZER" ;;
esac
mkdir -p "$OUT" "$WORK"

find_nightly
((${#nightly_cargo[@]})) || die "no nightly toolchain"
fuzz_environment
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$WORK/target}
"${nightly_cargo[@]}" fuzz build "${fuzz_build[@]}" "${sanitizer[@]}"

cp fuzz/parallax.dict "$OUT/"
for source in fuzz/fuzz_targets/*.rs; do
    target=$(basename "$source" .rs)
    cp "$CARGO_TARGET_DIR/x86_64-unknown-linux-gnu/release/$target" "$OUT/"
    cp fuzz/parallax.options "$OUT/$target.options"
    rm -f "$OUT/${target}_seed_corpus.zip"
    zip -q -j -X -r "$OUT/${target}_seed_corpus.zip" "corpus/$target"
done
