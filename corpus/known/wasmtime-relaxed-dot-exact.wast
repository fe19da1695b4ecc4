;; A relaxed dot product of 4 pairs is exact, where its sums of 2 pairs do not fit into 16 bits.
;;
;; Layer: Wasmtime 48.0.8, translation, with Cranelift and with Pulley; Winch has no relaxed vector instructions. Found by: `parallax
;; fuzz --seed 105` on all engines, case 125581, by single_op.
;;
;; Cause: WebAssembly says that `i32x4.relaxed_dot_i8x16_i7x16_add_s` adds up what `i16x8.relaxed_dot_i8x16_i7x16_s` gives, so that
;; a sum of 2 products is a number of 16 bits on its way (core specification 3.0, numerics, `vextternop`). -128 * -128 + -128 *
;; -128 is not: it wraps or saturates there, so that both pairs of a lane give -65536, -1 or 65534. Wasmtime, told to be
;; deterministic, adds up all 4 products in 32 bits, and gives 65536 (code_translator.rs). It used to do as wasmi and
;; cranelift-wasm 0.112.3 do, which wrap.
;;
;; Upstream: since bytecodealliance/wasmtime#13702, which takes the exact sum for the deterministic reading. WebAssembly/spec#2228 adds
;; tests by which it is not allowed.
(module
  (func (export "dot") (param v128 v128) (result v128)
    (i32x4.relaxed_dot_i8x16_i7x16_add_s (local.get 0) (local.get 1) (v128.const i32x4 0 0 0 1))))
(assert_return
  (invoke "dot" (v128.const i8x16 1 2 3 4 -128 127 0 0 0 0 0 0 0 0 0 0) (v128.const i8x16 5 6 7 8 9 10 0 0 0 0 0 0 0 0 0 0))
  (v128.const i32x4 70 118 0 1))
(assert_return
  (invoke "dot"
    (v128.const i8x16 -128 -128 -128 -128 0 0 0 0 0 0 0 0 0 0 0 0)
    (v128.const i8x16 -128 -128 -128 -128 0 0 0 0 0 0 0 0 0 0 0 0))
  (v128.const i32x4 -65536 0 0 1))
