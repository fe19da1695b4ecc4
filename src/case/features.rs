//! Sets of instruction set extensions that generated code may use.
//!
//! A set is closed: with a feature it has those that every processor has which has that one. On
//! paper it is a list of names, or the name of a level where it is exactly one.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;

use serde::de::value::SeqAccessDeserializer;
use serde::de::{Error, SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An extension of an instruction set.
pub trait Feature: Copy + fmt::Debug + 'static {
    /// All of them, in an order in which each comes after those that it needs.
    const ALL: &'static [Self];

    /// The sets that have a name.
    const LEVELS: &'static [(&'static str, FeatureSet<Self>)];

    /// Its name.
    fn name(self) -> &'static str;

    /// What it needs.
    fn needs(self) -> Option<Self>;

    /// Its bit in a set.
    fn bit(self) -> u32;
}

/// A closed set of features.
pub struct FeatureSet<F>(u32, PhantomData<F>);

/// The extensions of x86-64.
pub type X86Features = FeatureSet<X86Feature>;

/// The extensions of aarch64.
pub type Aarch64Features = FeatureSet<Aarch64Feature>;

/// The extensions of riscv64.
pub type Riscv64Features = FeatureSet<Riscv64Feature>;

macro_rules! features {
    (
        $(#[$doc:meta])*
        $enum:ident, levels $levels:expr;
        $( $(#[$of:meta])* $feature:ident = $name:literal $(needs $needed:ident)?, )*
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum $enum {
            $( $(#[$of])* $feature, )*
        }

        impl Feature for $enum {
            const ALL: &'static [Self] = &[ $( $enum::$feature, )* ];
            const LEVELS: &'static [(&'static str, FeatureSet<Self>)] = $levels;

            fn name(self) -> &'static str {
                match self { $( $enum::$feature => $name, )* }
            }

            fn needs(self) -> Option<Self> {
                match self {
                    $( $( $enum::$feature => Some($enum::$needed), )? )*
                    #[allow(unreachable_patterns, reason = "there may be none left")]
                    _ => None,
                }
            }

            fn bit(self) -> u32 {
                1 << self as u32
            }
        }
    };
}

features! {
    /// An extension of x86-64 beyond SSE2, as far as Cranelift uses it.
    X86Feature, levels &[
        ("sse2", X86Features::NONE),
        ("sse42", X86Features::SSE42),
        ("avx", X86Features::AVX),
        ("avx2", X86Features::AVX2),
        ("avx512", X86Features::AVX512),
    ];
    /// SSE3.
    Sse3 = "sse3",
    /// SSSE3.
    Ssse3 = "ssse3" needs Sse3,
    /// SSE4.1.
    Sse41 = "sse41" needs Ssse3,
    /// SSE4.2.
    Sse42 = "sse42" needs Sse41,
    /// `popcnt`. Cranelift uses it beside SSE4.2 only.
    Popcnt = "popcnt",
    /// AVX.
    Avx = "avx" needs Sse42,
    /// AVX2.
    Avx2 = "avx2" needs Avx,
    /// Fused multiplication and addition.
    Fma = "fma" needs Avx,
    /// `andn`, `blsi`, `blsr`, `blsmsk`, `tzcnt`.
    Bmi1 = "bmi1",
    /// `bzhi`, `rorx`, `sarx`, `shlx`, `shrx`.
    Bmi2 = "bmi2",
    /// `lzcnt`.
    Lzcnt = "lzcnt",
    /// AVX-512 Foundation.
    Avx512f = "avx512f" needs Avx2,
    /// AVX-512 DQ: 64-bit multiplication and conversions.
    Avx512dq = "avx512dq" needs Avx512f,
    /// AVX-512 VL: the above on vectors of 128 bits.
    Avx512vl = "avx512vl" needs Avx512f,
    /// AVX-512 BITALG: counts of bits.
    Avx512bitalg = "avx512bitalg" needs Avx512f,
    /// AVX-512 VBMI: permutations of bytes.
    Avx512vbmi = "avx512vbmi" needs Avx512f,
}

features! {
    /// An extension of aarch64, or a convention for code that one is for.
    Aarch64Feature, levels &[];
    /// FEAT_LSE, atomic instructions. WebAssembly 2.0 has nothing that becomes one.
    Lse = "lse",
    /// FEAT_FP16, arithmetic on half floats, whose immediates serve wider constants as well.
    Fp16 = "fp16",
    /// FEAT_PAuth: authentication and return are one instruction, where return addresses are signed
    /// by the stack pointer. Those of functions that may be tail-called are signed by zero.
    Pauth = "pauth",
    /// Return addresses are signed where they are stored.
    SignReturnAddress = "sign_return_address",
    /// Functions that do not store theirs sign it as well.
    SignReturnAddressAll = "sign_return_address_all" needs SignReturnAddress,
    /// They are signed by the second of the two keys for instructions.
    SignReturnAddressWithBkey = "sign_return_address_with_bkey" needs SignReturnAddress,
    /// FEAT_BTI: targets of indirect branches are marked.
    Bti = "bti",
}

features! {
    /// An extension of riscv64 beyond those of `g`, as far as Cranelift uses it for scalars and some
    /// machine that we have has it.
    Riscv64Feature, levels &[];
    /// Zca, instructions of 2 bytes, but for those of floats.
    Zca = "zca",
    /// Zcd, loads and stores of f64 in 2 bytes.
    Zcd = "zcd" needs Zca,
}

impl X86Features {
    /// The level `sse42`: up to SSE4.2, and `popcnt`.
    pub const SSE42: X86Features = {
        use X86Feature::*;
        Self::NONE.and(&[
            Sse3 as u32,
            Ssse3 as u32,
            Sse41 as u32,
            Sse42 as u32,
            Popcnt as u32,
        ])
    };
    /// The level `avx`.
    pub const AVX: X86Features = Self::SSE42.and(&[X86Feature::Avx as u32]);
    /// The level `avx2`.
    pub const AVX2: X86Features = {
        use X86Feature::*;
        Self::AVX.and(&[
            Avx2 as u32,
            Fma as u32,
            Bmi1 as u32,
            Bmi2 as u32,
            Lzcnt as u32,
        ])
    };
    /// The level `avx512`.
    pub const AVX512: X86Features = {
        use X86Feature::*;
        Self::AVX2.and(&[
            Avx512f as u32,
            Avx512dq as u32,
            Avx512vl as u32,
            Avx512bitalg as u32,
            Avx512vbmi as u32,
        ])
    };
}

impl<F> FeatureSet<F> {
    /// No extension.
    pub const NONE: FeatureSet<F> = FeatureSet(0, PhantomData);

    /// This set and the features of these numbers.
    const fn and(self, numbers: &[u32]) -> FeatureSet<F> {
        let mut bits = self.0;
        let mut at = 0;
        while at < numbers.len() {
            bits |= 1 << numbers[at];
            at += 1;
        }
        FeatureSet(bits, PhantomData)
    }
}

impl<F: Feature> FeatureSet<F> {
    /// The set of a level, by its name.
    pub fn level(name: &str) -> Option<FeatureSet<F>> {
        let mut levels = F::LEVELS.iter();
        levels
            .find(|(known, _)| *known == name)
            .map(|(_, set)| *set)
    }

    /// Whether a feature is in it.
    pub fn has(self, feature: F) -> bool {
        self.0 & feature.bit() != 0
    }

    /// With a feature and what that needs.
    #[must_use]
    pub fn with(self, feature: F) -> FeatureSet<F> {
        let set = FeatureSet(self.0 | feature.bit(), PhantomData);
        feature.needs().map_or(set, |needed| set.with(needed))
    }

    /// Without a feature and what needs it.
    #[must_use]
    pub fn without(self, feature: F) -> FeatureSet<F> {
        let kept = self.iter().filter(|kept| {
            let mut chain = Some(*kept);
            std::iter::from_fn(|| {
                let this = chain?;
                chain = this.needs();
                Some(this)
            })
            .all(|needed| needed.bit() != feature.bit())
        });
        kept.fold(FeatureSet::NONE, FeatureSet::with)
    }

    /// With a feature if it is not there, or without it.
    #[must_use]
    pub fn toggle(self, feature: F) -> FeatureSet<F> {
        if self.has(feature) {
            self.without(feature)
        } else {
            self.with(feature)
        }
    }

    /// Its features, in the order of [`Feature::ALL`].
    pub fn iter(self) -> impl Iterator<Item = F> {
        F::ALL.iter().copied().filter(move |&of| self.has(of))
    }

    /// The features that another set lacks.
    pub fn beyond(self, other: FeatureSet<F>) -> impl Iterator<Item = F> {
        self.iter().filter(move |&feature| !other.has(feature))
    }
}

impl<F> Clone for FeatureSet<F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F> Copy for FeatureSet<F> {}

impl<F> PartialEq for FeatureSet<F> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<F> Eq for FeatureSet<F> {}

impl<F> Hash for FeatureSet<F> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl<F: Feature> fmt::Debug for FeatureSet<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The name of the level, or the names of the features.
impl<F: Feature> fmt::Display for FeatureSet<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(level) = self.level_name() {
            return f.write_str(level);
        }
        f.write_str("[")?;
        for (index, feature) in self.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { ", " })?;
            f.write_str(feature.name())?;
        }
        f.write_str("]")
    }
}

impl<F: Feature> FeatureSet<F> {
    fn level_name(self) -> Option<&'static str> {
        let mut levels = F::LEVELS.iter();
        levels.find(|(_, set)| *set == self).map(|(name, _)| *name)
    }
}

impl<F: Feature> Serialize for FeatureSet<F> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.level_name() {
            Some(level) => to.serialize_str(level),
            None => to.collect_seq(self.iter().map(Feature::name)),
        }
    }
}

impl<'de, F: Feature> Deserialize<'de> for FeatureSet<F> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Read(PhantomData))
    }
}

struct Read<F>(PhantomData<F>);

impl<'de, F: Feature> Visitor<'de> for Read<F> {
    type Value = FeatureSet<F>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let levels: Vec<&str> = F::LEVELS.iter().map(|(name, _)| *name).collect();
        if !levels.is_empty() {
            write!(f, "a level ({}) or ", levels.join(", "))?;
        }
        let names: Vec<&str> = F::ALL.iter().map(|feature| feature.name()).collect();
        write!(f, "a list of features ({})", names.join(", "))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        FeatureSet::level(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
        let names = Vec::<String>::deserialize(SeqAccessDeserializer::new(seq))?;
        let mut set = FeatureSet::<F>::NONE;
        for name in &names {
            let mut features = F::ALL.iter();
            let Some(feature) = features.find(|feature| feature.name() == name) else {
                return Err(A::Error::invalid_value(Unexpected::Str(name), &self));
            };
            set.0 |= feature.bit();
        }
        for feature in set.iter() {
            if let Some(needed) = feature.needs().filter(|needed| !set.has(*needed)) {
                return Err(A::Error::custom(format!(
                    "{} is listed without {}, which it needs",
                    feature.name(),
                    needed.name()
                )));
            }
        }
        Ok(set)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    struct Both {
        x86: X86Features,
        arm: Aarch64Features,
    }

    fn read(text: &str) -> Result<Both, String> {
        toml::from_str(text).map_err(|error| error.message().to_string())
    }

    #[test]
    fn levels_grow_and_are_closed() {
        for pair in X86Feature::LEVELS.windows(2) {
            assert_eq!(pair[0].1.beyond(pair[1].1).count(), 0);
            assert_ne!(pair[1].1.beyond(pair[0].1).count(), 0);
        }
        for (name, set) in X86Feature::LEVELS {
            assert_eq!(set.iter().fold(FeatureSet::NONE, FeatureSet::with), *set);
            assert_eq!(X86Features::level(name), Some(*set));
        }
        assert_eq!(
            X86Feature::LEVELS.last().unwrap().1.iter().count(),
            X86Feature::ALL.len()
        );
    }

    #[test]
    fn what_needs_a_feature_comes_and_goes_with_it() {
        let avx2 = X86Features::level("avx2").unwrap();
        assert_eq!(
            X86Features::NONE.with(X86Feature::Fma).to_string(),
            "[sse3, ssse3, sse41, sse42, avx, fma]"
        );
        assert_eq!(
            avx2.without(X86Feature::Sse42).to_string(),
            "[sse3, ssse3, sse41, popcnt, bmi1, bmi2, lzcnt]"
        );
        for feature in X86Feature::ALL {
            for (_, set) in X86Feature::LEVELS {
                let toggled = set.toggle(*feature);
                assert_ne!(set.has(*feature), toggled.has(*feature));
                assert_eq!(
                    toggled.iter().fold(FeatureSet::NONE, FeatureSet::with),
                    toggled
                );
            }
        }
    }

    #[test]
    fn sets_read_as_they_are_written() {
        let both = read("x86 = \"avx2\"\narm = []\n").unwrap();
        assert_eq!(
            toml::to_string(&both).unwrap(),
            "x86 = \"avx2\"\narm = []\n"
        );
        let text = "x86 = [\"popcnt\", \"bmi1\"]\narm = [\"fp16\", \"bti\"]\n";
        assert_eq!(toml::to_string(&read(text).unwrap()).unwrap(), text);
    }

    #[test]
    fn mistakes_are_told() {
        let error = |text| read(text).unwrap_err();
        assert!(error("x86 = \"avx3\"\narm = []").contains("a level (sse2, sse42"));
        assert!(error("x86 = [\"mmx\"]\narm = []").contains("avx512vbmi"));
        assert!(error("x86 = [\"avx2\"]\narm = []").contains("without avx"));
        assert!(error("x86 = []\narm = \"v8\"").contains("a list of features (lse"));
        assert!(error("x86 = []\narm = [\"sign_return_address_all\"]").contains("which it needs"));
    }
}
