;; `select` whose condition compares a local with zero chooses by what another instruction left
;; behind.
;;
;; Layer: the reference, wasmi 2.0.0, translation. Found by: generated cases, as results that
;; differ.
;;
;; Cause: `try_fuse_select` fuses the comparison that is staged with the `select`. Of the forms with
;; the register as left-hand side and a slot, `I32Eq_Rsi` and `I32NotEq_Rsi`, it keeps none of the
;; comparison: it has the `select` test the register for zero that the comparison would have
;; written, and drops the comparison. So the register holds whatever was computed in it last.
;; `ref.is_null` is translated as a comparison with zero and has the same fault.
(module
  (func (export "constant") (param i32) (result i32)
    (select (i32.const 1) (local.get 0) (i32.eqz (local.get 0))))
  (func (export "computed") (param i32) (result i32) (local i32)
    (local.set 1 (i32.gt_s (local.get 0) (i32.const 169469839)))
    (select (i32.const 1) (local.get 1) (i32.eqz (local.get 1))))
  (func (export "not-zero") (param i32 i32) (result i32)
    (select (local.get 1) (local.get 0) (i32.ne (local.get 0) (i32.const 0))))
  (func (export "stale") (param i32) (result i32) (local i32)
    (local.set 1 (i32.gt_s (i64.eqz (i64.const 0)) (i32.const 169469839)))
    (select (i32.const 1) (local.get 1) (i32.eqz (local.get 1))))
  (func (export "null") (param externref i32) (result i32)
    (select (i32.const 1) (local.get 1) (ref.is_null (local.get 0))))
)
(assert_return (invoke "constant" (i32.const 0)) (i32.const 1))
(assert_return (invoke "constant" (i32.const 7)) (i32.const 7))
(assert_return (invoke "computed" (i32.const 7)) (i32.const 1))
(assert_return (invoke "not-zero" (i32.const 0) (i32.const 9)) (i32.const 0))
(assert_return (invoke "not-zero" (i32.const 7) (i32.const 9)) (i32.const 9))
(assert_return (invoke "stale" (i32.const 7)) (i32.const 1))
(assert_return (invoke "null" (ref.extern 1) (i32.const 5)) (i32.const 5))
(assert_return (invoke "null" (ref.null extern) (i32.const 5)) (i32.const 1))
