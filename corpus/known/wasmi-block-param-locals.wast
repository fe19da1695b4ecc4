;; A read of a local below the parameters of a block becomes garbage, where the local is written
;; or a block entered on another way through the block.
;;
;; Layer: the reference, wasmi 2.0.0, translation. Found by: generated cases, as globals that
;; differ, and that differ from one run of the reference to the next.
;;
;; Cause: wasmi keeps `local.get` on its stack as an operand of its own and copies the local to a
;; slot ("preserves" it) before the local is written, and, of all operands but the parameters,
;; before a block is entered, so that the copy is made on every way through. For that,
;; `preserve_all_locals` is told to skip as many operands as the block has parameters. But
;; `PreservedAllLocalsIter::find_next_local` counts only those operands against `skip` that are
;; reads of locals. If a parameter is something else, a read of a local below it is skipped instead,
;; and copied later, inside the block, on the way that happens to need it. On any other way its
;; slot is read without ever having been written.
(module
  (func (export "if") (param i32 i64) (result i64)
    local.get 1
    i32.const 0
    local.get 0
    if (param i32)
      drop
      block
      end
    else
      drop
    end
    i64.const 1
    i64.add)
  (func (export "block") (param i32 i64) (result i64)
    local.get 1
    i32.const 0
    block (param i32)
      drop
      local.get 0
      br_if 0
      i64.const 3
      local.set 1
    end
    i64.const 1
    i64.add)
  (func (export "loop") (param i32 i64) (result i64)
    local.get 1
    i32.const 0
    loop (param i32)
      drop
      local.get 0
      if
        i64.const 3
        local.set 1
      end
    end
    i64.const 1
    i64.add)
  ;; Leaves numbers where the others find them.
  (func (export "fill") (param i64 i64 i64 i64) (result i64)
    (i64.add (local.get 0) (call $product (i64.add (local.get 1) (local.get 2)) (local.get 3))))
  (func $product (param i64 i64) (result i64)
    (i64.mul (local.get 0) (i64.add (local.get 1) (i64.const 77))))
)
(assert_return (invoke "fill" (i64.const 1) (i64.const 2) (i64.const 3) (i64.const 4)) (i64.const 406))
(assert_return (invoke "if" (i32.const 0) (i64.const 70)) (i64.const 71))
(assert_return (invoke "if" (i32.const 1) (i64.const 71)) (i64.const 72))
(assert_return (invoke "block" (i32.const 1) (i64.const 72)) (i64.const 73))
(assert_return (invoke "block" (i32.const 0) (i64.const 73)) (i64.const 74))
(assert_return (invoke "loop" (i32.const 0) (i64.const 74)) (i64.const 75))
(assert_return (invoke "loop" (i32.const 1) (i64.const 75)) (i64.const 76))
