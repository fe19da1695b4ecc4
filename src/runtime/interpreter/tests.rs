//! Instructions one by one: ours against those of the crate, and the crate's where it is wrong.

use std::rc::Rc;

use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::{
    self, AbiParam, Inst, InstBuilder, MemFlags, Opcode, StackSlotData, StackSlotKind, TrapCode,
    Type, Value, types,
};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use parallax_oracles::TrapKind;

use super::*;
use crate::case::Settings;
use crate::codegen::{CodegenConfig, Generation, Generator, Isa, clif};

/// Where code is said to be.
const BASE: u64 = 1 << 20;

/// There are none.
struct NoBuiltins;

impl Builtins for NoBuiltins {
    fn call(&mut self, _: Builtin, _: &[u64], _: (u64, u64)) -> Result<Returned, Stopped> {
        Err(Stopped::Panicked)
    }

    fn called_back(&mut self, _: (u64, u64), _: Option<CallBack>) -> Result<(), Stopped> {
        Err(Stopped::Panicked)
    }
}

/// A function, alone.
struct Function {
    interpreter: Interpreter,
    module: CompiledModule,
}

type Build<'a> = &'a dyn Fn(&mut FunctionBuilder<'_>, &[Value]) -> Vec<Value>;

impl Function {
    /// From parameters of these types to what `build` makes of them, of these types.
    fn new(params: &[Type], returns: &[Type], build: Build<'_>) -> Result<Function, String> {
        let mut generator = Generator::new(Generation::CURRENT);
        let mut interpreter = Interpreter::new();
        interpreter.unload_from(BASE..BASE << 1, BASE, generator.lowerer());
        let mut context = FunctionBuilderContext::new();
        let mut func = ir::Function::new();
        let abi = |types: &[Type]| types.iter().map(|ty| AbiParam::new(*ty)).collect();
        func.signature.params = abi(params);
        func.signature.returns = abi(returns);
        let mut builder = FunctionBuilder::new(&mut func, &mut context);
        let block = builder.create_block();
        builder.append_block_params_for_function_params(block);
        builder.switch_to_block(block);
        let params = builder.block_params(block).to_vec();
        let results = build(&mut builder, &params);
        builder.ins().return_(&results);
        builder.seal_all_blocks();
        builder.finalize();

        let settings = Settings {
            canonicalise_nans: false,
            ..Settings::default()
        };
        let config = CodegenConfig::new(Isa::Clif, &settings);
        let mut module = CompiledModule::default();
        generator
            .compile(&Rc::new(func), &config, 0, None, &mut module)
            .map_err(|error| error.to_string())?;
        interpreter.load(generator.lowerer(), &module, BASE);
        Ok(Function {
            interpreter,
            module,
        })
    }

    /// Calls it, by the crate's interpreter as far as that is trusted, or by our own operations.
    fn call(&mut self, arguments: &[u128], stepped: bool) -> Result<Vec<u128>, Stopped> {
        self.interpreter
            .step_first(if stepped { u32::MAX } else { 0 });
        let stack = self.interpreter.stack();
        // SAFETY: there is no store, and nothing refers to the stack.
        let memory = unsafe { Reach::new(OwnedByStore::new(std::ptr::null(), stack)) };
        let arguments: Vec<Register> = arguments.iter().copied().map(Register::from_u128).collect();
        let results = self.interpreter.run(memory, NoBuiltins, 0, &arguments)?;
        Ok(results.into_iter().map(Register::to_u128).collect())
    }

    /// Has the crate's interpreter do the first operation, although it is not trusted with it.
    fn trust(mut self) -> Function {
        let program = &mut self.interpreter.programs[0];
        let block = program.func.layout.entry_block().expect("there is one");
        let first: Option<Inst> = program.func.layout.first_inst(block);
        program.steps[0] = first.into();
        self
    }
}

/// Values of a type that instructions may treat differently from others.
fn values(ty: Type) -> Vec<u128> {
    let bits = ty.lane_bits();
    let mask = u64::MAX >> (64 - bits);
    let all: &[u64] = match ty.lane_type() {
        types::F32 => &[
            0,
            0x8000_0000,
            0x3f80_0000,
            0xbfc0_0000,
            0x7f80_0000,
            0xff80_0000,
            0x7fc0_0000,
            0x7fa0_0001,
            1,
            0x4f00_0000,
            0x3f00_0000,
        ],
        types::F64 => &[
            0,
            1 << 63,
            0x3ff0_0000_0000_0000,
            0xbff8_0000_0000_0000,
            0x7ff0_0000_0000_0000,
            0xfff0_0000_0000_0000,
            0x7ff8_0000_0000_0000,
            0x7ff4_0000_0000_0001,
            1,
            0x43e0_0000_0000_0000,
            0x3fe0_0000_0000_0000,
        ],
        _ => &[
            0,
            1,
            2,
            7,
            31,
            33,
            64,
            u64::MAX,
            u64::MAX - 1,
            0x0123_4567_89ab_cdef,
            0x8000_0000_0000_0000,
            0x8080_8080_8080_8080,
            0x7fff_ffff_7fff_7f7f,
            0x0000_0000_8000_0000,
        ],
    };
    let lane = |value: &u64| u128::from(value & mask);
    if !ty.is_vector() {
        return all.iter().map(lane).collect();
    }
    // Every value in every lane, with others beside it.
    let lanes = ty.lane_count();
    let vector = |first: usize| {
        (0..lanes).fold(0, |vector, index| {
            let value = &all[(first + 3 * index as usize) % all.len()];
            vector | lane(value) << (index * bits)
        })
    };
    (0..all.len()).map(vector).collect()
}

/// Whether two results are equal but for the payloads of NaNs.
fn same(ty: Type, a: u128, b: u128) -> bool {
    (0..ty.lane_count()).all(|lane| {
        let bits = ty.lane_bits();
        let of = |value: u128| (value >> (lane * bits)) as u64 & (u64::MAX >> (64 - bits));
        let (a, b) = (of(a), of(b));
        let nan = |value: u64| match ty.lane_type() {
            types::F32 => f32::from_bits(value as u32).is_nan(),
            types::F64 => f64::from_bits(value).is_nan(),
            _ => false,
        };
        a == b || nan(a) && nan(b)
    })
}

/// Checks that ours and the crate's do the same of all operands. `build` makes one instruction.
fn check(name: &str, params: &[Type], result: Type, build: Build<'_>) {
    let mut function = Function::new(params, &[result], build).expect("it is interpreted");
    let program = &function.interpreter.programs[0];
    assert!(
        program.steps[0].is_some() && !matches!(program.ops[0], clif::Op::Step),
        "{name} is ours and the crate's"
    );
    for a in values(params[0]) {
        for b in params.get(1).map_or(vec![0], |ty| values(*ty)) {
            let arguments = &[a, b][..params.len()];
            let ours = function.call(arguments, false);
            let theirs = function.call(arguments, true);
            let equal = match (&ours, &theirs) {
                (Ok(ours), Ok(theirs)) => same(result, ours[0], theirs[0]),
                (ours, theirs) => ours == theirs,
            };
            assert!(
                equal,
                "{name} of {a:#x}, {b:#x}: {ours:x?}, not {theirs:x?}"
            );
        }
    }
}

const INTEGERS: [Type; 4] = [types::I8, types::I16, types::I32, types::I64];
const FLOATS: [Type; 2] = [types::F32, types::F64];

fn unary(opcode: Opcode, from: Type, to: Type) {
    check(
        &format!("{opcode} {from} {to}"),
        &[from],
        to,
        &|builder, params| {
            let (inst, dfg) = builder.ins().Unary(opcode, to, params[0]);
            vec![dfg.first_result(inst)]
        },
    );
}

fn binary(opcode: Opcode, ty: Type, amount: Type) {
    check(
        &format!("{opcode} {ty}"),
        &[ty, amount],
        ty,
        &|builder, params| {
            let (inst, dfg) = builder.ins().Binary(opcode, ty, params[0], params[1]);
            vec![dfg.first_result(inst)]
        },
    );
}

#[test]
fn integers_are_computed_as_the_crate_does() {
    use Opcode::*;
    for ty in INTEGERS {
        for opcode in [Iadd, Isub, Imul, Band, Bor, Bxor, BandNot, Udiv, Urem, Sdiv] {
            binary(opcode, ty, ty);
        }
        for opcode in [Ishl, Ushr, Sshr, Rotl, Rotr] {
            for amount in INTEGERS {
                binary(opcode, ty, amount);
            }
        }
        for opcode in [Bnot, Ineg, Clz, Ctz, Popcnt] {
            unary(opcode, ty, ty);
        }
        for wide in INTEGERS {
            if wide.bits() > ty.bits() {
                unary(Uextend, ty, wide);
                unary(Sextend, ty, wide);
                unary(Ireduce, wide, ty);
            }
        }
        for condition in IntCC::all() {
            let name = format!("icmp {condition} {ty}");
            check(&name, &[ty, ty], types::I8, &|builder, params| {
                vec![builder.ins().icmp(*condition, params[0], params[1])]
            });
            check(&name, &[ty], types::I8, &|builder, params| {
                vec![builder.ins().icmp_imm(*condition, params[0], 7)]
            });
        }
    }
}

#[test]
fn floats_are_computed_as_the_crate_does() {
    use Opcode::*;
    for ty in FLOATS {
        for opcode in [Fadd, Fsub, Fmul, Fdiv, Fcopysign] {
            binary(opcode, ty, ty);
        }
        for opcode in [Fneg, Fabs, Sqrt] {
            unary(opcode, ty, ty);
        }
        for condition in [
            FloatCC::Ordered,
            FloatCC::Unordered,
            FloatCC::Equal,
            FloatCC::NotEqual,
            FloatCC::LessThan,
            FloatCC::LessThanOrEqual,
            FloatCC::GreaterThan,
            FloatCC::GreaterThanOrEqual,
        ] {
            let name = format!("fcmp {condition} {ty}");
            check(&name, &[ty, ty], types::I8, &|builder, params| {
                vec![builder.ins().fcmp(condition, params[0], params[1])]
            });
        }
    }
}

#[test]
fn vectors_are_moved_as_the_crate_does() {
    use Opcode::*;
    for ty in [types::I8X16, types::I64X2] {
        for opcode in [Band, Bor, Bxor, BandNot] {
            binary(opcode, ty, ty);
        }
        unary(Bnot, ty, ty);
    }
    let flags = MemFlags::new().with_endianness(cranelift_codegen::ir::Endianness::Little);
    for (from, to) in [
        (types::I8X16, types::F32X4),
        (types::F64X2, types::I16X8),
        (types::I32, types::F32),
        (types::F64, types::I64),
    ] {
        check("bitcast", &[from], to, &|builder, params| {
            vec![builder.ins().bitcast(to, flags, params[0])]
        });
    }
}

/// Whatever is stored is there, in little-endian order and at its address, and is loaded as it is asked
/// for.
#[test]
fn stack_slots_are_memory() {
    for stepped in [false, true] {
        let mut function = Function::new(
            &[types::I64],
            &[types::I16, types::I32],
            &|builder, params| {
                let slot = |size| StackSlotData::new(StackSlotKind::ExplicitSlot, size, 3);
                let _other = builder.create_sized_stack_slot(slot(4));
                let slot = builder.create_sized_stack_slot(slot(16));
                builder.ins().stack_store(params[0], slot, 8);
                let address = builder.ins().stack_addr(types::I64, slot, 4);
                let flags = MemFlags::trusted();
                let low = builder.ins().load(types::I16, flags, address, 4);
                let high = builder.ins().sload8(types::I32, flags, address, 11);
                builder.ins().istore8(flags, params[0], address, 11);
                vec![low, high]
            },
        )
        .expect("it is interpreted");
        let results = function.call(&[0x8123_4567_89ab_cdef], stepped);
        assert_eq!(results, Ok(vec![0xcdef, 0xffff_ff81]));
    }
}

/// An access that is refused ends at its operation, and tells the first address that it must not touch.
#[test]
fn what_nobody_owns_is_not_accessed() {
    for stepped in [false, true] {
        let mut function = Function::new(&[types::I64], &[types::I64], &|builder, params| {
            let flags = MemFlags::trusted();
            let value = builder.ins().load(types::I64, flags, params[0], 8);
            builder.ins().store(flags, value, params[0], 0);
            vec![value]
        })
        .expect("it is interpreted");
        let end = function.interpreter.stack().end;
        // Below the return address and the frame pointer.
        let frame_bytes = function.interpreter.programs[0].frame_bytes;
        let stack_pointer = end - 16 - u64::from(frame_bytes);
        let fault = |op, address| {
            Err(Stopped::Fault {
                signal: libc::SIGSEGV,
                pc: BASE + op,
                address,
                stack_pointer,
            })
        };
        let mut call = |address: u64| function.call(&[u128::from(address)], stepped);
        assert_eq!(call(0), fault(0, 8));
        assert_eq!(call(u64::MAX - 7), fault(0, 0));
        assert_eq!(call(end - 8), fault(0, end));
        assert_eq!(call(end - 12), fault(0, end));
        assert!(call(end - 16).is_ok());
        assert!(call(1 << 62).is_err());
        let start = function.interpreter.stack().start;
        let below = function.call(&[u128::from(start - 8)], stepped);
        assert_eq!(below, fault(1, start - 8));
    }
}

/// What is live across a call is found where the map of that call says.
#[test]
fn stack_maps_lead_to_the_slots() {
    let function = Function::new(&[types::I64], &[types::I64], &|builder, params| {
        let data = StackSlotData::new(StackSlotKind::ExplicitSlot, 24, 4);
        let _other = builder.create_sized_stack_slot(data);
        let value = builder.ins().iadd_imm(params[0], 1);
        builder.declare_value_needs_stack_map(value);
        let signature = builder.func.signature.clone();
        let signature = builder.import_signature(signature);
        let call = builder
            .ins()
            .call_indirect(signature, params[0], &[params[0]]);
        let _ = builder.inst_results(call);
        vec![value]
    })
    .expect("it is interpreted");
    let program = &function.interpreter.programs[0];
    let is_call = |op: &clif::Op| matches!(op, clif::Op::CallIndirect { .. });
    let call = program.ops.iter().position(is_call).expect("there is one");
    let (frame, slots) = function
        .module
        .stack_map_at(call as u32 + 1)
        .expect("a map behind the call");
    assert_eq!(frame, program.frame_bytes);
    assert_eq!(slots, &program.slots[1..]);
    let stored =
        |op: &clif::Op| matches!(op, clif::Op::StackStore { offset, .. } if *offset == slots[0]);
    assert!(program.ops[..call].iter().any(stored));
}

/// What signatures leave open of a register is not what code may rely on.
#[test]
fn arguments_are_extended_as_signatures_say() {
    let number = 0x8000_0001;
    let param = AbiParam::new(types::I32);
    assert_eq!(argument(number, &param.uext()), number);
    assert_eq!(argument(number, &param.sext()), 0xffff_ffff_8000_0001);
    assert_ne!(argument(number, &param) >> 32, 0);
    assert_eq!(argument(u64::MAX, &AbiParam::new(types::I64)), u64::MAX);
}

#[test]
fn what_is_not_known_is_refused_by_name() {
    let refused = Function::new(&[types::I32], &[types::I32], &|builder, params| {
        vec![builder.ins().bitrev(params[0])]
    });
    assert_eq!(
        refused.err().as_deref(),
        Some("unsupported: instruction bitrev.i32")
    );
    let refused = Function::new(&[types::I128], &[types::I128], &|builder, params| {
        vec![builder.ins().iadd(params[0], params[0])]
    });
    assert_eq!(
        refused.err().as_deref(),
        Some("unsupported: iadd with i128")
    );
}

#[test]
fn multiplication_and_addition_round_once() {
    let mut fused = Function::new(&[types::F32X4; 3], &[types::F32X4], &|builder, params| {
        vec![builder.ins().fma(params[0], params[1], params[2])]
    })
    .expect("it is interpreted");
    let lanes = |bits: u32| u128::from(bits) << 96 | u128::from(bits);
    let (a, c) = (lanes(0x3f80_0001), lanes(0xbf80_0002));
    // The square of 1 + 2^-23 less 1 + 2^-22 is 2^-46, if nothing is rounded in between.
    assert_eq!(fused.call(&[a, a, c], true), Ok(vec![lanes(0x2880_0000)]));
    let theirs = fused.trust().call(&[a, a, c], true);
    assert_eq!(theirs, Ok(vec![lanes(0x2880_0000)]));
}

/// The instructions that are not left to the crate, and why. A version that does them right, and that
/// they can be left to, makes this fail.
#[test]
fn the_crate_is_wrong_as_told_in_the_findings() {
    let least = 1_u128 << 31;
    let minus_one = u128::from(u32::MAX);
    let binary = |opcode, ty| {
        Function::new(&[ty, ty], &[ty], &|builder, params| {
            let (inst, dfg) = builder.ins().Binary(opcode, ty, params[0], params[1]);
            vec![dfg.first_result(inst)]
        })
        .expect("it is interpreted")
    };

    let mut srem = binary(Opcode::Srem, types::I32);
    assert_eq!(srem.call(&[least, minus_one], true), Ok(vec![0]));
    assert_eq!(
        srem.trust().call(&[least, minus_one], true),
        Err(Stopped::Trap(TrapKind::IntegerOverflow))
    );

    let signalling = 0x7fa0_0000;
    for opcode in [Opcode::Fmin, Opcode::Fmax] {
        let mut scalar = binary(opcode, types::F32);
        assert_eq!(scalar.call(&[signalling, 0], true), Ok(vec![0x7fe0_0000]));
        let theirs = scalar.trust().call(&[signalling, 0], true);
        assert_eq!(theirs, Ok(vec![signalling]));

        let mut vector = binary(opcode, types::F32X4);
        assert_eq!(vector.call(&[0, 0], true), Ok(vec![0]));
        let theirs = vector.trust().call(&[0, 0], true);
        assert_eq!(theirs, Err(Stopped::NotInterpreted));
    }

    for opcode in [Opcode::Ceil, Opcode::Floor, Opcode::Trunc, Opcode::Nearest] {
        for (ty, signalling, quiet) in [
            (types::F32, signalling, 0x7fe0_0000),
            (types::F64, 0x7ff4 << 48, 0x7ffc << 48),
            (types::F32X4, signalling << 96, 0x7fe0_0000 << 96),
        ] {
            let mut rounded = Function::new(&[ty], &[ty], &|builder, params| {
                let (inst, dfg) = builder.ins().Unary(opcode, ty, params[0]);
                vec![dfg.first_result(inst)]
            })
            .expect("it is interpreted");
            let ours = rounded.call(&[signalling], true).expect("no trap");
            assert_eq!(ours, [quiet], "{opcode} of {ty}");
            // The operation behind it makes the difference.
            rounded.interpreter.programs[0].ops[1] = clif::Op::Copy { to: 1, from: 1 };
            let theirs = rounded.call(&[signalling], true).expect("no trap");
            assert_eq!(theirs, [signalling], "{opcode} of {ty}");
        }
    }

    let mut average = binary(Opcode::AvgRound, types::I8X16);
    assert_eq!(average.call(&[0xff, 0xfe], true), Ok(vec![0xff]));
    let theirs = average.trust().call(&[0xff, 0xfe], true);
    assert_eq!(theirs, Err(Stopped::NotInterpreted));

    let mut sum = Function::new(&[types::I32; 2], &[types::I32], &|builder, params| {
        let code = TrapCode::HeapOutOfBounds;
        let (a, b) = (params[0], params[1]);
        vec![builder.ins().uadd_overflow_trap(a, b, code)]
    })
    .expect("it is interpreted");
    assert!(sum.call(&[minus_one, 2], true).is_err());
    assert_eq!(sum.trust().call(&[minus_one, 2], true), Ok(vec![1]));

    let loads = |offset: i32, opcode: Opcode, ty| {
        Function::new(&[types::I64], &[ty], &|builder, params| {
            let flags = MemFlags::trusted();
            let (inst, dfg) = builder
                .ins()
                .Load(opcode, ty, flags, offset.into(), params[0]);
            vec![dfg.first_result(inst)]
        })
        .expect("it is interpreted")
    };
    let mut before = loads(-8, Opcode::Load, types::I64);
    let end = u128::from(before.interpreter.stack().end);
    assert!(before.call(&[end], true).is_ok());
    assert!(before.trust().call(&[end], true).is_err());

    let mut widened = loads(0, Opcode::Sload8x8, types::I16X8);
    let end = u128::from(widened.interpreter.stack().end);
    assert!(widened.call(&[end - 8], true).is_ok());
    let theirs = widened.trust().call(&[end - 8], true);
    assert_eq!(theirs, Err(Stopped::NotInterpreted));
}
