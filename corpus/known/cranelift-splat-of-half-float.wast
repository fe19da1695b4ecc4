;; A vector constant of eight equal 16-bit lanes makes the compiler panic.
;;
;; Layer: the backend for aarch64, Cranelift 0.112.3, instruction selection. Found by: generated cases,
;; one in 50,000.
;;
;; Cause: `splat_const` of inst.isle tries, last of all, to make the constant by `fmov` of a floating-point
;; immediate. Whether it can is asked of `ASIMDFPModImm::maybe_from_u64`, which says so for lanes of 16
;; bits too, since half-precision floats came. But `Inst::VecDupFPImm` is emitted for lanes of 32 and
;; 64 bits only: "not implemented". What can be made by `movi` or `mvni` is tried before, so both bytes of
;; the lane have to matter: 0x3c40 is 1.0625.
;;
;; Upstream: not looked for in later versions.
(module
  (func (export "splat") (result v128) (i16x8.splat (i32.const 0x3c40)))
  (func (export "constant") (result v128)
    (v128.const i16x8 0xc040 0xc040 0xc040 0xc040 0xc040 0xc040 0xc040 0xc040)))
(assert_return (invoke "splat")
  (v128.const i16x8 0x3c40 0x3c40 0x3c40 0x3c40 0x3c40 0x3c40 0x3c40 0x3c40))
(assert_return (invoke "constant")
  (v128.const i16x8 0xc040 0xc040 0xc040 0xc040 0xc040 0xc040 0xc040 0xc040))
