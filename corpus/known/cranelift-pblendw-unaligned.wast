;;! x86-64 = "sse42"
;; `i8x16.shuffle` that becomes `pblendw` faults on an operand in memory that is not aligned.
;;
;; Layer: the backend for x86-64, Cranelift 0.112.3, instruction selection, without AVX (which a
;; processor may have: it is not used unless allowed). Found by: generated cases.
;;
;; Cause: in inst.isle, `x64_pblendw` takes its second operand as `XmmMem` and hands it to
;; `xmm_rm_r_imm`, which takes a `RegMem`. An `XmmMem` converts to that as it is, while where a
;; helper takes an `XmmMemAligned`, as those of other SSE instructions do, the conversion loads
;; what is not known to be aligned into a register first. So a load is sunk into `pblendw`, which
;; wants its operand aligned to 16 bytes, as SSE instructions do. wasm knows no alignment that holds,
;; so the processor raises a general protection fault at an access that is in bounds.
;; See also the case of `palignr`.
;;
;; Upstream: a pull request moves the instruction to the new assembler, where operands are declared
;; aligned (bytecodealliance/wasmtime#11137); we have not seen what became of it.
(module
  (memory 1)
  (data (i32.const 0) "\00\01\02\03\04\05\06\07\08\09\0a\0b\0c\0d\0e\0f\10\11\12\13\14\15\16\17")
  (func (export "aligned") (param v128)
    (v128.store (i32.const 256) (i8x16.shuffle 0 1 18 19 4 5 22 23 8 9 26 27 12 13 30 31 (local.get 0) (v128.load align=1 (i32.const 0)))))
  (func (export "result") (result v128)
    (v128.load (i32.const 256)))
  (func (export "misaligned") (param i32 v128)
    (v128.store (i32.const 256) (i8x16.shuffle 0 1 18 19 4 5 22 23 8 9 26 27 12 13 30 31 (local.get 1) (v128.load align=1 (local.get 0)))))
)
(assert_return (invoke "aligned" (v128.const i32x4 -1 -1 -1 -1)))
(assert_return (invoke "result") (v128.const i8x16 -1 -1 2 3 -1 -1 6 7 -1 -1 10 11 -1 -1 14 15))
(assert_return (invoke "misaligned" (i32.const 1) (v128.const i32x4 -1 -1 -1 -1)))
(assert_return (invoke "result") (v128.const i8x16 -1 -1 3 4 -1 -1 7 8 -1 -1 11 12 -1 -1 15 16))
