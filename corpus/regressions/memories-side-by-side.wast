;; Guards: each access goes to the memory that it names, with that one's bounds; growing one moves no
;; other; `memory.copy` between two checks each range against its own memory before it writes; two
;; imports of one memory are one, and what is known of its base and length holds for neither once it
;; has grown through the other. Offsets of segments are computed.
;;! host-imports = true
;;! memory-style = "dynamic"
(module $shared
  (memory (export "memory") 1 4))
(register "shared" $shared)

(module
  (import "shared" "memory" (memory $a 1 4))
  (import "shared" "memory" (memory $b 1 4))
  (memory $c 2)
  (memory $empty 0)
  (data (memory $c) (i32.add (i32.mul (i32.const 65536) (i32.const 2)) (i32.const -4)) "\01\02\03\04")
  (func (export "aliases") (param i32) (result i32)
    (i32.store $a (local.get 0) (i32.const 77))
    (i32.load $b (local.get 0)))
  (func (export "grown-through-the-other") (result i32 i32 i32)
    (i32.store $a (i32.const 65532) (i32.const 5))
    (drop (memory.grow $b (i32.const 1)))
    (i32.store $a (i32.const 65536) (i32.const 6))
    (i32.load $b (i32.const 65532))
    (i32.load $b (i32.const 65536))
    (memory.size $a))
  (func (export "last") (param i32) (result i32) (i32.load $c (local.get 0)))
  (func (export "of-nothing") (param i32) (result i32) (i32.load8_u $empty (local.get 0)))
  (func (export "copy-c-to-a") (param i32 i32 i32)
    (memory.copy $a $c (local.get 0) (local.get 1) (local.get 2)))
  (func (export "fill-nothing") (param i32 i32)
    (memory.fill $empty (local.get 0) (i32.const 1) (local.get 1)))
  (func (export "byte-of-a") (param i32) (result i32) (i32.load8_u $a (local.get 0))))

(assert_return (invoke "aliases" (i32.const 100)) (i32.const 77))
(assert_return (invoke "last" (i32.const 131068)) (i32.const 0x04030201))
(assert_trap (invoke "last" (i32.const 131069)) "out of bounds memory access")
(assert_trap (invoke "of-nothing" (i32.const 0)) "out of bounds memory access")
(assert_return (invoke "fill-nothing" (i32.const 0) (i32.const 0)))
(assert_trap (invoke "fill-nothing" (i32.const 0) (i32.const 1)) "out of bounds memory access")
;; The source is inside, the destination is not, and nothing is written.
(assert_trap (invoke "copy-c-to-a" (i32.const 65534) (i32.const 131068) (i32.const 4))
  "out of bounds memory access")
(assert_return (invoke "byte-of-a" (i32.const 65534)) (i32.const 0))
(assert_return (invoke "copy-c-to-a" (i32.const 65532) (i32.const 131068) (i32.const 4)))
(assert_return (invoke "byte-of-a" (i32.const 65535)) (i32.const 4))
(assert_trap (invoke "copy-c-to-a" (i32.const 0) (i32.const 131069) (i32.const 4))
  "out of bounds memory access")
(assert_return (invoke "grown-through-the-other") (i32.const 5) (i32.const 6) (i32.const 2))
