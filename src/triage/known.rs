//! Faults that are known, by their cause: those of the reference, and those of subjects in
//! versions that stay as they are.
//!
//! A known fault must neither stop a run nor hide another one. So it is told by its cause, and
//! what is not explained by it counts as ever:
//!
//! - A fault of the reference comes with a rewrite of the module that means the same and avoids
//!   the cause ([`avoidable`]). When a case diverges, the reference runs it once more as rewritten;
//!   if it then agrees, the divergence was that fault. Only the reference sees the rewritten
//!   module.
//! - A fault of a subject is told by what the runtime says about the instruction that did it, in the
//!   outcome or as a remark on the finding ([`subject_fault`]). Only the finding that says so is taken out of the verdict.
//! - Where the runtime cannot tell, since nothing happens that should, the subject runs the case once
//!   more, changed so that it avoids the cause ([`avoidable_in_subject`]), if the finding and the module
//!   are of the fault's kind.
//! - A fault that corrupts the engine's own memory, or that is easily made up for, is not let happen by
//!   our engine over it ([`KnownFault::is_averted`]).
//!
//! Each has a case of its name in `corpus/known`, which fails once the fault is gone.

mod cranelift;
mod rewrite;
mod upstream;
mod wasmi;
mod wasmtime;

use parallax_oracles::{Finding, Outcome, Seen};

use crate::case::{Case, Module};
use crate::engine::compiled::{TORN, WIDENED};
use crate::engine::{FILLED_OVER, registry};
use rewrite::Rewrite;

pub use upstream::{current, fixed_upstream, named, told};

/// How much more fuel than a case a rewritten one may burn, for each fault that is avoided.
const FUEL_FACTOR: u64 = 2;

/// A fault that is known.
#[derive(Debug)]
pub struct KnownFault {
    /// The name under which it is counted, which is also that of its case in `corpus/known`.
    pub name: &'static str,
    /// The engine that has it: the reference, or that of an ISA, whatever generation of Cranelift
    /// it is by.
    pub engine: &'static str,
    /// The versions that have it, as far as they were looked at: how the engine's version starts.
    pub versions: &'static [&'static str],
    /// What is wrong, and where in the engine's source.
    pub what: &'static str,
    /// Whether by it the reference may take for a reference what is none, which can end the
    /// process: it is then avoided from the start in modules that have references, and not
    /// counted.
    fatal: bool,
    mark: Mark,
}

/// How a fault is told from others.
#[derive(Clone, Copy, Debug)]
enum Mark {
    /// It is gone when the module is rewritten so.
    GoneWhen(Rewrite),
    /// The engine's outcome says that it left its sandbox by this.
    EscapedBy(&'static str),
    /// The engine fails, and says that its compiler panicked here.
    FailedAt(&'static str),
    /// The engine remarks this on the finding.
    Remarked(&'static str),
    /// Something of the kind is found, and the engine agrees when it runs the case changed so, which
    /// avoids the cause.
    GoneUnder(fn(&Finding) -> bool, fn(&Case) -> Option<Case>),
    /// It never shows: our engine over the faulty one keeps it from happening, since it would do more
    /// harm than a wrong result, or can be told before it happens.
    Averted,
}

/// The faults that are known.
pub static KNOWN: &[KnownFault] = &[
    KnownFault {
        name: "wasmi-select-eqz",
        engine: registry::REFERENCE,
        versions: &["2.0."],
        what: "`select` whose condition is a comparison of a local with zero or null is fused \
               with the comparison, but keeps testing the register that the dropped comparison \
               would have written (`try_fuse_select`, operators `I32Eq_Rsi` and `I32NotEq_Rsi`)",
        fatal: false,
        mark: Mark::GoneWhen(wasmi::NO_COMPARISONS_BEFORE_SELECTS),
    },
    KnownFault {
        name: "wasmi-br-table-values",
        engine: registry::REFERENCE,
        versions: &["2.0."],
        what: "`br_table` whose targets have the same height leaves the values that it carries \
               where they lie, above operands that the branch drops, while the targets look for \
               them below (`visit_br_table`: `equal_heights` compares the targets with each other, \
               not with the operands)",
        fatal: true,
        mark: Mark::GoneWhen(wasmi::NO_BRANCH_TABLES),
    },
    KnownFault {
        name: "wasmi-block-param-locals",
        engine: registry::REFERENCE,
        versions: &["2.0."],
        what: "entering a block with n parameters, the topmost n operands are to be left alone, \
               but the topmost n that are reads of locals are; so reads of locals below the \
               parameters are saved too late, on some ways through the block only, and on others \
               a slot is read that nothing was written to (`PreservedAllLocalsIter`, `skip`). And a \
               loop's last parameter goes into a register before a local that is still in it is \
               saved (`visit_loop`)",
        fatal: true,
        mark: Mark::GoneWhen(wasmi::BLOCK_PARAMETERS_FROM_LOCALS),
    },
    KnownFault {
        name: "wasmi-store-of-address",
        engine: registry::REFERENCE,
        versions: &["2.0."],
        what: "an integer store whose address and value are the same local, while that is in its \
               register, panics in translation unless it is to the first memory with an offset below \
               2^16: there is no operator for it, and nothing in its place (`choose_store_op_vt`, \
               `store_rr`)",
        fatal: false,
        mark: Mark::GoneWhen(wasmi::NO_STORES_OF_LOCALS),
    },
    KnownFault {
        name: "wasmi-failed-instance",
        engine: registry::REFERENCE,
        versions: &["2.0."],
        what: "functions that a module left in a shared table before its instantiation failed \
               refer to an empty placeholder of an instance, and read beyond its end \
               (`Module::instantiate`, `InstanceEntity::new_uninit`)",
        fatal: false,
        mark: Mark::Averted,
    },
    KnownFault {
        name: "wasmi-tail-call-of-host",
        engine: registry::REFERENCE,
        versions: &["2.0."],
        what: "a tail call of a function of the host that has neither parameters nor results goes \
               back to a caller that has nothing on its stack with a stack pointer that points \
               nowhere (`return_prepare_host_frame`: `caller_start != callee_start`)",
        fatal: false,
        mark: Mark::Averted,
    },
    KnownFault {
        name: "wasmi-memory-twice",
        engine: registry::REFERENCE,
        versions: &["2.0."],
        what: "where the first memory of an instance is imported under another index as well and grown \
               by that, it is still looked for where it lay before, and memory is read and written that \
               was freed (`is_default_memory`, which looks at the index alone)",
        fatal: false,
        mark: Mark::Averted,
    },
    unaligned(
        "cranelift-palignr-unaligned",
        "misaligned operand of palignr",
    ),
    unaligned(
        "cranelift-pblendw-unaligned",
        "misaligned operand of pblendw",
    ),
    unaligned("cranelift-shufps-unaligned", "misaligned operand of shufps"),
    KnownFault {
        name: "cranelift-torn-store",
        engine: "aarch64",
        versions: &["cranelift 0.112.", "cranelift 0.135."],
        what: "a store has its bounds checked by unmapped pages alone, and of a vector that is \
               partly out of bounds the processor may have written the other part when it traps: \
               the architecture leaves that open, and Unicorn's writes the lower half first",
        fatal: false,
        mark: Mark::Remarked(TORN),
    },
    KnownFault {
        name: "unicorn-torn-store",
        engine: "x86_64",
        versions: &["cranelift 0.112.3, unicorn ", "cranelift 0.135.8, unicorn "],
        what: "of a store of 16 bytes that is partly out of bounds, Unicorn's x86-64 processor has \
               written the lower half when it traps (`gen_sto_env_A0` of QEMU 5.0 stores twice 8 \
               bytes), which no processor of that architecture does",
        fatal: false,
        mark: Mark::Remarked(TORN),
    },
    KnownFault {
        name: "unicorn-phadd-of-itself",
        engine: "x86_64",
        versions: &["cranelift 0.112.3, unicorn ", "cranelift 0.135.8, unicorn "],
        what: "of `phaddw` and `phaddd` of a register with itself, Unicorn's x86-64 processor computes the \
               upper half from sums that it has already written to the register (`helper_phaddw`, \
               `helper_phaddd` of QEMU 5.0)",
        fatal: false,
        mark: Mark::Averted,
    },
    KnownFault {
        name: "cranelift-splat-of-half-float",
        engine: "aarch64",
        versions: &["cranelift 0.112."],
        what: "a vector constant whose 16-bit lanes all hold what is, as a half-precision float, an \
               immediate of `fmov`, is taken for one (inst.isle: `splat_const`, rule 1; \
               `ASIMDFPModImm::maybe_from_u64`), and the compiler panics, since the instruction is \
               only emitted for wider lanes (`Inst::VecDupFPImm`)",
        fatal: false,
        mark: Mark::FailedAt("cranelift-codegen-0.112.3/src/isa/aarch64/inst/emit.rs:2375"),
    },
    KnownFault {
        name: "cranelift-wide-load-to-compare",
        engine: "x86_64",
        versions: &["cranelift 0.112."],
        what: "without AVX, a comparison of floats whose result is the index of a `br_table` loads \
               16 bytes for an operand of 4 or 8 in memory, and so traps at the memory's end \
               (inst.isle: `xmm_cmp_rm_r`, to which `x64_ucomis` hands its `XmmMem`, takes memory \
               only if it is aligned; the conversion loads a whole register)",
        fatal: false,
        mark: Mark::Remarked(WIDENED),
    },
    KnownFault {
        name: "cranelift-narrowed-load",
        engine: "x86_64",
        versions: &["cranelift 0.112."],
        what: "with SSE4.1, `i16x8.extend_low_i8x16_s` and `_u` of a `v128.load` become one instruction that \
               loads 8 bytes, so that a load whose upper half is out of bounds does not trap \
               (lower.isle: `swiden_low`, `uwiden_low`, rule 1; `x64_pmovsxbw` and `x64_pmovzxbw` take \
               an `XmmMem`, to which a value of 16 bytes in memory converts)",
        fatal: false,
        mark: Mark::GoneUnder(cranelift::lacks_trap, cranelift::without_widening_moves),
    },
    KnownFault {
        name: "wasmtime-table-fill-leak",
        engine: "wasmtime",
        versions: &["wasmtime 48.0."],
        what: "where tables are not initialised lazily, `table.fill` with null becomes a `memset`, of \
               tables of externrefs as well, and what it replaces is not given up: its count stays \
               too high, and it lives as long as the store (func_environ.rs: \
               `CheckedEntity::allows_memset` looks at the element type of an array and not at that of a \
               table)",
        fatal: false,
        mark: Mark::Remarked(FILLED_OVER),
    },
    KnownFault {
        name: "wasmtime-relaxed-dot-exact",
        engine: "wasmtime",
        versions: &["wasmtime 48.0."],
        what: "told to be deterministic, `i32x4.relaxed_dot_i8x16_i7x16_add_s` adds up four products in 32 bits, \
               though sums of two of them are numbers of 16 bits on the way (code_translator.rs: \
               `I32x4RelaxedDotI8x16I7x16AddS`; core specification 3.0, `vextternop`)",
        fatal: false,
        mark: Mark::GoneUnder(wasmtime::is_a_value, wasmtime::with_dot_products_of_pairs),
    },
];

/// One of the instructions that have the same fault in common.
const fn unaligned(name: &'static str, escaped_by: &'static str) -> KnownFault {
    KnownFault {
        name,
        engine: "x86_64",
        versions: &["cranelift 0.112."],
        what: "without AVX, an `i8x16.shuffle` that becomes this instruction takes an operand \
               straight from memory, wherever that lies, while the instruction faults unless it \
               is aligned to 16 bytes (inst.isle: `xmm_rm_r_imm` takes a `RegMem`, to which an \
               `XmmMem` converts without becoming an `XmmMemAligned`)",
        fatal: false,
        mark: Mark::EscapedBy(escaped_by),
    }
}

/// A case without the faults of the reference that could end the process; `None` if it cannot
/// meet them.
pub fn made_safe(case: &Case) -> Option<Case> {
    let references = |module: &Module| module.uses_externref || !module.tables.is_empty();
    if !case.modules.iter().any(references) {
        return None;
    }
    let mut safe = None;
    for fault in KNOWN.iter().filter(|fault| fault.fatal) {
        safe = avoid(safe.as_ref().unwrap_or(case), fault).or(safe);
    }
    safe
}

impl KnownFault {
    /// Whether the engine of this name has it in this version.
    pub fn is_of(&self, engine: &str, version: &str) -> bool {
        // Pulley shares Wasmtime's translation and runtime. What else it shares was not met yet.
        let engine = match engine {
            "pulley" => "wasmtime",
            engine => engine,
        };
        let suffix = engine.strip_prefix(self.engine);
        // `x86_64-0.112` is that ISA's too, as is `x86_64-emulated`; the version tells which of them
        // have it. But an emulator does not fault at operands that are not aligned.
        suffix.is_some_and(|suffix| suffix.is_empty() || suffix.starts_with('-'))
            && !(is_emulated(version) && matches!(self.mark, Mark::EscapedBy(_)))
            && self.versions.iter().any(|start| version.starts_with(start))
    }

    /// Whether the engine may as well not show it, in some version that has it: what an architecture
    /// leaves open, a processor that is not emulated does in some way of its own.
    pub fn is_open(&self, version: &str) -> bool {
        matches!(self.mark, Mark::Remarked(TORN)) && !is_emulated(version)
    }

    /// Whether our engine over the faulty one keeps the fault from ever showing.
    pub fn is_averted(&self) -> bool {
        matches!(self.mark, Mark::Averted)
    }

    /// Whether another fault looks the same, so that a case of one is a case of the other.
    pub fn looks_like(&self, other: &KnownFault) -> bool {
        match (self.mark, other.mark) {
            (Mark::Remarked(this), Mark::Remarked(other)) => this == other,
            _ => self.name == other.name,
        }
    }
}

/// Whether an engine of this version has its code run by the emulator.
fn is_emulated(version: &str) -> bool {
    version.contains(", unicorn ")
}

/// The faults of the reference that a case could meet, each with the case as it is without.
pub fn avoidable(case: &Case) -> Vec<(&'static KnownFault, Case)> {
    let avoidable = KNOWN
        .iter()
        .filter_map(|fault| Some((fault, avoid(case, fault)?)));
    avoidable.collect()
}

/// A case without meeting any of some faults of the reference.
pub fn avoid_all(case: &Case, faults: &[&'static KnownFault]) -> Case {
    let mut avoided = case.clone();
    for fault in faults {
        if let Some(without) = avoid(&avoided, fault) {
            avoided = without;
        }
    }
    avoided
}

/// A case without a fault of the reference; `None` if it cannot meet it.
fn avoid(case: &Case, fault: &KnownFault) -> Option<Case> {
    let Mark::GoneWhen(rewrite) = fault.mark else {
        return None;
    };
    let mut avoided = rewrite::rewritten_case(case, rewrite)?;
    // Rewritten code takes more steps, and an early end explains nothing.
    avoided.settings.fuel = avoided.settings.fuel.saturating_mul(FUEL_FACTOR);
    Some(avoided)
}

/// The known fault of a subject, of some version, that explains a finding.
pub fn subject_fault(
    finding: &Finding,
    version: &str,
    remark: Option<&str>,
) -> Option<&'static KnownFault> {
    let (escaped, failed) = match &finding.subject {
        Seen::Outcome(Outcome::Escaped(how)) => (Some(how), None),
        Seen::Outcome(Outcome::Failed(how)) => (None, Some(how)),
        _ => (None, None),
    };
    KNOWN.iter().find(|fault| {
        let told = match fault.mark {
            Mark::EscapedBy(by) => escaped.is_some_and(|how| how.ends_with(by)),
            Mark::FailedAt(place) => failed.is_some_and(|how| how.contains(place)),
            Mark::Remarked(what) => remark == Some(what),
            Mark::GoneWhen(_) | Mark::GoneUnder(..) | Mark::Averted => false,
        };
        told && fault.is_of(&finding.engine, version)
    })
}

/// The known faults of a subject, of some version, that may be behind these findings about a case:
/// each with the case changed so that it does not show. It was met if the subject then
/// agrees.
pub fn avoidable_in_subject(
    findings: &[Finding],
    version: &str,
    case: &Case,
) -> Vec<(&'static KnownFault, Case)> {
    let avoidable = KNOWN.iter().filter_map(|fault| {
        let Mark::GoneUnder(shows, change) = fault.mark else {
            return None;
        };
        let is_it = |finding| shows(finding) && fault.is_of(&finding.engine, version);
        findings
            .iter()
            .any(is_it)
            .then(|| change(case))
            .flatten()
            .map(|case| (fault, case))
    });
    avoidable.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::campaign;
    use crate::case::wast::case_from_file;
    use crate::generate::Generators;
    use parallax_oracles::{OracleName, Place};

    fn text_without(fault: &str, module: &str) -> Option<String> {
        let case = case_from_file(module.as_bytes(), "test.wat").expect("a valid module");
        let avoidable = avoidable(&case);
        let (_, avoided) = avoidable.iter().find(|(of, _)| of.name == fault)?;
        Some(wasmprinter::print_bytes(&avoided.modules[0].wasm).expect("valid"))
    }

    #[test]
    fn a_rewritten_module_lacks_the_cause_and_is_valid() {
        let select = "(module (func (param i32) (result i32)
            (select (i32.const 1) (local.get 0) (i32.eqz (local.get 0)))))";
        let text = text_without("wasmi-select-eqz", select).expect("rewritten");
        assert!(!text.contains("i32.eqz"), "{text}");

        let table = "(module (func (param i32) (result i32) (local f32 f32)
            (block (result i32)
                (br_table 0 1 0 (i32.const 5) (local.get 0)))))";
        let text = text_without("wasmi-br-table-values", table).expect("rewritten");
        assert!(!text.contains("br_table"), "{text}");
        // The locals there were keep their numbers: 0 to 2.
        assert!(text.contains("local.set 3"), "{text}");

        let params = "(module (func (param i32 i64) (result i64)
            (local.get 1) (i32.const 2) (i64.const 3)
            (if (param i32 i64) (result i64) (local.get 0)
                (then drop drop i64.const 1) (else drop drop i64.const 2))
            i64.add))";
        let text = text_without("wasmi-block-param-locals", params).expect("rewritten");
        let spaced = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            spaced.contains(
                "local.set 4 local.set 3 local.set 2 loop ;; label = @1 end \
                 local.get 2 local.get 3 local.get 4 if"
            ),
            "{text}"
        );
    }

    #[test]
    fn rewritten_modules_are_what_their_bytes_say() {
        let mut rewritten = 0;
        for number in 0..400 {
            let (_, case, _) = campaign::case(5, number, Generators::all());
            let case = case.expect("hardly any input makes no case");
            for (fault, avoided) in avoidable(&case) {
                for module in &avoided.modules {
                    let decoded = Module::from_wasm(&module.wasm, module.name.clone())
                        .unwrap_or_else(|error| panic!("{}: {error}", fault.name));
                    // The normaliser's exports are the module's own when it is decoded again.
                    let as_before = Module {
                        opcodes: module.opcodes,
                        exports: module.exports.clone(),
                        ..decoded
                    };
                    assert_eq!(*module, as_before, "{}, case {number}", fault.name);
                    rewritten += 1;
                }
            }
        }
        assert!(rewritten > 100, "{rewritten}");
    }

    #[test]
    fn a_module_that_cannot_meet_a_fault_is_left_as_it_is() {
        let module = "(module
            (func (param i32) (result i32) (i32.eqz (local.get 0)))
            (func (param i32) (block (br_if 0 (local.get 0)))))";
        let case = case_from_file(module.as_bytes(), "test.wat").expect("a valid module");
        assert!(avoidable(&case).is_empty());
    }

    #[test]
    fn what_the_current_generation_lacks_is_fixed_upstream() {
        let fixed = KNOWN.iter().filter(|fault| fault.is_fixed_upstream());
        let fixed: Vec<&str> = fixed.map(|fault| fault.name).collect();
        assert!(fixed.contains(&"cranelift-palignr-unaligned"), "{fixed:?}");
        // Cranelift's still, the emulator's, Wasmtime's and the reference's.
        for name in [
            "cranelift-torn-store",
            "unicorn-torn-store",
            "wasmtime-table-fill-leak",
            "wasmi-select-eqz",
        ] {
            assert!(!fixed.contains(&name), "{name}");
        }
        let counted = [
            ("cranelift-palignr-unaligned", 2),
            ("cranelift-torn-store", 3),
        ];
        let counted = counted
            .map(|(name, count)| (name.to_string(), count))
            .into();
        let fixed = fixed_upstream(&counted);
        assert_eq!(fixed, [("cranelift-palignr-unaligned", 2)].into());
        assert_eq!(
            told("cranelift-palignr-unaligned"),
            "cranelift-palignr-unaligned, fixed upstream"
        );
        assert_eq!(told("cranelift-torn-store"), "cranelift-torn-store");
    }

    #[test]
    fn a_subject_s_fault_is_told_by_engine_version_and_instruction() {
        let finding = |engine: &str, how: &str| Finding {
            oracle: OracleName::Traps,
            step: 0,
            at_call: None,
            place: Place::Outcome,
            reference: Seen::Rule(String::new()),
            subject: Seen::Outcome(Outcome::Escaped(how.to_string())),
            engine: engine.to_string(),
            against: None,
        };
        let name =
            |finding, version| subject_fault(&finding, version, None).map(|fault| fault.name);
        let palignr = "function 3 has a misaligned operand of palignr";
        assert_eq!(
            name(finding("x86_64-0.112", palignr), "cranelift 0.112.3"),
            Some("cranelift-palignr-unaligned")
        );
        assert_eq!(name(finding("x86_64", palignr), "cranelift 0.135.8"), None);
        assert_eq!(
            name(finding("aarch64-0.112", palignr), "cranelift 0.112.3"),
            None
        );
        let other = "function 3 has a misaligned operand of an SSE instruction";
        assert_eq!(
            name(finding("x86_64-0.112", other), "cranelift 0.112.3"),
            None
        );
    }
}
