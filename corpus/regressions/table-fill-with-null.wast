;; Guards: filling with null over live elements gives up each of them, and filling with an object
;; counts it once for every slot.
;;! host-imports = true
(module
  (import "parallax" "make" (func $make (result externref)))
  (import "parallax" "take" (func $take (param externref)))
  (import "parallax" "gc" (func $gc))
  (table $t 6 externref)
  (func (export "make")
    (table.fill $t (i32.const 0) (call $make) (i32.const 3))
    (table.set $t (i32.const 3) (call $make))
    (table.set $t (i32.const 4) (table.get $t (i32.const 3))))
  (func (export "fill") (param i32 externref i32)
    (table.fill $t (local.get 0) (local.get 1) (local.get 2)))
  (func (export "get") (param i32) (result externref) (table.get $t (local.get 0))))

(assert_return (invoke "make"))
(assert_return (invoke "fill" (i32.const 1) (ref.null extern) (i32.const 3)))
(assert_return (invoke "get" (i32.const 0)) (ref.extern 1000000))
(assert_return (invoke "get" (i32.const 3)) (ref.null extern))
(assert_return (invoke "get" (i32.const 4)) (ref.extern 1000001))
(assert_return (invoke "fill" (i32.const 0) (ref.null extern) (i32.const 6)))
(assert_return (invoke "make"))
(assert_return (invoke "fill" (i32.const 0) (ref.extern 7) (i32.const 6)))
(assert_return (invoke "fill" (i32.const 6) (ref.extern 8) (i32.const 0)))
(assert_trap (invoke "fill" (i32.const 4) (ref.null extern) (i32.const 3)) "out of bounds table access")
(assert_return (invoke "get" (i32.const 5)) (ref.extern 7))
