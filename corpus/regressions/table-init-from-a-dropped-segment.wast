;; Guards: an element segment of externrefs, copied twice, and dropped. Nothing can be copied from it
;; then, but nothing at all can; and what was copied is counted once for every slot.
;;! host-imports = true
;;! host-seed = 1
(module
  (import "parallax" "make" (func $make (result externref)))
  (import "parallax" "take" (func $take (param externref)))
  (import "parallax" "gc" (func $gc))
  (import "host" "constant" (global $c externref))
  (table $t 4 externref)
  (elem $e externref (global.get $c) (ref.null extern) (global.get $c))
  (func (export "init") (param i32 i32 i32)
    (table.init $t $e (local.get 0) (local.get 1) (local.get 2)))
  (func (export "drop") (elem.drop $e))
  (func (export "set") (param i32) (table.set $t (local.get 0) (call $make)))
  (func (export "same") (param i32) (result i32 i32)
    (ref.is_null (table.get $t (local.get 0)))
    (ref.is_null (global.get $c))))

(assert_return (invoke "set" (i32.const 0)))
(assert_return (invoke "init" (i32.const 0) (i32.const 0) (i32.const 3)))
(assert_return (invoke "init" (i32.const 1) (i32.const 0) (i32.const 3)))
(assert_trap (invoke "init" (i32.const 2) (i32.const 0) (i32.const 3)) "out of bounds table access")
(assert_return (invoke "drop"))
(assert_trap (invoke "init" (i32.const 0) (i32.const 0) (i32.const 1)) "out of bounds table access")
(assert_return (invoke "init" (i32.const 4) (i32.const 0) (i32.const 0)))
(assert_trap (invoke "init" (i32.const 0) (i32.const 1) (i32.const 0)) "out of bounds table access")
(assert_return (invoke "set" (i32.const 3)))
