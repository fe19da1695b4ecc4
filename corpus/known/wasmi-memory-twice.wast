;; A module imports one memory under two indices, grows it by the second, and goes on by the first. The
;; store goes to where the memory was before, and is lost.
;;
;; Layer: the reference, wasmi 2.0.0, execution. Found by: generated cases, in the hunt for old bugs (case 151052 of
;; seed 1002), as a byte that differed. It is not counted as a divergence, since what is written to was freed, and there
;; is no telling what happens: parallax never lets wasmi get there.
;;
;; Cause: `memory.grow` has what is kept of the first memory looked up again only if it names index 0
;; (`is_default_memory`, engine/executor/handler/utils.rs).
;;
;; Where a module imports a memory twice and grows one, parallax has wasmi name it by its first index
;; (src/engine/wasmi/aliases.rs).
(module $owner
  (memory (export "m") 2 9)
  (func (export "byte") (param i32) (result i32) (i32.load8_u (local.get 0))))
(register "owner" $owner)
(module $both
  (import "owner" "m" (memory $a 2))
  (import "owner" "m" (memory $b 2))
  (func (export "grow-and-store") (param i32) (result i32)
    (memory.grow $b (i32.const 1))
    (i32.store8 $a (local.get 0) (i32.const 77))
    (i32.load8_u $b (local.get 0))
    (i32.add))
  (func (export "first-then-second") (param i32) (result i32)
    (drop (memory.grow $b (i32.const 1)))
    (i32.store8 $b (local.get 0) (i32.const 78))
    (i32.load8_u $a (local.get 0))))
(assert_return (invoke $both "grow-and-store" (i32.const 40000)) (i32.const 79))
(assert_return (invoke $owner "byte" (i32.const 40000)) (i32.const 77))
(assert_return (invoke $both "first-then-second" (i32.const 150000)) (i32.const 78))
(assert_return (invoke $owner "byte" (i32.const 150000)) (i32.const 78))
