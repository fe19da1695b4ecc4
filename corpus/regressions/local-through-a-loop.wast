;; Guards: a local that is set before a loop and read behind it is in the stack maps of calls in
;; between. SSA construction makes block parameters for it on the way, of which cranelift-frontend
;; 0.112 declares only the one that the read yields.
;;! host-imports = true
(module
  (import "parallax" "make" (func $make (result externref)))
  (import "parallax" "take" (func $take (param externref)))
  (import "parallax" "gc" (func $gc))
  (table $t 1 externref)
  (func (export "f") (param $kept externref) (param $twice i32) (result externref) (local $left i32)
    (if (local.get $twice)
      (then
        (local.set $kept (call $make))
        (local.set $left (i32.const 3))
        (loop $next
          (drop (table.get $t (i32.const 0)))
          (local.set $left (i32.sub (local.get $left) (i32.const 1)))
          (br_if $next (local.get $left)))
        (call $gc)))
    (local.get $kept)))

(assert_return (invoke "f" (ref.extern 1) (i32.const 1)) (ref.extern 1000000))
(assert_return (invoke "f" (ref.extern 1) (i32.const 0)) (ref.extern 1))
