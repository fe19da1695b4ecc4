;; Guards: what `return_call_indirect` checks, in that order and before anything is left: the table's
;; bounds, null, the signature. Where it does not trap, as many iterations as are asked for take one
;; frame, and vectors and floats arrive where the callee expects them, on its stack, too.
(module
  (type $to-i32 (func (result i32)))
  (type $wide (func (param i32 v128 f64 i64 v128 i64 i64 i64 i64 i64 i64 f32 v128 v128 v128 v128 v128
                           v128 v128 i32) (result i32 v128)))
  (table 4 funcref)
  (elem (i32.const 0) func $one $wide)
  (func $one (type $to-i32) (i32.const 1))
  (func (export "at") (param i32) (result i32)
    (return_call_indirect (type $to-i32) (local.get 0)))
  (func (export "wide-at") (param i32) (result i32 v128)
    (return_call_indirect (type $wide)
      (i32.const 3) (v128.const i64x2 1 2) (f64.const 4) (i64.const 5) (v128.const i64x2 6 7)
      (i64.const 8) (i64.const 9) (i64.const 10) (i64.const 11) (i64.const 12) (i64.const 13)
      (f32.const 14) (v128.const i64x2 15 16) (v128.const i64x2 17 18) (v128.const i64x2 19 20)
      (v128.const i64x2 21 22) (v128.const i64x2 23 24) (v128.const i64x2 25 26)
      (v128.const i64x2 27 28) (i32.const 1000)
      (local.get 0)))
  ;; Turns the vectors around with each iteration.
  (func $wide (type $wide)
    (if (result i32 v128) (i32.eqz (local.get 19))
      (then
        (i32.add (local.get 0) (i32.trunc_sat_f64_s (local.get 2)))
        (i64x2.add (local.get 1) (i64x2.add (local.get 4) (local.get 18))))
      (else
        (return_call_indirect (type $wide)
          (i32.add (local.get 0) (i32.const 1)) (local.get 18) (f64.neg (local.get 2))
          (local.get 3) (local.get 1) (local.get 5) (local.get 6) (local.get 7) (local.get 8)
          (local.get 9) (local.get 10) (local.get 11) (local.get 4) (local.get 12)
          (local.get 13) (local.get 14) (local.get 15) (local.get 16) (local.get 17)
          (i32.sub (local.get 19) (i32.const 1))
          (i32.const 1))))))

(assert_return (invoke "at" (i32.const 0)) (i32.const 1))
(assert_trap (invoke "at" (i32.const 1)) "indirect call type mismatch")
(assert_trap (invoke "at" (i32.const 2)) "uninitialized element")
(assert_trap (invoke "at" (i32.const 4)) "undefined element")
(assert_trap (invoke "at" (i32.const -1)) "undefined element")
(assert_trap (invoke "wide-at" (i32.const 0)) "indirect call type mismatch")
(assert_trap (invoke "wide-at" (i32.const 3)) "uninitialized element")
(assert_return (invoke "wide-at" (i32.const 1)) (i32.const 1007) (v128.const i64x2 53 56))
