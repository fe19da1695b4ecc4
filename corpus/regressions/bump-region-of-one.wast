;; Guards: a bump region of one reference, so that every second read of a table takes the slow path
;; and collects: what was read before stays alive, what nobody holds any more goes.
;;! activations-capacity = 1
;;! host-imports = true
(module
  (import "parallax" "make" (func $make (result externref)))
  (import "parallax" "take" (func $take (param externref)))
  (import "parallax" "gc" (func $gc))
  (table $t 4 externref)
  (func (export "fill") (local i32)
    (loop $next
      (table.set $t (local.get 0) (call $make))
      (local.set 0 (i32.add (local.get 0) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get 0) (i32.const 4)))))
  ;; All four are read, then their slots are cleared, and only then are they used.
  (func (export "read") (result externref externref externref externref)
    (table.get $t (i32.const 0))
    (table.get $t (i32.const 1))
    (table.get $t (i32.const 2))
    (table.get $t (i32.const 3))
    (table.fill $t (i32.const 0) (ref.null extern) (i32.const 4)))
  ;; The same object is read over and over.
  (func (export "read-again") (result externref) (local i32 externref)
    (local.set 0 (i32.const 50))
    (loop $next
      (local.set 1 (table.get $t (i32.const 0)))
      (drop (table.get $t (i32.const 1)))
      (local.set 0 (i32.sub (local.get 0) (i32.const 1)))
      (br_if $next (local.get 0)))
    (table.set $t (i32.const 0) (ref.null extern))
    (drop (table.get $t (i32.const 1)))
    (local.get 1)))

(assert_return (invoke "fill"))
(assert_return (invoke "read")
  (ref.extern 1000000) (ref.extern 1000001) (ref.extern 1000002) (ref.extern 1000003))
(assert_return (invoke "fill"))
(assert_return (invoke "read-again") (ref.extern 1000004))
