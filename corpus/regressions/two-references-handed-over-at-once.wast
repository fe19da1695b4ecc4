;; Guards: of several references that the host hands to wasm in one call, as arguments or as
;; results, none is lost to a collection that the next one sets off. Neither is on a stack that can
;; be walked yet.
;;! activations-capacity = 1
;;! host-imports = true
;;! host-seed = 3
(module
  (import "parallax" "make" (func $make (result externref)))
  (import "parallax" "take" (func $take (param externref)))
  (import "parallax" "gc" (func $gc))
  (import "host" "four" (func $four (result externref externref externref externref)))
  (table $t 2 externref)

  (func (export "arguments") (param externref externref externref) (result i32)
    (call $gc)
    (call $take (local.get 2))
    (call $take (local.get 1))
    (call $take (local.get 0))
    (ref.is_null (local.get 1)))

  (func (export "results") (local externref externref externref externref)
    (call $four)
    (local.set 0) (local.set 1) (local.set 2) (local.set 3)
    (call $gc)
    (call $take (local.get 0))
    (call $take (local.get 1))
    (call $take (local.get 2))
    (call $take (local.get 3)))

  ;; The read barrier's slow path collects while the results of the call wait.
  (func (export "results-then-reads")
    (table.set $t (i32.const 0) (call $make))
    (table.set $t (i32.const 1) (call $make))
    (call $four)
    (call $take (table.get $t (i32.const 0)))
    (call $take (table.get $t (i32.const 1)))
    (call $take) (call $take) (call $take) (call $take)))

(assert_return
  (invoke "arguments" (ref.extern 1) (ref.extern 2) (ref.extern 1)) (i32.const 0))
(assert_return
  (invoke "arguments" (ref.extern 3) (ref.extern 4) (ref.null extern)) (i32.const 0))
(assert_return (invoke "results"))
(assert_return (invoke "results"))
(assert_return (invoke "results-then-reads"))
(assert_return (invoke "results-then-reads"))
