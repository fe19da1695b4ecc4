//! The closed set of values an engine can show.
//!
//! Values are engine-independent: a function is named by where it is defined, a host object by
//! its number, floats by their bits. Two engines that behave alike therefore show equal values.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The number of a host object. Numbers are given out in the order of creation, which is the
/// same in every engine that behaves alike, and never twice in a case: an object that was dropped
/// does not come back under its number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct ObjectId(pub u32);

/// Which function a `funcref` designates, whatever record or handle an engine uses for it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum FuncIdentity {
    /// A function defined by the module of an instance.
    Defined {
        /// The instance, counted in order of instantiation.
        instance: u32,
        /// The function's index in that module's function index space.
        index: u32,
    },
    /// A host function, by its position among the case's host items.
    Host(u32),
}

/// Which NaNs agree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Nans {
    /// Those of the same bits: wherever arithmetic leaves sign and payload open, both engines make the
    /// canonical NaN.
    Canonical,
    /// Any quiet ones of the same width.
    Any,
}

/// One WebAssembly value as an engine shows it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Value {
    /// A 32-bit integer.
    I32(i32),
    /// A 64-bit integer.
    I64(i64),
    /// A 32-bit float, by its bits.
    F32(u32),
    /// A 64-bit float, by its bits.
    F64(u64),
    /// A vector, little-endian (lane 0 in the lowest bits).
    V128(u128),
    /// A function reference; `None` is null.
    Func(Option<FuncIdentity>),
    /// A reference to a host object; `None` is null.
    Extern(Option<ObjectId>),
    /// A bit pattern in the place of a reference that is neither null nor any live function or
    /// object. No correct engine ever shows one.
    Dangling,
}

impl Value {
    /// Whether two engines that showed `self` and `other` agree: bit for bit, except that with
    /// [`Nans::Any`] any quiet NaN equals any of the same width. WebAssembly leaves sign and payload of
    /// a NaN that arithmetic makes open, but not that it is quiet (core specification, "NaN
    /// propagation"); signalling ones are only ever passed on. A vector agrees with them when all its
    /// 32-bit or all its 64-bit float lanes do. What its lanes are meant to be does not show, so small
    /// negative integers agree with each other there as well.
    pub fn agrees(&self, other: &Value, nans: Nans) -> bool {
        let alike = match (*self, *other) {
            (Value::Dangling, _) | (_, Value::Dangling) => false,
            (a, b) => a == b,
        };
        alike
            || nans == Nans::Any
                && match (*self, *other) {
                    (Value::F32(a), Value::F32(b)) => alike32(a, b),
                    (Value::F64(a), Value::F64(b)) => alike64(a, b),
                    (Value::V128(a), Value::V128(b)) => {
                        let lane32 = |bits: u128, lane: u32| (bits >> (32 * lane)) as u32;
                        let lane64 = |bits: u128, lane: u32| (bits >> (64 * lane)) as u64;
                        (0..4).all(|lane| alike32(lane32(a, lane), lane32(b, lane)))
                            || (0..2).all(|lane| alike64(lane64(a, lane), lane64(b, lane)))
                    }
                    _ => false,
                }
    }

    /// Whether this is a reference, null or not.
    pub fn is_reference(&self) -> bool {
        matches!(self, Value::Func(_) | Value::Extern(_) | Value::Dangling)
    }
}

/// Whether two floats are the same, or both quiet NaNs.
fn alike32(a: u32, b: u32) -> bool {
    const QUIET: u32 = 0x7fc0_0000;
    a == b || (a & QUIET == QUIET && b & QUIET == QUIET)
}

/// The same of wider ones.
fn alike64(a: u64, b: u64) -> bool {
    const QUIET: u64 = 0x7ff8_0000_0000_0000;
    a == b || (a & QUIET == QUIET && b & QUIET == QUIET)
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Value::I32(v) => write!(f, "i32 {v} ({v:#010x})"),
            Value::I64(v) => write!(f, "i64 {v} ({v:#018x})"),
            Value::F32(bits) => write!(f, "f32 {:?} ({bits:#010x})", f32::from_bits(bits)),
            Value::F64(bits) => write!(f, "f64 {:?} ({bits:#018x})", f64::from_bits(bits)),
            Value::V128(bits) => write!(f, "v128 {bits:#034x}"),
            Value::Func(None) => f.write_str("null funcref"),
            Value::Func(Some(id)) => write!(f, "funcref {id}"),
            Value::Extern(None) => f.write_str("null externref"),
            Value::Extern(Some(id)) => write!(f, "externref {id}"),
            Value::Dangling => f.write_str("dangling reference"),
        }
    }
}

impl fmt::Display for FuncIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FuncIdentity::Defined { instance, index } => {
                write!(f, "function {index} of instance {instance}")
            }
            FuncIdentity::Host(item) => write!(f, "host item {item}"),
        }
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "object {}", self.0)
    }
}
