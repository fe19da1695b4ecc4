;; Guards: the result of a `select` of externrefs is in the stack map of a call that it is live
;; across. cranelift-wasm 0.112 declares block parameters to stack maps, but not this.
;;! host-imports = true
(module
  (import "parallax" "make" (func $make (result externref)))
  (import "parallax" "take" (func $take (param externref)))
  (import "parallax" "gc" (func $gc))
  (func (export "f") (param i32) (result externref)
    (select (result externref) (call $make) (call $make) (local.get 0))
    (call $gc)))

(assert_return (invoke "f" (i32.const 1)) (ref.extern 1000000))
(assert_return (invoke "f" (i32.const 0)) (ref.extern 1000003))
