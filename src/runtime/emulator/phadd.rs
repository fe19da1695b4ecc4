//! Sums of pairs of a register's own lanes, which Unicorn's processor for x86-64 gets wrong.
//!
//! `phaddw` and `phaddd` write the sums of their first operand's pairs of lanes into the lower half of
//! it, and those of the second one's into the upper half. Where both are one register, Unicorn's routines
//! read the sums for the upper half from what they have just written (`helper_phaddw` and `helper_phaddd`
//! of QEMU 5.0). So these instructions are looked for in code before it runs, and done by us.
//!
//! They are looked for at every byte. What looks like one in the middle of another instruction, or in a
//! constant, does no harm: the processor never stands there.

use unicorn_engine::{RegisterX86, uc_error};

use super::processor::Processor;

/// The registers of vectors, in the order in which instructions number them.
const VECTORS: [RegisterX86; 16] = [
    RegisterX86::XMM0,
    RegisterX86::XMM1,
    RegisterX86::XMM2,
    RegisterX86::XMM3,
    RegisterX86::XMM4,
    RegisterX86::XMM5,
    RegisterX86::XMM6,
    RegisterX86::XMM7,
    RegisterX86::XMM8,
    RegisterX86::XMM9,
    RegisterX86::XMM10,
    RegisterX86::XMM11,
    RegisterX86::XMM12,
    RegisterX86::XMM13,
    RegisterX86::XMM14,
    RegisterX86::XMM15,
];

/// `phaddw` or `phaddd` of a register with itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct OfItself {
    register: u8,
    /// Bits of a lane.
    lane: u32,
    /// Bytes of the instruction.
    bytes: u64,
}

impl OfItself {
    /// The instruction that `code` starts with, if it is one of these.
    pub(super) fn decode(code: &[u8]) -> Option<OfItself> {
        let (rex, [0x0f, 0x38, opcode, modrm, ..]) = (match code {
            [0x66, rex @ 0x40..=0x4f, rest @ ..] => (*rex, rest),
            [0x66, rest @ ..] => (0, rest),
            _ => return None,
        }) else {
            return None;
        };
        let lane = match opcode {
            0x01 => 16,
            0x02 => 32,
            _ => return None,
        };
        let first = modrm >> 3 & 7 | rex << 1 & 8;
        let second = modrm & 7 | rex << 3 & 8;
        (modrm >> 6 == 3 && first == second).then_some(OfItself {
            register: first,
            lane,
            bytes: if rex == 0 { 5 } else { 6 },
        })
    }

    /// Those in some code, each with its offset.
    pub(super) fn all(code: &[u8]) -> Vec<(usize, OfItself)> {
        let found = (0..code.len()).filter_map(|at| Some((at, OfItself::decode(&code[at..])?)));
        found.collect()
    }

    /// Does what the instruction at `pc` does, and goes on behind it.
    pub(super) fn perform(self, processor: &mut Processor<'_>, pc: u64) -> Result<(), uc_error> {
        let register = VECTORS[usize::from(self.register)];
        let bytes = processor.reg_read_long(register)?;
        let bytes = <[u8; 16]>::try_from(&*bytes).map_err(|_| uc_error::ARG)?;
        let sums = self.sums(u128::from_le_bytes(bytes));
        processor.reg_write_long(register, &sums.to_le_bytes())?;
        processor.set_pc(pc + self.bytes)
    }

    /// What a register that held `value` holds afterwards.
    fn sums(self, value: u128) -> u128 {
        let lanes = 128 / self.lane;
        let mask = (1 << self.lane) - 1;
        let lane = |number: u32| value >> (number % lanes * self.lane) & mask;
        (0..lanes).fold(0, |sums, number| {
            let sum = (lane(2 * number) + lane(2 * number + 1)) & mask;
            sums | sum << (number * self.lane)
        })
    }
}

#[cfg(test)]
mod tests {
    use unicorn_engine::{Arch, Mode, Prot, Unicorn, X86CpuModel};

    use super::*;

    /// phaddw xmm3, xmm3; phaddd xmm10, xmm10, as an assembler writes them.
    const PHADDW: [u8; 5] = [0x66, 0x0f, 0x38, 0x01, 0xdb];
    const PHADDD: [u8; 6] = [0x66, 0x45, 0x0f, 0x38, 0x02, 0xd2];

    fn vector(lanes: [u16; 8]) -> u128 {
        lanes
            .iter()
            .rev()
            .fold(0, |value, lane| value << 16 | u128::from(*lane))
    }

    #[test]
    fn they_are_told_from_others() {
        let decoded = |code: &[u8]| OfItself::decode(code).map(|sum| (sum.register, sum.lane));
        assert_eq!(decoded(&PHADDW), Some((3, 16)));
        assert_eq!(decoded(&PHADDD), Some((10, 32)));
        for other in [
            // phaddw xmm3, xmm2; phaddd xmm10, xmm2; phaddw xmm2, xmm10; phaddw xmm3, [rbx]
            &[0x66, 0x0f, 0x38, 0x01, 0xda][..],
            &[0x66, 0x44, 0x0f, 0x38, 0x02, 0xd2],
            &[0x66, 0x41, 0x0f, 0x38, 0x01, 0xd2],
            &[0x66, 0x0f, 0x38, 0x01, 0x1b],
            // phsubw xmm3, xmm3; phaddw mm3, mm3; and the start of one
            &[0x66, 0x0f, 0x38, 0x05, 0xdb],
            &[0x0f, 0x38, 0x01, 0xdb],
            &PHADDW[..4],
            &PHADDD[..2],
            &[],
        ] {
            assert_eq!(decoded(other), None, "{other:x?}");
        }
        let code = [&[0x90][..], &PHADDW, &PHADDD].concat();
        let offsets: Vec<usize> = OfItself::all(&code).iter().map(|(at, _)| *at).collect();
        assert_eq!(offsets, [1, 6]);
    }

    #[test]
    fn pairs_of_lanes_are_summed_and_wrap() {
        let value = vector([1, 2, 0xffff, 4, 0x8000, 0x8001, 7, 8]);
        let sums = |code: &[u8]| OfItself::decode(code).expect("one").sums(value);
        assert_eq!(sums(&PHADDW), vector([3, 3, 1, 15, 3, 3, 1, 15]));
        assert_eq!(
            sums(&PHADDD),
            vector([0, 7, 0x8007, 0x8009, 0, 7, 0x8007, 0x8009])
        );
    }

    /// Once Unicorn does it right, none of this is needed.
    #[test]
    fn unicorn_gets_them_wrong() {
        const PAGE: u64 = 0x1000;
        let value = vector([1, 2, 3, 4, 5, 6, 7, 8]);
        for code in [&PHADDW[..], &PHADDD] {
            let sum = OfItself::decode(code).expect("one");
            let register = VECTORS[usize::from(sum.register)];
            let mut unicorn = Unicorn::new(Arch::X86, Mode::MODE_64).expect("made");
            let made = unicorn.ctl_set_cpu_model(X86CpuModel::HASWELL as i32);
            made.and_then(|()| unicorn.mem_map(PAGE, PAGE, Prot::ALL))
                .and_then(|()| unicorn.mem_write(PAGE, code))
                .and_then(|()| unicorn.reg_write_long(register, &value.to_le_bytes()))
                .and_then(|()| unicorn.emu_start(PAGE, PAGE + sum.bytes, 0, 0))
                .expect("it runs");
            let result = unicorn.reg_read_long(register).expect("a register");
            let result = u128::from_le_bytes((*result).try_into().expect("a vector"));
            assert_eq!(result as u64, sum.sums(value) as u64, "the lower half");
            assert_ne!(result, sum.sums(value), "{code:x?}");
        }
    }
}
