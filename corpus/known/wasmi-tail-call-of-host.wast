;; A function that leaves by a tail call of the host's, which takes and returns nothing, is called by
;; one that has no value on its stack. That goes on with a stack pointer that points nowhere.
;;
;; Layer: the reference, wasmi 2.0.0, execution. Found by: generated cases. It is not counted as a
;; divergence, since by then there is no telling what happens: parallax never lets wasmi get there.
;;
;; Cause: `return_prepare_host_frame` (engine/executor/handler/state.rs) returns a dangling stack
;; pointer if the caller's frame begins where that of the function does that is left. It means to tell
;; so that there is no caller; but one without locals and values on its stack begins there as well.
;;
;; Where a case has tail calls, parallax has wasmi run its functions with one more local each
;; (src/engine/wasmi/frames.rs).
;;! host-imports = true
(module
  (import "host" "nothing" (func $nothing))
  (table 1 funcref)
  (elem (i32.const 0) func $nothing)
  (func $leaves (return_call $nothing))
  (func $leaves-indirectly (return_call_indirect (i32.const 0)))
  (func (export "direct") (result i32) (call $leaves) (i32.const 5))
  (func (export "indirect") (result i32) (call $leaves-indirectly) (i32.const 6))
  (func $passes (result i32) (call $leaves) (i32.const 7))
  (func (export "passed") (result i32) (return_call $passes)))
(assert_return (invoke "direct") (i32.const 5))
(assert_return (invoke "indirect") (i32.const 6))
(assert_return (invoke "passed") (i32.const 7))
