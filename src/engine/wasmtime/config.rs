//! How Wasmtime is configured for a case.
//!
//! What a case's settings say of Cranelift and of memories holds for Wasmtime, too. What only
//! Wasmtime has a choice in follows from bits of the host's seed that nothing else looks at, so that
//! it is the same whenever the case is run and is kept with it. All of them zero are Wasmtime's own
//! defaults, as far as there are any.

use ::wasmtime::{Collector, Config, OptLevel, RegallocAlgorithm, Strategy};

use super::Flavour;
use crate::case::Settings;
use crate::case::settings::{MemoryStyle, OptLevel as Level};
use crate::runtime::entry::WASM_STACK_BYTES;
use crate::translate::memories::PAGE_BYTES;

/// Bytes of address space that 32-bit addresses reach.
const ADDRESSABLE_BYTES: u64 = 4 << 30;
/// Bytes that are reserved for a small memory.
const SMALL_BYTES: u64 = MemoryStyle::SMALL_PAGES * PAGE_BYTES;

/// What a Wasmtime engine is made for. Cases with equal knobs share one.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Knobs {
    level: Level,
    /// Bytes reserved for a memory at least, before it must move to grow.
    reservation: u64,
    /// Bytes reserved beyond its size for one that has moved.
    reservation_for_growth: u64,
    guard: u64,
    /// Whether traps are raised by signals. If not, code checks whatever could trap, and does so
    /// without mitigations of speculation.
    signals: bool,
    /// Whether all NaNs are made alike. Winch cannot; there, modules see to that.
    canonicalise_nans: bool,
    /// The collector; `None` in Winch, which has no managed references.
    pub collector: Option<Managed>,
    lazy_tables: bool,
    copy_on_write: bool,
    single_pass: bool,
    /// Whether tables are looked at only when all is done, so that code finds them as lazy
    /// initialisation leaves them.
    pub tables_late: bool,
    /// How code is kept from running on.
    pub polling: Polling,
}

/// How host objects are managed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Managed {
    /// Deferred reference counting.
    Counting,
    /// A copying collector.
    Copying,
    /// Never collected.
    Never,
}

/// What code does so that it can be made to stop.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Polling {
    /// It looks at the epoch.
    Epochs,
    /// It uses up fuel.
    Fuel,
    /// Nothing.
    Never,
}

impl Knobs {
    /// The knobs for a case.
    pub fn of(settings: &Settings, flavour: Flavour) -> Knobs {
        let winch = flavour == Flavour::Winch;
        let drawn = settings.host_seed >> 40;
        let (reservation, moved) = match settings.memory_style {
            MemoryStyle::Static => (ADDRESSABLE_BYTES, ADDRESSABLE_BYTES / 2),
            MemoryStyle::StaticSmall => (SMALL_BYTES, SMALL_BYTES),
            MemoryStyle::Dynamic => (0, if drawn & 0x80 == 0 { 0 } else { SMALL_BYTES }),
        };
        Knobs {
            level: settings.opt_level,
            reservation,
            reservation_for_growth: moved,
            guard: settings.guard_bytes,
            signals: winch || settings.spectre,
            canonicalise_nans: settings.canonicalise_nans && !winch,
            collector: match drawn & 15 {
                _ if winch => None,
                0..=8 => Some(Managed::Counting),
                9..=12 => Some(Managed::Copying),
                _ => Some(Managed::Never),
            },
            lazy_tables: winch || drawn & 0x10 == 0,
            tables_late: drawn & 0x1010 == 0x1000 || winch && drawn & 0x1000 != 0,
            copy_on_write: drawn & 0x20 == 0,
            single_pass: !winch && drawn & 0x40 != 0 && settings.opt_level == Level::None,
            polling: match drawn >> 8 & 15 {
                0..=8 => Polling::Epochs,
                9..=12 => Polling::Fuel,
                _ => Polling::Never,
            },
        }
    }

    /// Whether `table.fill` may leak what it replaces, see [`super::FILLED_OVER`].
    pub fn fills_over(&self) -> bool {
        self.collector == Some(Managed::Counting) && !self.lazy_tables
    }

    /// The configuration: WebAssembly 2.0 with SIMD and, but for Winch, what came after it and
    /// modules may use.
    pub fn config(&self, flavour: Flavour) -> Config {
        let mut config = Config::new();
        config
            .wasm_tail_call(flavour != Flavour::Winch)
            .wasm_multi_memory(true)
            .wasm_memory64(true)
            .wasm_extended_const(true)
            .wasm_relaxed_simd(flavour != Flavour::Winch)
            .relaxed_simd_deterministic(true)
            .wasm_function_references(false)
            .wasm_gc(false)
            .wasm_exceptions(false)
            .wasm_wide_arithmetic(false)
            .wasm_custom_page_sizes(false)
            .wasm_backtrace_max_frames(None)
            .generate_address_map(false)
            .max_wasm_stack(WASM_STACK_BYTES as usize)
            .memory_reservation(self.reservation)
            .memory_reservation_for_growth(self.reservation_for_growth)
            .memory_guard_size(self.guard)
            .signals_based_traps(self.signals)
            .table_lazy_init(self.lazy_tables)
            .memory_init_cow(self.copy_on_write)
            .epoch_interruption(self.polling == Polling::Epochs)
            .consume_fuel(self.polling == Polling::Fuel);
        if let Some(collector) = self.collector {
            config.collector(match collector {
                Managed::Counting => Collector::DeferredReferenceCounting,
                Managed::Copying => Collector::Copying,
                Managed::Never => Collector::Null,
            });
        }
        if flavour == Flavour::Winch {
            config.strategy(Strategy::Winch);
            return config;
        }
        config
            .strategy(Strategy::Cranelift)
            .cranelift_nan_canonicalization(self.canonicalise_nans)
            .cranelift_opt_level(match self.level {
                Level::None => OptLevel::None,
                Level::Speed => OptLevel::Speed,
                Level::SpeedAndSize => OptLevel::SpeedAndSize,
            });
        if self.single_pass {
            config.cranelift_regalloc_algorithm(RegallocAlgorithm::SinglePass);
        }
        if flavour == Flavour::Pulley {
            // The name is one that Wasmtime knows.
            let _ = config.target("pulley64");
        }
        config
    }
}
