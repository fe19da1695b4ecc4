;; `table.fill` with null over a host object does not give the object up.
;;
;; Layer: Wasmtime 48.0.8, translation. Found by: generated cases of engines `wasmtime` and `pulley`, one in
;; 1,000, as objects that are alive after a collection though nothing holds them.
;;
;; Cause: a fill by a bit pattern that repeats one byte becomes a `memset` where the entity allows that
;; (`CheckedEntity::allows_memset` in func_environ.rs). For an array it depends on the element type, since
;; references need barriers. For a table it depends on lazy initialisation alone, which only tables of
;; functions have: with `table_lazy_init(false)`, tables of externrefs are filled with null by `memset`,
;; too, and what they held keeps its count until the store is dropped. With a collector that does not count
;; nothing is wrong.
;;
;; The host's seed chooses that configuration (src/engine/wasmtime/config.rs).
;;! host-imports = true
;;! host-seed = 17592186044416
(module
  (import "parallax" "make" (func $make (result externref)))
  (table $t 2 externref)
  (func (export "fill")
    (table.set $t (i32.const 0) (call $make))
    (table.fill $t (i32.const 0) (ref.null extern) (i32.const 2)))
  (func (export "set")
    (table.set $t (i32.const 0) (call $make))
    (table.set $t (i32.const 0) (ref.null extern)))
)
(assert_return (invoke "set"))
(assert_return (invoke "fill"))
