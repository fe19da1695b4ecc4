;; A store of a vector that is partly out of bounds writes the part that is not, and traps.
;;
;; Layer: the backend for aarch64, Cranelift 0.112.3, or the processor under it. Found by: generated
;; cases, in their memories after the trap.
;;
;; Cause: where the bounds of a memory are guarded by unmapped pages, a store that reaches into them
;; is left to fault. The architecture lets a store that faults on its second page have written to
;; its first. Cranelift takes it that processors do not, and of those that the people of Wasmtime
;; tried none did. Unicorn's does a store of 16 bytes as two of 8, and the lower is done when the
;; upper faults. wasm has a store that traps write nothing.
;;
;; Upstream: bytecodealliance/wasmtime#7237 (open), #8221 (a flag that has a load go before every
;; store, not merged), WebAssembly/design#1490.
(module
  (memory 1)
  (func (export "store") (param i32)
    (v128.store (local.get 0) (v128.const i64x2 -1 -1)))
  (func (export "load") (param i32) (result i64)
    (i64.load (local.get 0))))
(assert_return (invoke "store" (i32.const 65504)))
(assert_return (invoke "load" (i32.const 65512)) (i64.const -1))
;; Nothing of the lower half is on the second page: no processor writes anything.
(assert_trap (invoke "store" (i32.const 65536)) "out of bounds memory access")
(assert_return (invoke "load" (i32.const 65528)) (i64.const 0))
;; The lower half is on the page before.
(assert_trap (invoke "store" (i32.const 65528)) "out of bounds memory access")
(assert_return (invoke "load" (i32.const 65528)) (i64.const 0))
