;; Guards: a loop that is interrupted at its header while it holds references leaves nothing behind:
;; what the activations table held for it is swept, and the instance can be used.
;;! activations-capacity = 3
;;! host-imports = true
;;! interrupt-at = 3
(module
  (import "parallax" "make" (func $make (result externref)))
  (import "parallax" "take" (func $take (param externref)))
  (import "parallax" "gc" (func $gc))
  (import "parallax" "tick" (func $tick))
  (table $t 1 externref)
  (func (export "spin") (result externref) (local externref i32)
    (local.set 1 (i32.const 9))
    (call $make)
    (loop $next (param externref) (result externref)
      (local.set 0 (call $make))
      (table.set $t (i32.const 0) (local.get 0))
      (call $gc)
      (local.set 1 (i32.sub (local.get 1) (i32.const 1)))
      (call $tick)
      (br_if $next (local.get 1))))
  (func (export "get") (result externref)
    (table.get $t (i32.const 0))))

(assert_trap (invoke "spin") "interrupt")
(assert_return (invoke "get") (ref.extern 1000003))
(assert_return (invoke "spin") (ref.extern 1000004))
(assert_return (invoke "get") (ref.extern 1000013))
