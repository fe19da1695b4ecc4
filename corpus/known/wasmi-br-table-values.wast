;; `br_table` that carries values over operands that it drops leaves the values where they are.
;;
;; Layer: the reference, wasmi 2.0.0, translation. Found by: generated cases, as results that
;; differ.
;;
;; Cause: `visit_br_table` copies the carried values to the slots of the operands that they are
;; (`copy_operands_to_temp`), and has each target copy them on from there only if the targets'
;; frames differ in height (`equal_heights`). If they are equal, it takes the values to be where
;; the targets want them, which they are only if nothing lies between. With operands in between, a
;; target reads the slots of those, to some of which nothing was ever written. Values that are
;; carried in registers are right: the topmost integer, f32 and f64, but no v128.
(module
  (func (export "vector") (param i32 v128) (result v128)
    (block $b (result v128)
      i64.const 1
      local.get 1
      i8x16.abs
      local.get 0
      br_table $b 1 1))
  (func (export "targets") (param i32 v128) (result v128)
    (block $b (result v128)
      (block $c (result v128)
        i64.const 1
        local.get 1
        local.get 0
        br_table $b $c)
      drop
      v128.const i32x4 9 9 9 9))
  (func (export "two") (param i32 i64 i64) (result i64 i64)
    (block $b (result i64 i64)
      i64.const 1
      local.get 1
      local.get 2
      local.get 0
      br_table $b 1 1))
  ;; These are right: one value, in a register; and nothing to be dropped.
  (func (export "one") (param i32 i64) (result i64)
    (block $b (result i64)
      i64.const 1
      local.get 1
      i64.clz
      local.get 0
      br_table $b 1 1))
  (func (export "nothing-dropped") (param i32 v128) (result v128)
    (block $b (result v128)
      local.get 1
      local.get 0
      br_table $b 1 1))
)
(assert_return (invoke "vector" (i32.const 0) (v128.const i32x4 1 2 3 4)) (v128.const i32x4 1 2 3 4))
(assert_return (invoke "vector" (i32.const 1) (v128.const i32x4 1 2 3 4)) (v128.const i32x4 1 2 3 4))
(assert_return (invoke "targets" (i32.const 0) (v128.const i32x4 1 2 3 4)) (v128.const i32x4 1 2 3 4))
(assert_return (invoke "targets" (i32.const 1) (v128.const i32x4 1 2 3 4)) (v128.const i32x4 9 9 9 9))
(assert_return (invoke "two" (i32.const 0) (i64.const 5) (i64.const 6)) (i64.const 5) (i64.const 6))
(assert_return (invoke "two" (i32.const 7) (i64.const 7) (i64.const 8)) (i64.const 7) (i64.const 8))
(assert_return (invoke "one" (i32.const 0) (i64.const 1)) (i64.const 63))
(assert_return (invoke "one" (i32.const 1) (i64.const 1)) (i64.const 63))
(assert_return (invoke "nothing-dropped" (i32.const 0) (v128.const i32x4 1 2 3 4)) (v128.const i32x4 1 2 3 4))
