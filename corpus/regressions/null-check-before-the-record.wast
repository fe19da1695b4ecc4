;; Guards: of a function in a table nothing is read before it is known that there is one. What is loaded from
;; its record was marked `readonly` and may not trap; so where a store to the slot told the optimiser what the
;; slot holds, the loads moved in front of the loop, and so of the check for null, and read at address 0.
;; The reference counted as never changing, which is true, but not as being there. Found by reading: no
;; generator set a slot to a parameter and called through it in one turn of a loop.
(module
  (type $t (func))
  (type $u (func (result i32)))
  (table $t 1 funcref)
  (func $nothing)
  (func $one (result i32) (i32.const 1))
  (elem declare func $nothing $one)
  (func $run (export "run") (param $function funcref) (param $times i32)
    (loop $again
      (table.set $t (i32.const 0) (local.get $function))
      (call_indirect $t (type $t) (i32.const 0))
      (br_if $again (local.tee $times (i32.sub (local.get $times) (i32.const 1))))))
  (func (export "null") (call $run (ref.null func) (i32.const 3)))
  (func (export "nothing") (call $run (ref.func $nothing) (i32.const 3)))
  (func (export "another type") (call $run (ref.func $one) (i32.const 3)))
  (func (export "tail") (param $times i32)
    (loop $again
      (table.set $t (i32.const 0) (ref.null func))
      (if (i32.eqz (local.get $times)) (then (call_indirect $t (type $u) (i32.const 0)) (return (drop))))
      (br_if $again (local.tee $times (i32.sub (local.get $times) (i32.const 1)))))))
(assert_trap (invoke "run" (ref.null func) (i32.const 1)) "uninitialized element")
(assert_trap (invoke "null") "uninitialized element")
(assert_return (invoke "nothing"))
(assert_trap (invoke "another type") "indirect call type mismatch")
(assert_return (invoke "tail" (i32.const 1)))
(assert_trap (invoke "tail" (i32.const 0)) "uninitialized element")
