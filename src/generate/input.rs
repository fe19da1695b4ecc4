//! The head of an input: which generator, under which settings, from which seeds. See
//! [`crate::generate`] for the layout.

use super::Generators;
use super::rng::Rng;
use crate::case::Settings;
use crate::case::features::{
    Aarch64Feature, Aarch64Features, Riscv64Feature, Riscv64Features, X86Feature, X86Features,
};
use crate::case::settings::{Destructor, MemoryStyle, OptLevel, RegisterAllocator};

/// Bytes of an input before the body.
pub const HEADER_BYTES: usize = 32;

/// The head of an input, taken apart.
#[derive(Clone, Debug)]
pub struct Header {
    /// Byte 0: which generator.
    pub generator: u8,
    /// Byte 1: how many modules, and how they are linked.
    pub linking: u8,
    /// Bytes 2 to 7: settings.
    pub settings: [u8; 6],
    /// Bytes 8 to 15: which calls are made, with which arguments.
    pub call_seed: u64,
    /// Bytes 16 to 23: what host functions return.
    pub host_seed: u64,
    /// Bytes 24 to 31: shape of the module: sizes and features.
    pub shape_seed: u64,
}

impl Header {
    /// Splits an input into head and body. What is missing of a head follows from the bytes that
    /// are there.
    pub fn split(data: &[u8]) -> (Header, &[u8]) {
        let (head, body) = Header::bytes(data);
        (Header::read(&head), body)
    }

    /// Splits an input into the bytes of its head, all of them, and its body.
    pub fn bytes(data: &[u8]) -> ([u8; HEADER_BYTES], &[u8]) {
        let mut head = [0; HEADER_BYTES];
        let taken = data.len().min(HEADER_BYTES);
        head[..taken].copy_from_slice(&data[..taken]);
        if taken < HEADER_BYTES {
            // The missing bytes are still zero, so the size has to tell apart inputs that end in
            // zeroes.
            let seed = head.chunks(8).fold(taken as u64, |seed, chunk| {
                let mut word = [0; 8];
                word[..chunk.len()].copy_from_slice(chunk);
                Rng::new(seed ^ u64::from_le_bytes(word)).next_u64()
            });
            Rng::new(seed).fill(&mut head[taken..]);
        }
        (head, &data[taken..])
    }

    /// Takes a head apart.
    pub fn read(head: &[u8; HEADER_BYTES]) -> Header {
        let word = |at: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&head[at..at + 8]);
            u64::from_le_bytes(bytes)
        };
        Header {
            generator: head[0],
            linking: head[1],
            settings: [head[2], head[3], head[4], head[5], head[6], head[7]],
            call_seed: word(8),
            host_seed: word(16),
            shape_seed: word(24),
        }
    }

    /// The generator this input asks for, among those that may be used.
    pub fn generator(&self, among: Generators) -> Option<super::Generator> {
        among.choose(self.generator)
    }

    /// What the case's calls and arguments are drawn from.
    pub fn calls(&self) -> Rng {
        Rng::new(self.call_seed)
    }

    /// What sizes and features of its modules are drawn from.
    pub fn shape(&self) -> Rng {
        Rng::new(self.shape_seed)
    }

    /// The byte that chooses the capacity of the activations table.
    pub fn activations(&self) -> u8 {
        self.settings[4]
    }

    /// The settings. Byte by byte, so that a mutation of one changes one setting.
    pub fn settings(&self) -> Settings {
        let [opt, style, guard, isa, activations, flags] = self.settings;
        let memory_style = match style {
            0..=111 => MemoryStyle::Static,
            112..=175 => MemoryStyle::StaticSmall,
            _ => MemoryStyle::Dynamic,
        };
        Settings {
            opt_level: match opt {
                0..=159 => OptLevel::Speed,
                160..=223 => OptLevel::None,
                _ => OptLevel::SpeedAndSize,
            },
            // Level and allocator may go wrong together, so they are drawn apart.
            register_allocator: match self.host_seed >> 60 & 1 {
                1 => RegisterAllocator::SinglePass,
                _ => RegisterAllocator::Backtracking,
            },
            memory_style,
            guard_bytes: match guard {
                0..=127 => 2 << 30,
                128..=159 => 0,
                160..=191 => 64 << 10,
                192..=223 => 1 << 20,
                _ => 32 << 20,
            },
            activations_capacity: match activations {
                0..=63 => 1,
                64..=127 => u32::from(activations - 62),
                128..=223 => 512,
                _ => 4096,
            },
            // The host's seed says what the host does.
            destructor: match self.host_seed >> 56 & 15 {
                1 | 2 => Destructor::ReadSlots,
                3 | 4 => Destructor::WriteSlots,
                5 | 6 => Destructor::MoveTables,
                7 | 8 => Destructor::Collect,
                9 | 10 => Destructor::DropOther,
                _ => Destructor::None,
            },
            // The low bit is inverted, and NaNs below are canonical for small values, so that a
            // head of zeroes means the defaults.
            spectre: flags & 1 == 0,
            canonicalise_nans: flags < 216,
            x86_64: x86_64(isa),
            aarch64: aarch64(isa),
            riscv64: riscv64(isa),
            probestack_bytes: match opt % 16 {
                12 => 64,
                13 => 256,
                14 => 4096,
                15 => 65_536,
                _ => 0,
            },
            host_imports: true,
            host_seed: self.host_seed,
            interrupt_at: 0,
            // A look costs about as much as a snapshot after a step.
            looks: match self.host_seed >> 61 {
                0 => Settings::default().looks,
                1 => 1,
                2 => 2,
                3 => 16,
                _ => 0,
            },
            memory_limit: 8 + u64::from(flags >> 1 & 7),
            table_limit: 1_000,
            fuel: Settings::default().fuel,
        }
    }
}

/// The x86-64 extensions of a case: a level, and in one half of the cases a step away from it.
/// Whether the host has them does not matter: the case is the same everywhere.
fn x86_64(isa: u8) -> X86Features {
    use X86Feature::*;
    let level = match isa {
        0..=79 => X86Features::SSE42,
        80..=111 => X86Features::NONE,
        112..=143 => X86Features::AVX,
        144..=239 => X86Features::AVX2,
        _ => X86Features::AVX512,
    };
    let toggle = |features: &[X86Feature]| {
        let features = features.iter();
        features.fold(level, |set, feature| set.toggle(*feature))
    };
    // Each of these has rules of its own in Cranelift.
    match (isa % 16, isa) {
        (0..=7, _) => level,
        (8, 240..) => level.without(Avx512dq),
        (9, 240..) => level.without(Avx512bitalg),
        (10, 240..) => level.without(Avx512vbmi),
        (11, 240..) => level.without(Avx512vl),
        (12, 240..) => X86Features::AVX2.with(Avx512vl),
        (8, _) => toggle(&[Popcnt]),
        (9, _) => toggle(&[Bmi1]),
        (10, _) => toggle(&[Bmi2]),
        (11, _) => toggle(&[Lzcnt]),
        (12, _) => toggle(&[Bmi1, Bmi2, Lzcnt]),
        // A rung of SSE between levels, or the baseline with what needs no SSE.
        (13, 0..=79) => X86Features::NONE.with(Ssse3),
        (14, 0..=79) => X86Features::NONE.with(Sse41),
        (13, 80..=111) => X86Features::NONE.with(Sse3),
        (14, 80..=111) => X86Features::NONE.with(Ssse3),
        (15, ..=111) => level.with(Popcnt).with(Bmi1).with(Lzcnt),
        (13, _) => toggle(&[Fma]),
        (14, _) => toggle(&[Fma, Lzcnt, Bmi1]),
        _ => toggle(&[Popcnt, Bmi2]),
    }
}

/// The riscv64 extensions of a case, by the same byte.
fn riscv64(isa: u8) -> Riscv64Features {
    match isa % 8 {
        1..=3 => Riscv64Features::NONE
            .with(Riscv64Feature::Zca)
            .with(Riscv64Feature::Zcd),
        4 => Riscv64Features::NONE.with(Riscv64Feature::Zca),
        _ => Riscv64Features::NONE,
    }
}

/// The aarch64 extensions of a case. They follow from the byte that chooses those of x86-64, of
/// which nothing else on aarch64 depends.
fn aarch64(isa: u8) -> Aarch64Features {
    use Aarch64Feature::*;
    if isa.is_multiple_of(32) {
        return Aarch64Features::NONE;
    }
    let mut rng = Rng::new(u64::from(isa));
    let mut with = |set: Aarch64Features, feature, one_in| {
        if rng.below(one_in) == 0 {
            set.with(feature)
        } else {
            set
        }
    };
    let mut set = Aarch64Features::NONE;
    set = with(set, Fp16, 2);
    set = with(set, Lse, 2);
    set = with(set, Pauth, 2);
    set = with(set, Bti, 4);
    set = with(set, SignReturnAddress, 4);
    if set.has(SignReturnAddress) {
        set = with(set, SignReturnAddressAll, 2);
        set = with(set, SignReturnAddressWithBkey, 2);
    }
    set
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::features::Feature;

    #[test]
    fn what_is_missing_follows_from_what_is_there() {
        let (header, body) = Header::split(&[200, 1, 2]);
        assert_eq!(header.generator, 200);
        assert_eq!(header.linking, 1);
        assert_eq!(header.settings[0], 2);
        assert!(body.is_empty());
        let seeds = |data: &[u8]| {
            let (header, _) = Header::split(data);
            (header.call_seed, header.shape_seed)
        };
        assert_eq!(seeds(&[200, 1, 2]), seeds(&[200, 1, 2]));
        assert_ne!(seeds(&[200, 1, 2]), seeds(&[200, 1, 3]));
        assert_ne!(seeds(&[200, 1, 2]), seeds(&[200, 1, 2, 0]));
        assert_ne!(seeds(&[]), seeds(&[0]));
    }

    #[test]
    fn fields_lie_where_the_layout_says() {
        let data: Vec<u8> = (0..40).collect();
        let (header, body) = Header::split(&data);
        assert_eq!(header.settings, [2, 3, 4, 5, 6, 7]);
        assert_eq!(
            header.call_seed,
            u64::from_le_bytes([8, 9, 10, 11, 12, 13, 14, 15])
        );
        assert_eq!(
            header.host_seed,
            u64::from_le_bytes([16, 17, 18, 19, 20, 21, 22, 23])
        );
        assert_eq!(
            header.shape_seed,
            u64::from_le_bytes([24, 25, 26, 27, 28, 29, 30, 31])
        );
        assert_eq!(body, &data[32..]);
    }

    /// Every extension is both used and not used beside any other, where Cranelift can tell.
    #[test]
    fn extensions_are_drawn_in_combinations() {
        let all = || 0..=u8::MAX;
        for feature in X86Feature::ALL {
            for without in X86Feature::ALL {
                let chain = X86Features::NONE.with(*feature);
                let possible = !chain.has(*without) && *without != X86Feature::Avx512f;
                let drawn = all().any(|isa| {
                    let set = x86_64(isa);
                    set.has(*feature) && !set.has(*without)
                });
                let avx512 = X86Features::AVX512.without(X86Feature::Avx512f);
                if possible && avx512.has(*feature) {
                    assert!(drawn, "{feature:?} without {without:?}");
                }
            }
        }
        for feature in Aarch64Feature::ALL {
            assert!(all().any(|isa| aarch64(isa).has(*feature)), "{feature:?}");
            assert!(all().any(|isa| !aarch64(isa).has(*feature)), "{feature:?}");
        }
        let signing = |isa: &u8| aarch64(*isa).has(Aarch64Feature::SignReturnAddress);
        let signed = all().filter(signing).count();
        assert!((30..100).contains(&signed), "{signed} of 256");
    }

    #[test]
    fn zeroes_mean_the_defaults() {
        let (header, _) = Header::split(&[0; HEADER_BYTES]);
        let settings = header.settings();
        let default = Settings::default();
        assert_eq!(settings.opt_level, default.opt_level);
        assert_eq!(settings.memory_style, default.memory_style);
        assert_eq!(settings.guard_bytes, default.guard_bytes);
        assert!(settings.spectre && settings.canonicalise_nans);
        assert_eq!(settings.x86_64, default.x86_64);
        assert_eq!(settings.aarch64, default.aarch64);
        assert_eq!(settings.probestack_bytes, default.probestack_bytes);
    }
}
