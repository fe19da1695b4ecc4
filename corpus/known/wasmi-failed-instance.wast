;; A function that a module left in a shared table before its instantiation failed reads beyond the
;; end of what its instance was to be.
;;
;; Layer: the reference, wasmi 2.0.0, instantiation. Found by: generated cases. It is not counted as
;; a divergence, since by then there is no telling what happens: parallax never lets wasmi get there.
;;
;; Cause: `Module::instantiate` allocates a placeholder that holds no memories, tables, globals or
;; functions (`InstanceEntity::new_uninit`), makes the module's functions refer to it, applies the
;; active segments, and puts the instance in its place only then (`initialize_instance`). If a
;; segment is out of bounds, the placeholder stays. What segments before it wrote to an imported
;; table stays as well, as it must, and so the function can be called. In code, wasmi looks things
;; up in the instance without checking bounds, and reads beyond the placeholder.
;;
;; parallax instantiates such a module with the segments from the failing one on made passive, which
;; leaves the same things behind, and reports the trap itself (src/engine/wasmi/segments.rs).
(module $a
  (type $get (func (result i32)))
  (table (export "table") 4 funcref)
  (func (export "call") (param i32) (result i32)
    (call_indirect (type $get) (local.get 0))))
(register "a" $a)
(assert_trap
  (module
    (import "a" "table" (table 4 funcref))
    (global $g (mut i32) (i32.const 42))
    (memory 1)
    (func $get (result i32)
      (i32.add (global.get $g) (i32.load (i32.const 0))))
    (elem (i32.const 0) $get)
    (data (i32.const 0) "\01")
    (data (i32.const 65536) "\01"))
  "out of bounds memory access")
(assert_return (invoke $a "call" (i32.const 0)) (i32.const 43))
(assert_trap (invoke $a "call" (i32.const 1)) "uninitialized element")
