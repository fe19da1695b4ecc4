;; Guards: what is defined before a loop and used at the top of it alone keeps its stack slot for as long as
;; the loop runs, whatever is defined further down and used behind it. cranelift-frontend 0.112 gives
;; both the same slot, and the second collection found a null where the object was (the environment sees to
;; that by now; fixed upstream in 2026, bytecodealliance/wasmtime#13498). Found by case 16220 of seed 1001.
;;! host-imports = true
(module
  (import "parallax" "gc" (func $gc))
  (import "parallax" "make" (func $make (result externref)))
  (table $t 1 externref)
  (global $kept (mut externref) (ref.null extern))
  (func (export "null-behind") (param $object externref) (result externref externref)
    (local $other externref) (local $times i32)
    (local.set $times (i32.const 3))
    (loop $again
      (call $gc)
      (global.set $kept (local.get $object))
      (table.set $t (i32.const 0) (local.get $object))
      (local.set $other (ref.null extern))
      (br_if $again (local.tee $times (i32.sub (local.get $times) (i32.const 1)))))
    (call $gc)
    (global.get $kept)
    (local.get $other))
  (func (export "alone") (result externref)
    (local $object externref) (local $other externref) (local $times i32)
    (local.set $object (call $make))
    (local.set $times (i32.const 3))
    (loop $again
      (call $gc)
      (table.set $t (i32.const 0) (local.get $object))
      (table.set $t (i32.const 0) (ref.null extern))
      (local.set $other (ref.null extern))
      (br_if $again (local.tee $times (i32.sub (local.get $times) (i32.const 1)))))
    (call $gc)
    (local.get $other)))

(assert_return (invoke "null-behind" (ref.extern 1)) (ref.extern 1) (ref.null extern))
(assert_return (invoke "alone") (ref.null extern))
