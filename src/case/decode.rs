//! Decoding: one pass over a binary that validates it, notes what [`Module`] holds and collects
//! the opcodes of its code, then hands it to the normaliser. Every operator is read once.

use wasmparser::{
    BinaryReader, ConstExpr as RawConstExpr, DataKind, ElementItems, ElementKind, ExternalKind,
    FuncValidatorAllocations, FunctionBody, KnownCustom, Name, Operator, Parser, Payload, RefType,
    TypeRef, ValidPayload, Validator, ValidatorResources, WasmFeatures,
};

use parallax_oracles::Value;

use super::module::{
    Arithmetic, ConstExpr, ConstOp, DataSegment, DecodeError, ElementSegment, Extern, FuncType,
    GlobalType, Import, ImportKind, MemoryType, Module, SegmentMode, TableType, ValType,
};
use super::normalise;

/// What modules may use: WebAssembly 2.0, which includes the vector instructions, and of what came
/// after it tail calls, several memories, memories that are addressed by i64, arithmetic in constant
/// expressions, and relaxed vector instructions, which all engines read in the one way that the
/// specification calls deterministic. Tables that are addressed by i64 come with the memories, but are refused.
pub const FEATURES: WasmFeatures = WasmFeatures::WASM2
    .union(WasmFeatures::TAIL_CALL)
    .union(WasmFeatures::MULTI_MEMORY)
    .union(WasmFeatures::EXTENDED_CONST)
    .union(WasmFeatures::MEMORY64)
    .union(WasmFeatures::RELAXED_SIMD);

/// Tables that a module may have, and targets of a `br_table` besides the default: fewer than the
/// validator here lets in, since the generation of it that translation and the reference come with lets in no more
/// (limits.rs of wasmparser 0.217 and 0.228).
pub const MOST_TABLES: usize = 100;
/// See [`MOST_TABLES`].
pub const MOST_BRANCH_TARGETS: u32 = 128 << 10;

impl Module {
    /// Validates (WebAssembly 2.0 with SIMD, and the proposals beyond it that are let in), decodes and
    /// normalises a binary.
    ///
    /// # Errors
    /// [`DecodeError`] if the binary is malformed, invalid, or uses a proposal that is not among those.
    pub fn from_wasm(wasm: &[u8], name: Option<String>) -> Result<Module, DecodeError> {
        let mut decoder = Decoder {
            module: Module {
                name,
                ..Module::default()
            },
            validator: Validator::new_with_features(FEATURES),
            allocations: FuncValidatorAllocations::default(),
        };
        let mut parser = Parser::new(0);
        parser.set_features(FEATURES);
        for payload in parser.parse_all(wasm) {
            decoder.payload(payload?)?;
        }
        let mut module = decoder.module;
        let normalised = normalise::normalise(wasm, &mut module);
        module.wasm = normalised.wasm;
        // Data lies behind the exports, and has moved with them.
        for segment in &mut module.data {
            let moved = |offset: usize| offset.wrapping_add_signed(normalised.shift);
            segment.bytes = moved(segment.bytes.start)..moved(segment.bytes.end);
        }
        Ok(module)
    }
}

impl From<wasmparser::Error> for DecodeError {
    fn from(error: wasmparser::Error) -> DecodeError {
        DecodeError {
            message: error.message().to_string(),
            offset: error.offset() as usize,
        }
    }
}

/// A module being decoded, and what validates it.
struct Decoder {
    module: Module,
    validator: Validator,
    allocations: FuncValidatorAllocations,
}

impl Decoder {
    /// Validates and notes one part of the binary. What is noted can be relied on to be valid in
    /// itself, since the validator has seen it first.
    fn payload(&mut self, payload: Payload<'_>) -> Result<(), DecodeError> {
        if let ValidPayload::Func(function, body) = self.validator.payload(&payload)? {
            return self.function(function, &body);
        }
        let module = &mut self.module;
        match payload {
            Payload::TypeSection(types) => {
                module.types.reserve(types.count() as usize);
                for ty in types.into_iter_err_on_gc_types() {
                    let ty = func_type(&ty?)?;
                    module.uses_externref |= ty.params.iter().chain(&ty.results).any(is_externref);
                    module.types.push(ty);
                }
            }
            Payload::ImportSection(imports) => {
                for import in imports.into_imports_with_offsets() {
                    let (offset, import) = import?;
                    self.import(&import, offset)?;
                }
            }
            Payload::FunctionSection(functions) => {
                module.functions.reserve(functions.count() as usize);
                for ty in functions {
                    module.functions.push(ty?);
                }
            }
            Payload::TableSection(tables) => {
                for table in tables {
                    let table = table?;
                    self.table(&table.ty)?;
                    let init = match &table.init {
                        wasmparser::TableInit::RefNull => None,
                        wasmparser::TableInit::Expr(expr) => Some(self.const_expr(expr)?),
                    };
                    self.module.table_inits.push(init);
                }
            }
            Payload::MemorySection(memories) => {
                for memory in memories {
                    module.memories.push(memory_type(&memory?));
                }
            }
            Payload::GlobalSection(globals) => {
                for global in globals {
                    let global = global?;
                    self.global(&global.ty)?;
                    let init = self.const_expr(&global.init_expr)?;
                    self.module.global_inits.push(init);
                }
            }
            Payload::ExportSection(exports) => {
                module.exports.reserve(exports.count() as usize);
                for export in exports {
                    let export = export?;
                    let item = match export.kind {
                        ExternalKind::Func => Extern::Func(export.index),
                        ExternalKind::Table => Extern::Table(export.index),
                        ExternalKind::Memory => Extern::Memory(export.index),
                        ExternalKind::Global => Extern::Global(export.index),
                        _ => return Err(unsupported("export of this kind", 0)),
                    };
                    module.exports.push((export.name.to_string(), item));
                }
            }
            Payload::StartSection { func, .. } => module.start = Some(func),
            Payload::ElementSection(elements) => {
                module.elements.reserve(elements.count() as usize);
                for element in elements {
                    let segment = self.element_segment(element?)?;
                    self.module.elements.push(segment);
                }
            }
            Payload::DataSection(data) => {
                module.data.reserve(data.count() as usize);
                for segment in data {
                    let segment = segment?;
                    let mode = match &segment.kind {
                        DataKind::Passive => SegmentMode::Passive,
                        DataKind::Active {
                            memory_index,
                            offset_expr,
                        } => SegmentMode::Active {
                            target: *memory_index,
                            offset: self.const_expr(offset_expr)?,
                        },
                    };
                    let end = segment.range.end as usize;
                    self.module.data.push(DataSegment {
                        mode,
                        bytes: end - segment.data.len()..end,
                    });
                }
            }
            Payload::CustomSection(section) => {
                if let KnownCustom::Name(names) = section.as_known() {
                    // What a custom section holds has no say in whether a module is valid.
                    for name in names.into_iter().map_while(Result::ok) {
                        if let Name::Function(names) = name {
                            for naming in names.into_iter().map_while(Result::ok) {
                                module
                                    .function_names
                                    .insert(naming.index, naming.name.to_string());
                            }
                        }
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn import(&mut self, import: &wasmparser::Import<'_>, offset: u64) -> Result<(), DecodeError> {
        let kind = match &import.ty {
            TypeRef::Func(ty) => {
                self.module.functions.push(*ty);
                ImportKind::Func(*ty)
            }
            TypeRef::Table(ty) => ImportKind::Table(self.table(ty)?),
            TypeRef::Memory(ty) => {
                let ty = memory_type(ty);
                self.module.memories.push(ty);
                ImportKind::Memory(ty)
            }
            TypeRef::Global(ty) => ImportKind::Global(self.global(ty)?),
            _ => return Err(unsupported("import of this kind", offset)),
        };
        self.module.imports.push(Import {
            module: import.module.to_string(),
            name: import.name.to_string(),
            kind,
        });
        Ok(())
    }

    fn table(&mut self, ty: &wasmparser::TableType) -> Result<TableType, DecodeError> {
        if ty.table64 {
            return Err(unsupported("table that is addressed by i64", 0));
        }
        let ty = TableType {
            element: ref_type(ty.element_type)?,
            min: ty.initial,
            max: ty.maximum,
        };
        self.module.uses_externref |= is_externref(&ty.element);
        self.module.tables.push(ty);
        if self.module.tables.len() > MOST_TABLES {
            return Err(unsupported("number of tables: more than 100", 0));
        }
        Ok(ty)
    }

    fn global(&mut self, ty: &wasmparser::GlobalType) -> Result<GlobalType, DecodeError> {
        let ty = GlobalType {
            value: val_type(ty.content_type)?,
            mutable: ty.mutable,
        };
        self.module.uses_externref |= is_externref(&ty.value);
        self.module.globals.push(ty);
        Ok(ty)
    }

    fn element_segment(
        &mut self,
        element: wasmparser::Element<'_>,
    ) -> Result<ElementSegment, DecodeError> {
        let mode = match &element.kind {
            ElementKind::Passive => SegmentMode::Passive,
            ElementKind::Declared => SegmentMode::Declared,
            ElementKind::Active {
                table_index,
                offset_expr,
            } => SegmentMode::Active {
                target: table_index.unwrap_or(0),
                offset: self.const_expr(offset_expr)?,
            },
        };
        let mut items = Vec::new();
        let element = match element.items {
            ElementItems::Functions(functions) => {
                items.reserve(functions.count() as usize);
                for function in functions {
                    items.push(ConstExpr(vec![ConstOp::RefFunc(function?)]));
                }
                ValType::FuncRef
            }
            ElementItems::Expressions(ty, expressions) => {
                items.reserve(expressions.count() as usize);
                for expression in expressions {
                    items.push(self.const_expr(&expression?)?);
                }
                ref_type(ty)?
            }
        };
        self.module.uses_externref |= is_externref(&element);
        Ok(ElementSegment {
            mode,
            element,
            items,
        })
    }

    fn const_expr(&mut self, expr: &RawConstExpr<'_>) -> Result<ConstExpr, DecodeError> {
        let mut operators = expr.get_operators_reader();
        let mut ops = Vec::with_capacity(1);
        loop {
            let offset = operators.original_position();
            ops.push(match operators.read()? {
                Operator::I32Const { value } => ConstOp::Value(Value::I32(value)),
                Operator::I64Const { value } => ConstOp::Value(Value::I64(value)),
                Operator::F32Const { value } => ConstOp::Value(Value::F32(value.bits())),
                Operator::F64Const { value } => ConstOp::Value(Value::F64(value.bits())),
                Operator::V128Const { value } => {
                    ConstOp::Value(Value::V128(u128::from_le_bytes(*value.bytes())))
                }
                Operator::RefNull { hty } => {
                    let ty = RefType::new(true, hty)
                        .ok_or_else(|| unsupported("null reference of this type", offset))
                        .and_then(ref_type)?;
                    self.module.uses_externref |= is_externref(&ty);
                    ConstOp::Value(ty.default_value())
                }
                Operator::RefFunc { function_index } => ConstOp::RefFunc(function_index),
                Operator::GlobalGet { global_index } => ConstOp::GlobalGet(global_index),
                Operator::I32Add => ConstOp::Arithmetic(Arithmetic::I32Add),
                Operator::I32Sub => ConstOp::Arithmetic(Arithmetic::I32Sub),
                Operator::I32Mul => ConstOp::Arithmetic(Arithmetic::I32Mul),
                Operator::I64Add => ConstOp::Arithmetic(Arithmetic::I64Add),
                Operator::I64Sub => ConstOp::Arithmetic(Arithmetic::I64Sub),
                Operator::I64Mul => ConstOp::Arithmetic(Arithmetic::I64Mul),
                Operator::End => return Ok(ConstExpr(ops)),
                _ => return Err(unsupported("constant expression", offset)),
            });
        }
    }

    /// Validates a function's body, noting its opcodes on the way.
    fn function(
        &mut self,
        function: wasmparser::FuncToValidate<ValidatorResources>,
        body: &FunctionBody<'_>,
    ) -> Result<(), DecodeError> {
        let mut validator = function.into_validator(std::mem::take(&mut self.allocations));
        let bytes = body.as_bytes();
        let start = body.range().start;
        let mut reader = body.get_binary_reader();
        reader.set_features(FEATURES);
        for _ in 0..reader.read_var_u32()? {
            let offset = reader.original_position();
            let count = reader.read()?;
            let ty = reader.read()?;
            validator.define_locals(offset, count, ty)?;
            self.module.uses_externref |= ty == wasmparser::ValType::EXTERNREF;
        }
        while !reader.eof() {
            let offset = reader.original_position();
            let code = &bytes[(offset - start) as usize..];
            self.module.opcodes.insert_encoded(code);
            self.module.uses_externref |= mentions_externref(code);
            if code.first() == Some(&BR_TABLE) {
                let targets = BinaryReader::new(&code[1..], offset + 1).read_var_u32()?;
                if targets > MOST_BRANCH_TARGETS {
                    return Err(unsupported("br_table: more than 131,072 targets", offset));
                }
            }
            reader.visit_operator(&mut validator.visitor(offset))??;
        }
        reader.finish_expression(&validator.visitor(reader.original_position()))?;
        self.allocations = validator.into_allocations();
        Ok(())
    }
}

/// The code of `br_table`.
const BR_TABLE: u8 = 0x0e;

/// Whether the instruction at the start of `code` names `externref` among its immediates. What an
/// instruction handles without naming it comes from a type, table, global or local.
fn mentions_externref(code: &[u8]) -> bool {
    const EXTERNREF: u8 = 0x6f;
    match code {
        // block, loop, if with a single result; ref.null
        [0x02 | 0x03 | 0x04 | 0xd0, EXTERNREF, ..] => true,
        // select with a type
        [0x1c, 0x01, EXTERNREF, ..] => true,
        _ => false,
    }
}

fn is_externref(ty: &ValType) -> bool {
    *ty == ValType::ExternRef
}

fn unsupported(what: &str, offset: u64) -> DecodeError {
    DecodeError {
        message: format!("unsupported {what}"),
        offset: offset as usize,
    }
}

fn memory_type(ty: &wasmparser::MemoryType) -> MemoryType {
    MemoryType {
        min: ty.initial,
        max: ty.maximum,
        memory64: ty.memory64,
    }
}

fn func_type(ty: &wasmparser::FuncType) -> Result<FuncType, DecodeError> {
    let list = |types: &[wasmparser::ValType]| -> Result<Vec<ValType>, DecodeError> {
        types.iter().copied().map(val_type).collect()
    };
    Ok(FuncType {
        params: list(ty.params())?,
        results: list(ty.results())?,
    })
}

fn val_type(ty: wasmparser::ValType) -> Result<ValType, DecodeError> {
    Ok(match ty {
        wasmparser::ValType::I32 => ValType::I32,
        wasmparser::ValType::I64 => ValType::I64,
        wasmparser::ValType::F32 => ValType::F32,
        wasmparser::ValType::F64 => ValType::F64,
        wasmparser::ValType::V128 => ValType::V128,
        wasmparser::ValType::Ref(ty) => ref_type(ty)?,
    })
}

fn ref_type(ty: RefType) -> Result<ValType, DecodeError> {
    match ty {
        RefType::FUNCREF => Ok(ValType::FuncRef),
        RefType::EXTERNREF => Ok(ValType::ExternRef),
        _ => Err(unsupported("reference type", 0)),
    }
}

#[cfg(test)]
mod tests;
