;;! x86-64 = "sse42"
;; A load of 16 bytes whose upper half is out of bounds does not trap, where only its lower half is used.
;;
;; Layer: the backend for x86-64, Cranelift 0.112.3, instruction selection, with SSE4.1 (and with AVX, by
;; the same rules). Found by: `parallax fuzz --engines x86_64-0.112,aarch64-0.112 --seed 101`, case 22793, by
;; wasm_smith, in a run after old bugs.
;;
;; Cause: in lower.isle, rule 1 for `swiden_low` and for `uwiden_low` from i8x16 to i16x8 hands its operand
;; to `x64_pmovsxbw` and `x64_pmovzxbw`, which take an `XmmMem`. A load of 16 bytes that has no other use
;; converts to one, and becomes the instruction's memory operand; but of memory the instruction reads 8
;; bytes. So WebAssembly's access of 16 bytes becomes one of 8, and is not seen to be out of bounds if these
;; are within. Nothing outside of the memory is read. Of the other instructions that use a part of a vector
;; (all of the extensions, conversions, lanes and shuffles were tried, at five addresses and five levels of
;; extensions) none showed it.
;;
;; Upstream: gone in 0.135.8, where `x64_pmovzxbw` and its like take an `XmmMem64`, to which a value of 16
;; bytes does not convert.
(module
  (memory 1 1)
  (func (export "signed") (param i32)
    (v128.store (i32.const 0) (i16x8.extend_low_i8x16_s (v128.load (local.get 0)))))
  (func (export "unsigned") (param i32)
    (v128.store (i32.const 0) (i16x8.extend_low_i8x16_u (v128.load (local.get 0))))))
(assert_return (invoke "signed" (i32.const 65520)))
(assert_trap (invoke "signed" (i32.const 65521)) "out of bounds memory access")
(assert_trap (invoke "signed" (i32.const 65529)) "out of bounds memory access")
(assert_trap (invoke "unsigned" (i32.const 65528)) "out of bounds memory access")
(assert_trap (invoke "unsigned" (i32.const 65529)) "out of bounds memory access")
