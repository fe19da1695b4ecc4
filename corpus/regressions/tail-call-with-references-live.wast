;; Guards: references that are arguments of a tail call, and nowhere else any more, are found by a
;; collection in the callee; through a table, to a function with more and with fewer of them on the
;; stack than the caller has, again and again in one frame. What the caller held besides is not kept.
;;! activations-capacity = 1
;;! host-imports = true
(module
  (import "parallax" "make" (func $make (result externref)))
  (import "parallax" "gc" (func $gc))
  (type $few (func (param externref) (result externref externref)))
  (type $many (func (param externref externref externref externref externref externref externref
                           externref externref externref i32) (result externref externref)))
  (table $f 2 funcref)
  (elem (i32.const 0) func $collects $collects-many)

  (func $collects (type $few)
    (call $gc)
    (local.get 0)
    (local.get 0))
  (func $collects-many (type $many)
    (call $gc)
    (local.get 0)
    (local.get 9))

  (func (export "few") (result externref externref)
    (local externref)
    (local.set 0 (call $make))
    (return_call_indirect (type $few) (call $make) (i32.const 0)))

  ;; More of the arguments lie on the stack than the caller has.
  (func (export "many") (param externref) (result externref externref)
    (return_call_indirect (type $many)
      (call $make) (local.get 0) (call $make) (ref.null extern) (local.get 0)
      (call $make) (ref.null extern) (local.get 0) (ref.null extern) (call $make)
      (i32.const 0) (i32.const 1)))

  ;; Fewer.
  (func $many-to-few (type $many)
    (return_call_indirect (type $few) (local.get 9) (i32.const 0)))
  (func (export "fewer") (result externref externref)
    (call $many-to-few
      (call $make) (call $make) (call $make) (ref.null extern) (call $make)
      (call $make) (ref.null extern) (call $make) (ref.null extern) (call $make)
      (i32.const 0)))

  ;; The same frame, a hundred times: arguments change places, one is new, all are collected.
  (func $round (type $many)
    (call $gc)
    (if (result externref externref) (i32.eqz (local.get 10))
      (then (local.get 0) (local.get 9))
      (else
        (return_call $round
          (local.get 1) (local.get 2) (local.get 3) (local.get 4) (local.get 5)
          (local.get 6) (local.get 7) (local.get 8) (local.get 9)
          (if (result externref) (i32.and (local.get 10) (i32.const 1))
            (then (call $make))
            (else (local.get 0)))
          (i32.sub (local.get 10) (i32.const 1))))))
  (func (export "rounds") (result externref externref)
    (return_call $round
      (call $make) (call $make) (call $make) (call $make) (call $make)
      (call $make) (call $make) (call $make) (call $make) (call $make)
      (i32.const 20))))

(assert_return (invoke "few") (ref.extern 1000001) (ref.extern 1000001))
(assert_return (invoke "many" (ref.extern 7)) (ref.extern 1000002) (ref.extern 1000005))
(assert_return (invoke "fewer") (ref.extern 1000012) (ref.extern 1000012))
(assert_return (invoke "rounds") (ref.extern 1000013) (ref.extern 1000032))
