//! What a module may hold at most, so that compiling it is bounded.

use wasmparser::{FunctionBody, Operator, Payload};

use super::Fault;
use crate::wasm::WasmError;
use crate::wasm::limits::MODULE_OPTION;

/// Core modules and components in one component.
const MODULES: usize = 64;
const DEPTH: usize = 8;
const TYPES: usize = 20_000;
const IMPORTS: usize = 1_000;
const FUNCTIONS: usize = 50_000;
const TABLES: usize = 16;
const MEMORIES: usize = 16;
const TAGS: usize = 1_000;
const GLOBALS: usize = 10_000;
const EXPORTS: usize = 1_000;
const ELEMENT_SEGMENTS: usize = 10_000;
const DATA_SEGMENTS: usize = 20_000;
/// Of a component: aliases, instances, types, canonical functions.
const COMPONENT_ITEMS: usize = 20_000;
/// Of all functions together.
const CODE_BYTES: usize = 16 << 20;

// Of one function. The compiler takes up to 2 KiB of memory for an operator, and a call, a branch or a block
// is worth several others.
const BODY_BYTES: usize = 1 << 20;
const OPERATORS: usize = 500_000;
const CALLS: usize = 100_000;
const BLOCKS: usize = 60_000;
const LOCALS: usize = 10_000;
/// Blocks times variables: at the end of a block, and at the begin of a loop, every variable may get a new
/// name, and each takes about a microsecond.
const NAMES: usize = 8_000_000;
/// The same for all functions together.
const ALL_NAMES: usize = 100_000_000;

/// Refuses a module of more than `limit_bytes`.
pub(in crate::wasm) fn check_len(len_bytes: usize, limit_bytes: usize) -> Result<(), WasmError> {
    if len_bytes > limit_bytes {
        return Err(WasmError::Limit {
            what: format!("the module of {len_bytes} bytes"),
            limit: format!("{limit_bytes} bytes"),
            option: MODULE_OPTION,
        });
    }
    Ok(())
}

/// Counts of everything so far, all nested modules together.
#[derive(Default)]
pub(super) struct Bounds {
    modules: usize,
    depth: usize,
    types: usize,
    imports: usize,
    functions: usize,
    tables: usize,
    memories: usize,
    tags: usize,
    globals: usize,
    exports: usize,
    elements: usize,
    data: usize,
    items: usize,
    code_bytes: usize,
    names: usize,
}

fn count(sum: &mut usize, more: u32, what: &'static str, limit: usize) -> Result<(), WasmError> {
    *sum = sum.saturating_add(more as usize);
    check(*sum, what, limit)
}

fn check(actual: usize, what: &'static str, limit: usize) -> Result<(), WasmError> {
    if actual > limit { Err(WasmError::TooComplex { what, actual, limit }) } else { Ok(()) }
}

impl Bounds {
    pub(super) fn visit(&mut self, payload: &Payload<'_>) -> Result<(), Fault> {
        match payload {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => {
                self.depth += 1;
                check(self.depth, "levels of modules inside modules", DEPTH)?;
                count(&mut self.modules, 1, "modules inside", MODULES)?;
            }
            Payload::End(_) => self.depth = self.depth.saturating_sub(1),
            Payload::TypeSection(section) => count(&mut self.types, section.count(), "types", TYPES)?,
            Payload::ImportSection(section) => {
                count(&mut self.imports, section.count(), "imports", IMPORTS)?;
            }
            Payload::FunctionSection(section) => {
                count(&mut self.functions, section.count(), "functions", FUNCTIONS)?;
            }
            Payload::TableSection(section) => count(&mut self.tables, section.count(), "tables", TABLES)?,
            Payload::MemorySection(section) => {
                count(&mut self.memories, section.count(), "memories", MEMORIES)?;
            }
            Payload::TagSection(section) => count(&mut self.tags, section.count(), "tags", TAGS)?,
            Payload::GlobalSection(section) => count(&mut self.globals, section.count(), "globals", GLOBALS)?,
            Payload::ExportSection(section) => count(&mut self.exports, section.count(), "exports", EXPORTS)?,
            Payload::ElementSection(section) => {
                count(&mut self.elements, section.count(), "element segments", ELEMENT_SEGMENTS)?;
            }
            Payload::DataSection(section) => {
                count(&mut self.data, section.count(), "data segments", DATA_SEGMENTS)?;
            }
            Payload::CodeSectionEntry(body) => {
                self.code_bytes = self.code_bytes.saturating_add(body.range().len());
                check(self.code_bytes, "bytes of code", CODE_BYTES)?;
                self.names = self.names.saturating_add(Function::of(body)?.names());
                check(self.names, "blocks times variables", ALL_NAMES)?;
            }
            Payload::ComponentImportSection(section) => {
                count(&mut self.imports, section.count(), "imports", IMPORTS)?;
            }
            Payload::ComponentExportSection(section) => {
                count(&mut self.exports, section.count(), "exports", EXPORTS)?;
            }
            Payload::InstanceSection(section) => self.count_items(section.count())?,
            Payload::CoreTypeSection(section) => self.count_items(section.count())?,
            Payload::ComponentInstanceSection(section) => self.count_items(section.count())?,
            Payload::ComponentAliasSection(section) => self.count_items(section.count())?,
            Payload::ComponentTypeSection(section) => self.count_items(section.count())?,
            Payload::ComponentCanonicalSection(section) => self.count_items(section.count())?,
            _ => {}
        }
        Ok(())
    }

    fn count_items(&mut self, more: u32) -> Result<(), WasmError> {
        count(&mut self.items, more, "items of a component", COMPONENT_ITEMS)
    }
}

/// Counts of one function.
#[derive(Default)]
struct Function {
    operators: usize,
    calls: usize,
    blocks: usize,
    locals: usize,
}

impl Function {
    fn of(body: &FunctionBody<'_>) -> Result<Self, Fault> {
        check(body.range().len(), "bytes in a function", BODY_BYTES)?;
        let mut function = Self::default();
        for group in body.get_locals_reader()? {
            count(&mut function.locals, group?.0, "variables in a function", LOCALS)?;
        }
        let mut operators = body.get_operators_reader()?;
        while !operators.eof() {
            function.operators += 1;
            match operators.read()? {
                Operator::Block { .. }
                | Operator::Loop { .. }
                | Operator::If { .. }
                | Operator::Else
                | Operator::TryTable { .. }
                | Operator::BrIf { .. } => function.blocks += 1,
                Operator::BrTable { targets } => {
                    function.blocks = function.blocks.saturating_add(targets.len() as usize);
                }
                Operator::Call { .. } | Operator::CallIndirect { .. } => function.calls += 1,
                _ => {}
            }
        }
        check(function.operators, "operators in a function", OPERATORS)?;
        check(function.calls, "calls in a function", CALLS)?;
        check(function.blocks, "blocks in a function", BLOCKS)?;
        check(function.names(), "blocks times variables in a function", NAMES)?;
        Ok(function)
    }

    fn names(&self) -> usize {
        self.blocks.saturating_mul(self.locals)
    }
}
