;;! x86-64 = "sse42"
;; `i8x16.shuffle` that becomes `shufps` faults on an operand in memory that is not aligned.
;;
;; Layer: the backend for x86-64, Cranelift 0.112.3, instruction selection, without AVX (which a
;; processor may have: it is not used unless allowed). Found by: reading the
;; source after `palignr`, and met by generated cases since.
;;
;; Cause: in inst.isle, `x64_shufps` takes its second operand as `XmmMem` and hands it to
;; `xmm_rm_r_imm`, which takes a `RegMem`. An `XmmMem` converts to that as it is, while where a
;; helper takes an `XmmMemAligned`, as those of other SSE instructions do, the conversion loads
;; what is not known to be aligned into a register first. So a load is sunk into `shufps`, which
;; wants its operand aligned to 16 bytes, as SSE instructions do. wasm knows no alignment that holds,
;; so the processor raises a general protection fault at an access that is in bounds.
;; See also the case of `palignr`.
;;
;; Upstream: the instruction's operand is declared aligned since it moved to the new assembler
;; (bytecodealliance/wasmtime#11135).
(module
  (memory 1)
  (data (i32.const 0) "\00\01\02\03\04\05\06\07\08\09\0a\0b\0c\0d\0e\0f\10\11\12\13\14\15\16\17")
  (func (export "aligned") (param v128)
    (v128.store (i32.const 256) (i8x16.shuffle 0 1 2 3 8 9 10 11 16 17 18 19 24 25 26 27 (local.get 0) (v128.load align=1 (i32.const 0)))))
  (func (export "result") (result v128)
    (v128.load (i32.const 256)))
  (func (export "misaligned") (param i32 v128)
    (v128.store (i32.const 256) (i8x16.shuffle 0 1 2 3 8 9 10 11 16 17 18 19 24 25 26 27 (local.get 1) (v128.load align=1 (local.get 0)))))
)
(assert_return (invoke "aligned" (v128.const i32x4 -1 -1 -1 -1)))
(assert_return (invoke "result") (v128.const i8x16 -1 -1 -1 -1 -1 -1 -1 -1 0 1 2 3 8 9 10 11))
(assert_return (invoke "misaligned" (i32.const 1) (v128.const i32x4 -1 -1 -1 -1)))
(assert_return (invoke "result") (v128.const i8x16 -1 -1 -1 -1 -1 -1 -1 -1 1 2 3 4 9 10 11 12))
