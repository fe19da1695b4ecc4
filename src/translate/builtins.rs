//! The builtins: functions of the runtime that generated code calls.
//!
//! One table names each builtin once, with its signature. From it come the declaration of CLIF
//! signatures ([`BuiltinSignatures`]), the offsets of their addresses in the vmctx
//! ([`crate::translate::layout`]) and, in the runtime, the addresses themselves. Every builtin
//! takes the vmctx first: the runtime finds its store there, and its entry stub the place where
//! the exit from wasm is recorded for the stack walk.

use cranelift_codegen::ir::{self, AbiParam, ArgumentPurpose, Function, Signature, types};
use cranelift_codegen::isa::CallConv;

/// Calls a macro with the table of builtins, in the order of their addresses in the vmctx.
///
/// Types: `i32` (an unsigned 32-bit integer, zero-extended to a register), `i64`, `pointer` (an
/// address), `reference` (an `externref`: null or the address of a host object). Index arguments
/// named `index` count in the module's index space, those named `defined` among what the module
/// defines.
#[macro_export]
macro_rules! for_each_builtin {
    ($mac:ident) => {
        $mac! {
            /// Calls a host function; must be first, see `HostContext` in the runtime. `values`
            /// points to 16-byte slots: arguments on entry, results on return. Traps.
            host_call(caller_vmctx: pointer, values: pointer);
            /// `memory.grow` of a memory the module defines; the old size in pages, or -1.
            memory32_grow(delta: i32, defined: i32) -> i32;
            /// `memory.grow` of an imported memory.
            imported_memory32_grow(delta: i32, index: i32) -> i32;
            /// `memory.size` of a memory the module defines, in pages.
            memory32_size(defined: i32) -> i32;
            /// `memory.size` of an imported memory.
            imported_memory32_size(index: i32) -> i32;
            /// `memory.copy`. Traps.
            memory_copy(dst_index: i32, dst: i32, src_index: i32, src: i32, len: i32);
            /// `memory.fill` of a memory the module defines. Traps.
            memory_fill(defined: i32, dst: i32, value: i32, len: i32);
            /// `memory.fill` of an imported memory. Traps.
            imported_memory_fill(index: i32, dst: i32, value: i32, len: i32);
            /// `memory.init`. Traps.
            memory_init(index: i32, segment: i32, dst: i32, src: i32, len: i32);
            /// `data.drop`.
            data_drop(segment: i32);
            /// `table.copy`. Traps.
            table_copy(dst_index: i32, src_index: i32, dst: i32, src: i32, len: i32);
            /// `table.init`. Traps.
            table_init(index: i32, segment: i32, dst: i32, src: i32, len: i32);
            /// `elem.drop`.
            elem_drop(segment: i32);
            /// `table.grow` of a funcref table; the old size, or -1.
            table_grow_funcref(index: i32, delta: i32, init: pointer) -> i32;
            /// `table.grow` of an externref table; the old size, or -1.
            table_grow_externref(index: i32, delta: i32, init: reference) -> i32;
            /// `table.fill` of a funcref table. Traps.
            table_fill_funcref(index: i32, dst: i32, value: pointer, len: i32);
            /// `table.fill` of an externref table. Traps.
            table_fill_externref(index: i32, dst: i32, value: reference, len: i32);
            /// Drops a host object whose count has reached zero.
            drop_externref(object: pointer);
            /// The slow path of the read barrier: collects, then inserts the reference into the
            /// activations table.
            activations_table_insert_with_gc(object: reference);
            /// `global.get` of an externref.
            externref_global_get(index: i32) -> reference;
            /// `global.set` of an externref.
            externref_global_set(index: i32, value: reference);
            /// `memory.grow` of a memory that is addressed by i64; the old size in pages, or -1.
            memory64_grow(delta: i64, index: i32) -> i64;
            /// `memory.size` of a memory that is addressed by i64, in pages.
            memory64_size(index: i32) -> i64;
            /// `memory.copy` where one of the two memories, or both, are addressed by i64. Traps.
            memory64_copy(dst_index: i32, dst: i64, src_index: i32, src: i64, len: i64);
            /// `memory.fill` of a memory that is addressed by i64. Traps.
            memory64_fill(index: i32, dst: i64, value: i32, len: i64);
            /// `memory.init` of a memory that is addressed by i64. Traps.
            memory64_init(index: i32, segment: i32, dst: i64, src: i32, len: i32);
        }
    };
}

macro_rules! declare_builtins {
    ($(
        $(#[$doc:meta])*
        $name:ident( $( $param:ident: $ty:ident ),* ) $( -> $result:ident )?;
    )*) => {
        /// The number of a builtin, which is the position of its address in the vmctx.
        #[allow(non_camel_case_types, reason = "named as the functions they stand for")]
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[repr(u32)]
        pub enum Builtin { $( $(#[$doc])* $name, )* }

        impl Builtin {
            /// All builtins, in the order of their numbers.
            pub const ALL: &'static [Builtin] = &[ $( Builtin::$name, )* ];

            /// The name.
            pub fn name(self) -> &'static str {
                match self { $( Builtin::$name => stringify!($name), )* }
            }

            /// Whether a parameter is an i32; the vmctx, which comes before all, does not count.
            pub fn takes_i32(self, parameter: usize) -> bool {
                let types: &[&str] = match self {
                    $( Builtin::$name => &[ $( stringify!($ty) ),* ], )*
                };
                types.get(parameter).is_some_and(|ty| *ty == "i32")
            }

            /// Clears what a calling convention leaves open of the registers in which arguments are
            /// passed, of which the vmctx is not one: the upper halves of those that hold an i32.
            pub fn zero_extend(self, arguments: &mut [u64]) {
                for (parameter, argument) in arguments.iter_mut().enumerate() {
                    if self.takes_i32(parameter) {
                        *argument &= u64::from(u32::MAX);
                    }
                }
            }

            fn signature(self, types: &BuiltinTypes) -> Signature {
                match self {
                    $( Builtin::$name => types.signature(
                        &[ $( types.$ty() ),* ],
                        &[ $( types.$result() )? ],
                    ), )*
                }
            }
        }
    };
}

for_each_builtin!(declare_builtins);

/// How the types of the table are passed.
struct BuiltinTypes {
    call_conv: CallConv,
    sign_extend: bool,
}

impl BuiltinTypes {
    fn i32(&self) -> AbiParam {
        // Some ABIs leave the upper half of a register open. All i32 arguments of builtins are
        // unsigned, and the runtime takes whole registers, so they are zero-extended.
        let param = AbiParam::new(types::I32);
        if self.sign_extend {
            param.sext()
        } else {
            param.uext()
        }
    }

    fn i64(&self) -> AbiParam {
        AbiParam::new(types::I64)
    }

    fn pointer(&self) -> AbiParam {
        AbiParam::new(types::I64)
    }

    fn reference(&self) -> AbiParam {
        AbiParam::new(types::I64)
    }

    fn signature(&self, params: &[AbiParam], results: &[AbiParam]) -> Signature {
        let vmctx = AbiParam::special(types::I64, ArgumentPurpose::VMContext);
        Signature {
            params: std::iter::once(vmctx)
                .chain(params.iter().copied())
                .collect(),
            returns: results.to_vec(),
            call_conv: self.call_conv,
        }
    }
}

/// The signatures of builtins within one function, each imported at its first use.
pub struct BuiltinSignatures {
    types: BuiltinTypes,
    imported: [Option<ir::SigRef>; Builtin::ALL.len()],
}

impl BuiltinSignatures {
    /// For a function whose builtins are called by `call_conv`. `sign_extend` plants
    /// [`crate::score::Fault::SignExtendBuiltinArguments`].
    pub fn new(call_conv: CallConv, sign_extend: bool) -> BuiltinSignatures {
        BuiltinSignatures {
            types: BuiltinTypes {
                call_conv,
                sign_extend,
            },
            imported: [None; Builtin::ALL.len()],
        }
    }

    /// Forgets what was imported, for the next function.
    pub fn clear(&mut self) {
        self.imported = [None; Builtin::ALL.len()];
    }

    /// The signature of a builtin, in `func`.
    pub fn get(&mut self, func: &mut Function, builtin: Builtin) -> ir::SigRef {
        *self.imported[builtin as usize]
            .get_or_insert_with(|| func.import_signature(builtin.signature(&self.types)))
    }
}

/// The signature by which generated code calls a builtin.
pub fn builtin_signature(builtin: Builtin, call_conv: CallConv) -> Signature {
    builtin.signature(&BuiltinTypes {
        call_conv,
        sign_extend: false,
    })
}
