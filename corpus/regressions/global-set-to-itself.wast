;; Guards: an externref global that is overwritten by what it holds, while nothing else holds that.
;;! activations-capacity = 1
;;! host-imports = true
(module
  (import "parallax" "make" (func $make (result externref)))
  (import "parallax" "take" (func $take (param externref)))
  (import "parallax" "gc" (func $gc))
  (global $g (export "g") (mut externref) (ref.null extern))
  (func (export "set") (global.set $g (call $make)))
  (func (export "again") (global.set $g (global.get $g)))
  (func (export "again-collected")
    (global.get $g)
    (call $gc)
    (global.set $g))
  (func (export "null-and-back")
    (global.get $g)
    (global.set $g (ref.null extern))
    (call $gc)
    (global.set $g)))

(assert_return (invoke "set"))
(assert_return (invoke "again"))
(assert_return (get "g") (ref.extern 1000000))
(assert_return (invoke "again-collected"))
(assert_return (invoke "null-and-back"))
(assert_return (get "g") (ref.extern 1000000))
(assert_return (invoke "set"))
(assert_return (get "g") (ref.extern 1000001))
