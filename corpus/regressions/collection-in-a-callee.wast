;; Guards: a callee that collects before anything else finds what its caller holds on the operand
;; stack, in locals, and in arguments that do not fit into registers.
;;! activations-capacity = 1
;;! host-imports = true
(module
  (import "parallax" "make" (func $make (result externref)))
  (import "parallax" "take" (func $take (param externref)))
  (import "parallax" "gc" (func $gc))
  (type $many (func (param externref externref externref externref externref externref externref
                           externref) (result externref externref)))
  (table $f 1 funcref)
  (elem (i32.const 0) func $many)

  (func $many (type $many)
    (call $gc)
    (local.get 0)
    (local.get 7))

  (func (export "direct") (result externref externref externref)
    (call $make)
    (call $many (call $make) (ref.null extern) (call $make) (ref.null extern)
                (call $make) (ref.null extern) (call $make) (call $make)))

  (func (export "indirect") (result externref externref externref)
    (call $make)
    (call_indirect (type $many)
      (call $make) (ref.null extern) (call $make) (ref.null extern)
      (call $make) (ref.null extern) (call $make) (call $make) (i32.const 0)))

  ;; Every frame holds one, down to where it is collected.
  (func $down (param i32) (result i32)
    (if (result i32) (i32.eqz (local.get 0))
      (then (call $gc) (i32.const 0))
      (else
        (call $make)
        (call $down (i32.sub (local.get 0) (i32.const 1)))
        (i32.add (i32.const 1))
        (local.set 0)
        (call $take)
        (local.get 0))))
  (func (export "deep") (result i32) (call $down (i32.const 12))))

(assert_return (invoke "direct")
  (ref.extern 1000000) (ref.extern 1000001) (ref.extern 1000005))
(assert_return (invoke "indirect")
  (ref.extern 1000006) (ref.extern 1000007) (ref.extern 1000011))
(assert_return (invoke "deep") (i32.const 12))
