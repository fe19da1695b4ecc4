;; Guards: an object that only the stack holds outlives a collection, wherever on the stack it is
;; and wherever it came from: a host function, a table slot or a global that was overwritten since.
;;! activations-capacity = 1
;;! host-imports = true
(module
  (import "parallax" "make" (func $make (result externref)))
  (import "parallax" "take" (func $take (param externref)))
  (import "parallax" "gc" (func $gc))
  (table $t 1 externref)
  (global $g (mut externref) (ref.null extern))

  (func (export "made") (result externref)
    (call $make)
    (call $gc))

  (func (export "in-a-local") (result externref) (local externref)
    (local.set 0 (call $make))
    (call $gc)
    (call $gc)
    (local.get 0))

  (func (export "out-of-a-slot") (result externref)
    (table.set $t (i32.const 0) (call $make))
    (table.get $t (i32.const 0))
    (table.set $t (i32.const 0) (ref.null extern))
    (call $gc))

  (func (export "out-of-a-global") (result externref)
    (global.set $g (call $make))
    (global.get $g)
    (global.set $g (ref.null extern))
    (call $gc))

  ;; The reference waits in this frame while another one collects.
  (func $collect (param externref)
    (call $gc)
    (call $take (local.get 0)))
  (func (export "in-an-outer-frame") (result externref)
    (call $make)
    (call $collect (call $make)))

  (func (export "several") (result externref externref externref)
    (call $make) (call $make) (call $make)
    (call $gc)
    (call $take (call $make))))

(assert_return (invoke "made") (ref.extern 1000000))
(assert_return (invoke "in-a-local") (ref.extern 1000001))
(assert_return (invoke "out-of-a-slot") (ref.extern 1000002))
(assert_return (invoke "out-of-a-global") (ref.extern 1000003))
(assert_return (invoke "in-an-outer-frame") (ref.extern 1000004))
(assert_return (invoke "several")
  (ref.extern 1000006) (ref.extern 1000007) (ref.extern 1000008))
