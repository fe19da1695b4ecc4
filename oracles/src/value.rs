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
    /// Whether two engines that showed `self` and `other` agree: bit for bit, except that any
    /// NaN equals any NaN of the same width (WebAssembly core specification, "NaN propagation",
    /// leaves sign and payload open), and that a vector agrees when all its 32-bit or all its
    /// 64-bit float lanes do.
    pub fn agrees(&self, other: &Value) -> bool {
        match (*self, *other) {
            (Value::F32(a), Value::F32(b)) => a == b || (nan32(a) && nan32(b)),
            (Value::F64(a), Value::F64(b)) => a == b || (nan64(a) && nan64(b)),
            (Value::V128(a), Value::V128(b)) => {
                a == b
                    || (0..4).all(|lane| {
                        let (a, b) = ((a >> (32 * lane)) as u32, (b >> (32 * lane)) as u32);
                        a == b || (nan32(a) && nan32(b))
                    })
                    || (0..2).all(|lane| {
                        let (a, b) = ((a >> (64 * lane)) as u64, (b >> (64 * lane)) as u64);
                        a == b || (nan64(a) && nan64(b))
                    })
            }
            (Value::Dangling, _) | (_, Value::Dangling) => false,
            (a, b) => a == b,
        }
    }

    /// Whether this is a reference, null or not.
    pub fn is_reference(&self) -> bool {
        matches!(self, Value::Func(_) | Value::Extern(_) | Value::Dangling)
    }
}

fn nan32(bits: u32) -> bool {
    f32::from_bits(bits).is_nan()
}

fn nan64(bits: u64) -> bool {
    f64::from_bits(bits).is_nan()
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
