;; Guards: functions that call each other in tail position take no more stack the longer they do, in any
;; engine. The reference, built with AddressSanitizer, took native stack for each call, and ended the
;; process; where this is a seed, so without end, that is what it shows.
(module
  (type $count (func (param i32) (result i32)))
  (table 2 funcref)
  (elem (i32.const 0) func $even $odd)
  (func $even (export "even") (param i32) (result i32)
    (if (i32.eqz (local.get 0)) (then (return (i32.const 1))))
    (return_call $odd (i32.sub (local.get 0) (i32.const 1))))
  (func $odd (export "odd") (param i32) (result i32)
    (if (i32.eqz (local.get 0)) (then (return (i32.const 0))))
    (return_call_indirect (type $count)
      (i32.sub (local.get 0) (i32.const 1)) (i32.const 0)))
  (func $without-end (export "without-end") (return_call $without-end)))

(assert_return (invoke "even" (i32.const 40000)) (i32.const 1))
(assert_return (invoke "odd" (i32.const 40000)) (i32.const 0))
