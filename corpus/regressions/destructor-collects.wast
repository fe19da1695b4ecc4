;; Guards: a destructor that collects, also one that a collection runs. It must find what the stack
;; holds, but not the object that is being dropped.
;;! activations-capacity = 2
;;! destructor = "collect"
;;! host-imports = true
(module
  (import "parallax" "make" (func $make (result externref)))
  (import "parallax" "take" (func $take (param externref)))
  (import "parallax" "gc" (func $gc))
  (table $t 4 externref)
  (table $f 2 funcref)
  (global $g (mut externref) (ref.null extern))

  ;; Sets every kind of slot to a new object: what was there has no other owner.
  (func (export "set-all")
    (table.set $t (i32.const 0) (call $make))
    (table.set $t (i32.const 1) (call $make))
    (global.set $g (call $make))
    (table.fill $t (i32.const 2) (call $make) (i32.const 2)))

  ;; The same with references on the stack that only the stack holds.
  (func (export "set-all-holding") (result externref externref) (local externref)
    (call $make)
    (local.set 0 (call $make))
    (table.set $t (i32.const 0) (call $make))
    (table.set $t (i32.const 1) (table.get $t (i32.const 0)))
    (global.set $g (table.get $t (i32.const 0)))
    (table.fill $t (i32.const 1) (call $make) (i32.const 3))
    (table.copy $t $t (i32.const 0) (i32.const 1) (i32.const 3))
    (local.get 0))

  (func (export "clear")
    (global.set $g (ref.null extern))
    (table.fill $t (i32.const 0) (ref.null extern) (i32.const 4)))

  (func (export "get") (param i32) (result externref) (table.get $t (local.get 0)))
  (func (export "global") (result externref) (global.get $g)))

(assert_return (invoke "set-all"))
(assert_return (invoke "set-all"))
(assert_return (invoke "get" (i32.const 0)) (ref.extern 1000004))
(assert_return (invoke "get" (i32.const 3)) (ref.extern 1000007))
(assert_return (invoke "global") (ref.extern 1000006))
(assert_return (invoke "set-all-holding") (ref.extern 1000008) (ref.extern 1000009))
(assert_return (invoke "get" (i32.const 0)) (ref.extern 1000011))
(assert_return (invoke "global") (ref.extern 1000010))
(assert_return (invoke "clear"))
(assert_return (invoke "get" (i32.const 3)) (ref.null extern))
(assert_return (invoke "set-all"))
