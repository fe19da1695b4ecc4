;; Guards: relaxed vector instructions do what the specification calls deterministic, in every engine:
;; multiplication and addition round once, indices of a swizzle beyond the vector give zero, a
;; selection goes bit by bit, conversions saturate, a product of the two least numbers saturates.
(module
  (func (export "madd") (param v128 v128 v128) (result v128)
    (f32x4.relaxed_madd (local.get 0) (local.get 1) (local.get 2)))
  (func (export "nmadd") (param v128 v128 v128) (result v128)
    (f64x2.relaxed_nmadd (local.get 0) (local.get 1) (local.get 2)))
  (func (export "swizzle") (param v128 v128) (result v128)
    (i8x16.relaxed_swizzle (local.get 0) (local.get 1)))
  (func (export "select") (param v128 v128 v128) (result v128)
    (i16x8.relaxed_laneselect (local.get 0) (local.get 1) (local.get 2)))
  (func (export "trunc") (param v128) (result v128)
    (i32x4.relaxed_trunc_f32x4_s (local.get 0)))
  (func (export "trunc-u") (param v128) (result v128)
    (i32x4.relaxed_trunc_f64x2_u_zero (local.get 0)))
  (func (export "min") (param v128 v128) (result v128)
    (f32x4.relaxed_min (local.get 0) (local.get 1)))
  (func (export "mulr") (param v128 v128) (result v128)
    (i16x8.relaxed_q15mulr_s (local.get 0) (local.get 1)))
  (func (export "dot") (param v128 v128 v128) (result v128)
    (i32x4.relaxed_dot_i8x16_i7x16_add_s (local.get 0) (local.get 1) (local.get 2))))

;; 0x1.000002p+0 squared and less 0x1.000004p+0: nothing is left if the product is rounded.
(assert_return (invoke "madd"
    (v128.const f32x4 0x1.000002p+0 1 inf 3) (v128.const f32x4 0x1.000002p+0 2 1 4)
    (v128.const f32x4 -0x1.000004p+0 3 1 5))
  (v128.const f32x4 0x1p-46 5 inf 17))
(assert_return (invoke "nmadd"
    (v128.const f64x2 0x1.0000000000001p+0 3) (v128.const f64x2 0x1.0000000000001p+0 4)
    (v128.const f64x2 0x1.0000000000002p+0 5))
  (v128.const f64x2 -0x1p-104 -7))
(assert_return (invoke "swizzle"
    (v128.const i8x16 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16)
    (v128.const i8x16 0 15 16 17 31 32 127 128 129 143 144 240 255 3 2 1))
  (v128.const i8x16 1 16 0 0 0 0 0 0 0 0 0 0 0 4 3 2))
(assert_return (invoke "select"
    (v128.const i16x8 0xffff 0xffff 0xffff 0xffff 0xffff 0xffff 0xffff 0xffff)
    (v128.const i16x8 0 0 0 0 0 0 0 0)
    (v128.const i16x8 0xffff 0 0x8000 0x7fff 0x00ff 0xff00 1 0x8080))
  (v128.const i16x8 0xffff 0 0x8000 0x7fff 0x00ff 0xff00 1 0x8080))
(assert_return (invoke "trunc" (v128.const f32x4 nan 0x1p+31 -0x1p+32 -1.5))
  (v128.const i32x4 0 0x7fffffff 0x80000000 -1))
(assert_return (invoke "trunc-u" (v128.const f64x2 -1 0x1p+32))
  (v128.const i32x4 0 0xffffffff 0 0))
(assert_return (invoke "min" (v128.const f32x4 -0.0 0.0 1 -inf) (v128.const f32x4 0.0 -0.0 2 inf))
  (v128.const f32x4 -0.0 -0.0 1 -inf))
(assert_return (invoke "mulr"
    (v128.const i16x8 0x8000 0x8000 0x7fff 1 0 -1 0x4000 0x2000)
    (v128.const i16x8 0x8000 0x7fff 0x7fff 1 5 -1 2 4))
  (v128.const i16x8 0x7fff -32767 0x7ffe 0 0 0 1 1))
(assert_return (invoke "dot"
    (v128.const i8x16 -128 -128 -128 -128 127 127 127 127 1 2 3 4 0 0 0 0)
    (v128.const i8x16 127 127 127 127 127 127 127 127 1 2 3 4 1 1 1 1)
    (v128.const i32x4 1 2 3 4))
  (v128.const i32x4 -65023 64518 33 4))
