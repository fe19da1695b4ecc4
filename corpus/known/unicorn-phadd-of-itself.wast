;; Emulated, sums of the pairs of lanes of a vector with itself are wrong in the upper half.
;;
;; Layer: Unicorn 2.1.5, its processor for x86-64. Found by: generated cases, run both directly and
;; in the emulator. It does not show, since the emulator's `phaddw` and `phaddd` of a register with itself
;; are done by parallax (src/runtime/emulator/phadd.rs).
;;
;; Cause: the routines for them (those of QEMU 5.0, target/i386/ops_sse.h, `helper_phaddw` and
;; `helper_phaddd`) write the lower half of the first operand, and then read the second one, which is
;; the same register. Cranelift comes to them, with SSSE3 and without AVX, by widening both halves of a
;; splat, which it knows to be the same.
;;! x86-64 = "sse42"
(module
  (func (export "of-words") (param i32) (result v128)
    (i16x8.extadd_pairwise_i8x16_u (i8x16.splat (local.get 0))))
  (func (export "of-doublewords") (param i32) (result v128)
    (i32x4.extadd_pairwise_i16x8_s (i16x8.splat (local.get 0)))))
(assert_return (invoke "of-words" (i32.const 200)) (v128.const i16x8 400 400 400 400 400 400 400 400))
(assert_return (invoke "of-doublewords" (i32.const -3)) (v128.const i32x4 -6 -6 -6 -6))
