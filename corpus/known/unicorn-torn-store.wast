;; Emulated, a store of 16 bytes that is partly out of bounds writes the part that is not, and traps.
;;
;; Layer: Unicorn 2.1.5, its processor for x86-64. Found by: generated cases, run both directly and
;; in the emulator.
;;
;; Cause: the translator (that of QEMU 5.0) makes two stores of 8 bytes of `movups` and its kin
;; (target/i386/translate.c, `gen_sto_env_A0`), and the lower is done when the upper faults. No
;; x86-64 processor does that, and Cranelift rightly counts on it. The processor for aarch64 does the
;; same, which its architecture allows: see cranelift-torn-store.wast.
(module
  (memory 1)
  (func (export "store") (param i32)
    (v128.store (local.get 0) (v128.const i64x2 -1 -1)))
  (func (export "load") (param i32) (result i64)
    (i64.load (local.get 0))))
;; The upper half is partly on the second page, the lower half on the first.
(assert_trap (invoke "store" (i32.const 65521)) "out of bounds memory access")
(assert_return (invoke "load" (i32.const 65521)) (i64.const 0))
