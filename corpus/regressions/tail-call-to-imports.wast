;; Guards: a tail call leaves to another module's function and to the host with the vmctx that those
;; have, and returns to whoever called the function that it left.
;;! host-imports = true
(module $other
  (memory (export "memory") 1)
  (global $g (mut i32) (i32.const 100))
  (func (export "sum") (param i32 i32) (result i32)
    (global.set $g (i32.add (global.get $g) (i32.const 1)))
    (i32.store8 (local.get 0) (local.get 1))
    (i32.add (i32.add (local.get 0) (local.get 1)) (global.get $g))))
(register "other" $other)

(module
  (import "other" "sum" (func $sum (param i32 i32) (result i32)))
  (import "parallax" "make" (func $make (result externref)))
  (import "parallax" "take" (func $take (param externref)))
  (global $g (mut i32) (i32.const 7))
  (memory 1)
  (table 3 funcref)
  (elem (i32.const 0) func $sum $make $take)
  (func $direct (param i32) (result i32)
    (return_call $sum (local.get 0) (i32.const 5)))
  (func $indirect (param i32) (result i32)
    (return_call_indirect (param i32 i32) (result i32)
      (local.get 0) (i32.const 6) (i32.const 0)))
  (func $makes (result externref) (return_call $make))
  (func $makes-indirectly (result externref)
    (return_call_indirect (result externref) (i32.const 1)))
  (func (export "direct") (param i32) (result i32)
    ;; What the caller has in registers and in its vmctx is its own again afterwards.
    (i32.mul (call $direct (local.get 0)) (global.get $g)))
  (func (export "indirect") (param i32) (result i32)
    (i32.mul (call $indirect (local.get 0)) (global.get $g)))
  (func (export "make") (result externref externref)
    (call $makes) (call $makes-indirectly))
  (func (export "take") (param externref)
    (return_call_indirect (param externref) (local.get 0) (i32.const 2)))
  (func (export "byte") (param i32) (result i32) (i32.load8_u (local.get 0))))

(assert_return (invoke "direct" (i32.const 10)) (i32.const 812))
(assert_return (invoke "indirect" (i32.const 10)) (i32.const 826))
(assert_return (invoke "make") (ref.extern 1000000) (ref.extern 1000001))
(assert_return (invoke "take" (ref.extern 5)))
(assert_return (invoke "byte" (i32.const 10)) (i32.const 0))
