//! aarch64, as the emulator sees it.

use unicorn_engine::{Arch, Arm64CpuModel, Mode, RegisterARM64, RegisterARM64CP, uc_error};

use super::processor::{GATE_BYTES, Guest, Processor};
use crate::case::Settings;
use crate::codegen::compiled::LibCall;
use crate::runtime::entry::{HOST_CALLER, Target};
use crate::runtime::torn::{self, Store};

/// The ISA.
pub(super) struct Aarch64;

/// Registers by which a builtin is passed its arguments, the vmctx first.
const ARGUMENTS: [RegisterARM64; 6] = [
    RegisterARM64::X0,
    RegisterARM64::X1,
    RegisterARM64::X2,
    RegisterARM64::X3,
    RegisterARM64::X4,
    RegisterARM64::X5,
];

impl Guest for Aarch64 {
    fn arch(&self) -> (Arch, Mode) {
        (Arch::ARM64, Mode::LITTLE_ENDIAN)
    }

    fn model(&self) -> i32 {
        Arm64CpuModel::MAX as i32
    }

    fn gate(&self) -> [u8; GATE_BYTES as usize] {
        0xd65f_03c0_u32.to_le_bytes()
    }

    fn trap(&self) -> [u8; GATE_BYTES as usize] {
        // udf #0
        [0; 4]
    }

    fn set_up(&self, processor: &mut Processor<'_>) -> Result<(), uc_error> {
        sign_by_keys(processor)
    }

    fn enter(
        &self,
        processor: &mut Processor<'_>,
        target: Target,
        values: u64,
        top: u64,
        exit: u64,
    ) -> Result<(), uc_error> {
        let registers = [
            (RegisterARM64::X0, target.vmctx),
            (RegisterARM64::X1, HOST_CALLER),
            (RegisterARM64::X2, target.code),
            (RegisterARM64::X3, values),
            (RegisterARM64::X29, 0),
            (RegisterARM64::X30, exit),
            (RegisterARM64::SP, top),
        ];
        for (register, value) in registers {
            processor.reg_write(register, value)?;
        }
        Ok(())
    }

    fn arguments(&self, processor: &Processor<'_>) -> [u64; 6] {
        ARGUMENTS.map(|register| processor.reg_read(register).unwrap_or_default())
    }

    fn extends_arguments(&self) -> bool {
        // The procedure call standard leaves the upper half open.
        false
    }

    fn remembers_exceptions(&self) -> bool {
        false
    }

    fn answer(&self, processor: &mut Processor<'_>, value: u64) -> Result<(), uc_error> {
        processor.reg_write(RegisterARM64::X0, value)
    }

    fn left_at(&self, processor: &Processor<'_>) -> (u64, u64) {
        let read = |register| processor.reg_read(register).unwrap_or_default();
        (read(RegisterARM64::X29), read(RegisterARM64::X30))
    }

    fn stack_pointer(&self, processor: &Processor<'_>) -> u64 {
        processor.reg_read(RegisterARM64::SP).unwrap_or_default()
    }

    fn go_back(
        &self,
        processor: &mut Processor<'_>,
        stack_pointer: u64,
        (frame_pointer, return_address): (u64, u64),
    ) -> Result<(), uc_error> {
        processor.reg_write(RegisterARM64::SP, stack_pointer)?;
        processor.reg_write(RegisterARM64::X29, frame_pointer)?;
        processor.reg_write(RegisterARM64::X30, return_address)?;
        processor.set_pc(return_address)
    }

    fn routine(&self, _: &mut Processor<'_>, _: LibCall) -> Result<(), uc_error> {
        // The ISA has an instruction for each of them.
        Err(uc_error::ARG)
    }

    fn stores_vector(&self, processor: &Processor<'_>, code: &[u8]) -> Option<u64> {
        let instruction = u32::from_le_bytes(*code.first_chunk()?);
        let store = Store::decode(instruction)?;
        let of_halves = store.bytes() == 2 * torn::HALF;
        of_halves.then(|| {
            store.address(&|number| {
                let register = match number {
                    29 => RegisterARM64::X29 as i32,
                    30 => RegisterARM64::X30 as i32,
                    31 => RegisterARM64::SP as i32,
                    number => RegisterARM64::X0 as i32 + number as i32,
                };
                processor.reg_read(register).unwrap_or_default()
            })
        })
    }

    fn lacks(&self, _: &Settings) -> Option<&'static str> {
        // Unicorn's most capable processor has all that Cranelift knows of.
        None
    }
}

/// Has instructions that sign and authenticate return addresses do so. As the processor is reset,
/// they are disabled, and trap to the levels above, of which there are none.
fn sign_by_keys(processor: &mut Processor<'_>) -> Result<(), uc_error> {
    let register = |op1, crn, crm, op2| RegisterARM64CP {
        crn,
        crm,
        op0: 3,
        op1,
        op2,
        val: 0,
    };
    let enable = [
        // SCR_EL3: NS, RW and API.
        (register(6, 1, 1, 0), 1 | 1 << 10 | 1 << 17),
        // HCR_EL2: RW and API.
        (register(4, 1, 1, 0), 1 << 31 | 1 << 41),
        // SCTLR_EL1: EnIB and EnIA.
        (register(0, 1, 0, 0), 1 << 30 | 1 << 31),
    ];
    for (mut control, bits) in enable {
        processor.reg_read_arm64_coproc(&mut control)?;
        control.val |= bits;
        processor.reg_write_arm64_coproc(&control)?;
    }
    // Both halves of both keys, which are any numbers that differ.
    for half in 0..4 {
        let mut key = register(0, 2, 1, half);
        key.val = 0x9e37_79b9_7f4a_7c15_u64.rotate_left(16 * half);
        processor.reg_write_arm64_coproc(&key)?;
    }
    Ok(())
}
