;;! x86-64 = "sse42"
;; A comparison of floats, one of them in memory, reads 16 bytes, and so traps at the memory's end.
;;
;; Layer: the backend for x86-64, Cranelift 0.112.3, instruction selection, without AVX (which a
;; processor may have: it is not used unless allowed). Found by: the fuzz target `differential`, after
;; 17,665 inputs.
;;
;; Cause: in inst.isle, `x64_ucomis` takes its second operand as `XmmMem` and hands it to
;; `xmm_cmp_rm_r`, whose instruction takes memory only if it is aligned to 16 bytes. The conversion
;; from the one to the other, made for vectors, loads a whole register with `movdqu`. `ucomiss` and
;; `ucomisd` want no alignment, and take 4 and 8 bytes. Of the instructions that a load was put in
;; front of for a search (all of scalar floats, and conversions), comparisons that are the index of a
;; `br_table` showed it, with the load as second operand of `eq`, `ne`, `gt` and `ge`, and as first of
;; `lt` and `le`, whose operands are swapped. Where bounds are checked by code, the bytes behind the
;; bound are read, but not used.
;;
;; Upstream: the same was found and mended in `f64.ceil` and its like (bytecodealliance/wasmtime#8116),
;; and in `f64.copysign` (#12435); whether the move to the new assembler mended it here was not tried.
(module
  (memory 1 1)
  (func (export "le") (param i32) (result i32)
    (block
      (br_table 0 0 (f64.le (f64.load (local.get 0)) (f64.const 1))))
    (i32.const 1))
  (func (export "gt") (param i32) (result i32)
    (block
      (br_table 0 0 (f32.gt (f32.const 1) (f32.load (local.get 0)))))
    (i32.const 1)))
(assert_return (invoke "le" (i32.const 65520)) (i32.const 1))
(assert_return (invoke "le" (i32.const 65528)) (i32.const 1))
(assert_trap (invoke "le" (i32.const 65529)) "out of bounds memory access")
(assert_return (invoke "gt" (i32.const 65532)) (i32.const 1))
