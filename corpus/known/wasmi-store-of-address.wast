;; A store of a local at the address that the same local holds panics in translation.
;;
;; Layer: the reference, wasmi 2.0.0, translation. Found by: generated cases (18,686 of seed 32), as an
;; engine that fails.
;;
;; Cause: `choose_store_op_vt` looks for an operator by where address and value are. If both are the same
;; local, and that is in its register, there is none for integers (`store_rr`), and what it does then is
;; `unreachable!()`. Of the first memory and an offset below 2^16 the form before it takes care of that.
(module
  (memory (export "first") 1)
  (memory (export "second") 1)
  (func (export "other memory") (param i32) (local i32)
    (local.tee 1 (i32.add (local.get 0) (i32.const 4)))
    (local.get 1)
    (i32.store 1))
  (func (export "large offset") (param i32) (result i32) (local i32)
    (local.tee 1 (i32.and (local.get 0) (i32.const 0)))
    (local.get 1)
    (i32.store offset=65528)
    (i32.load offset=65528 (i32.const 0)))
  (func (export "far") (param i32) (local i32)
    (local.tee 1 (i32.add (local.get 0) (i32.const 1)))
    (local.get 1)
    (i32.store offset=65536))
  (func (export "load") (param i32) (result i32) (i32.load 1 (local.get 0))))
(assert_return (invoke "other memory" (i32.const 4)))
(assert_return (invoke "load" (i32.const 8)) (i32.const 8))
(assert_return (invoke "large offset" (i32.const 5)) (i32.const 0))
(assert_trap (invoke "far" (i32.const 5)) "out of bounds memory access")
