//! What a module is, from its bytes alone: nothing is compiled and nothing runs.
//!
//! The bounds here keep compilation bounded, for which the compiler itself knows no limit: its time and
//! memory grow with the code, and faster than that with functions of very many blocks and variables. Every
//! number is far above what codecs need.

mod bounds;
mod json;

use std::ops::Range;

use serde_json::Value;
use wasmparser::{
    ComponentExternalKind, CompositeInnerType, ExternalKind, MemoryType, Parser, Payload, TypeRef,
};

use super::abi::numcodecs_core;
use super::{Interface, WasmError};
use bounds::Bounds;
pub(super) use bounds::check_len;

/// To be raised whenever the bounds become closer or a survey holds something else: surveys that were kept on
/// disk are of modules that earlier bounds let pass.
pub(super) const VERSION: u32 = 2;

/// What is known of a module.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Survey {
    /// Whether it is a component; else it is a core module.
    pub is_component: bool,
    /// The interface it offers, if any of those we know.
    pub interface: Option<Interface>,
    /// Length in bytes.
    pub len_bytes: usize,
    /// `module#name` of a core module's imports, or names of a component's imports.
    pub imports: Vec<String>,
    /// Names of exports.
    pub exports: Vec<String>,
    /// The JSON of a `chonkle:signature` or `cylf:signature` section.
    pub signature: Option<Value>,
    /// Pages of 64 KiB that the memory of the module, or of the first one in a component, has at first, and
    /// may have at most.
    pub memory_pages: Option<(u64, Option<u64>)>,
    /// Where the first core module inside a component lies in its bytes.
    pub embedded_core: Option<Range<usize>>,
    /// Exports of that module, and `module#name` of its imports.
    pub embedded_exports: Vec<String>,
    /// See [`Survey::embedded_exports`].
    pub embedded_imports: Vec<String>,
    /// Whether it can decode.
    pub has_decode: bool,
    /// Whether it can encode.
    pub has_encode: bool,
}

/// Custom sections that hold a signature.
const SIGNATURE_SECTIONS: [&str; 2] = ["cylf:signature", "chonkle:signature"];
/// Prefix of a numcodecs component's interface; a version of two numbers and `.x` follows.
pub const NUMCODECS_PREFIX: &str = "numcodecs:abc/codec@0.1.";

impl Survey {
    /// Whether it decodes parts of what is encoded alone.
    #[must_use]
    pub fn has_ranges(&self) -> bool {
        let exports = |wanted: &str| self.exports.iter().any(|name| name == wanted);
        self.interface == Some(Interface::WazarrCore) && exports("decode_range") && exports("decoded_len")
    }

    /// Surveys a module of at most `limit_bytes`.
    ///
    /// # Errors
    /// Bytes that are no module, or over a bound. A module of an interface that is not known is none.
    pub fn of(bytes: &[u8], limit_bytes: usize) -> Result<Self, WasmError> {
        check_len(bytes.len(), limit_bytes)?;
        let mut surveyor = Surveyor::default();
        surveyor.survey.len_bytes = bytes.len();
        match bytes.get(..8) {
            Some(b"\0asm\x01\0\0\0") => {}
            Some(b"\0asm\x0d\0\x01\0") => surveyor.survey.is_component = true,
            _ => {
                return Err(WasmError::Invalid(
                    "the bytes are no WebAssembly module or component".to_owned(),
                ));
            }
        }
        for payload in Parser::new(0).parse_all(bytes) {
            surveyor.visit(&payload.map_err(|error| damaged(&error))?).map_err(|fault| match fault {
                Fault::Wasm(error) => error,
                Fault::Parser(error) => damaged(&error),
            })?;
        }
        Ok(surveyor.finish())
    }
}

fn damaged(error: &wasmparser::BinaryReaderError) -> WasmError {
    WasmError::Invalid(format!("it is damaged: {error}"))
}

enum Fault {
    Wasm(WasmError),
    Parser(wasmparser::BinaryReaderError),
}

impl From<WasmError> for Fault {
    fn from(error: WasmError) -> Self {
        Self::Wasm(error)
    }
}

impl From<wasmparser::BinaryReaderError> for Fault {
    fn from(error: wasmparser::BinaryReaderError) -> Self {
        Self::Parser(error)
    }
}

/// What is collected of one core module.
#[derive(Default)]
struct Core {
    /// Number of parameters of every type; `None` where it is no function.
    types: Vec<Option<usize>>,
    /// Types of all functions, imported ones first.
    functions: Vec<u32>,
    imports: Vec<String>,
    exports: Vec<(String, ExternalKind, u32)>,
    memory: Option<MemoryType>,
}

impl Core {
    /// How many parameters the exported function of that name has.
    fn parameters(&self, name: &str) -> Option<usize> {
        let (_, _, index) =
            self.exports.iter().find(|(export, kind, _)| export == name && *kind == ExternalKind::Func)?;
        let function = self.functions.get(usize::try_from(*index).ok()?)?;
        *self.types.get(usize::try_from(*function).ok()?)?
    }

    fn names(&self) -> Vec<String> {
        self.exports.iter().map(|(name, _, _)| name.clone()).collect()
    }
}

#[derive(Default)]
struct Surveyor {
    survey: Survey,
    bounds: Bounds,
    /// How many modules and components the current payload is inside of.
    depth: usize,
    /// The module at the top, or the first one inside the component at the top.
    core: Core,
    /// Number of core modules begun.
    cores: usize,
    /// Depth of the module that `core` is of.
    core_depth: usize,
    functions: Vec<String>,
}

impl Surveyor {
    /// Whether payloads at the current depth describe `core`.
    fn is_in_core(&self) -> bool {
        self.cores == 1 && self.depth == self.core_depth
    }

    fn visit(&mut self, payload: &Payload<'_>) -> Result<(), Fault> {
        self.bounds.visit(payload)?;
        match payload {
            Payload::Version { .. } if self.depth == 0 && !self.survey.is_component => self.cores = 1,
            Payload::ModuleSection { unchecked_range, .. } => {
                self.depth += 1;
                self.cores += 1;
                if self.cores == 1 {
                    self.core_depth = self.depth;
                    self.survey.embedded_core = Some(unchecked_range.clone());
                }
            }
            Payload::ComponentSection { .. } => self.depth += 1,
            Payload::End(_) => self.depth = self.depth.saturating_sub(1),
            Payload::CustomSection(section)
                if self.depth == 0 && SIGNATURE_SECTIONS.contains(&section.name()) =>
            {
                self.survey.signature = Some(parse_signature(section.data())?);
            }
            Payload::ComponentImportSection(section) if self.depth == 0 => {
                for import in section.clone() {
                    self.survey.imports.push(import?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) if self.depth == 0 => {
                for export in section.clone() {
                    let export = export?;
                    if export.kind == ComponentExternalKind::Func {
                        self.functions.push(export.name.name.to_owned());
                    }
                    self.survey.exports.push(export.name.name.to_owned());
                }
            }
            _ if self.is_in_core() => self.visit_core(payload)?,
            _ => {}
        }
        Ok(())
    }

    fn visit_core(&mut self, payload: &Payload<'_>) -> Result<(), Fault> {
        let core = &mut self.core;
        match payload {
            Payload::TypeSection(section) => {
                for group in section.clone() {
                    for subtype in group?.into_types() {
                        core.types.push(match &subtype.composite_type.inner {
                            CompositeInnerType::Func(function) => Some(function.params().len()),
                            _ => None,
                        });
                    }
                }
            }
            Payload::ImportSection(section) => {
                for import in section.clone().into_imports() {
                    let import = import?;
                    core.imports.push(format!("{}#{}", import.module, import.name));
                    match import.ty {
                        TypeRef::Func(index) | TypeRef::FuncExact(index) => core.functions.push(index),
                        TypeRef::Memory(memory) => core.memory = core.memory.or(Some(memory)),
                        _ => {}
                    }
                }
            }
            Payload::FunctionSection(section) => {
                for index in section.clone() {
                    core.functions.push(index?);
                }
            }
            Payload::MemorySection(section) => {
                for memory in section.clone() {
                    core.memory = core.memory.or(Some(memory?));
                }
            }
            Payload::ExportSection(section) => {
                for export in section.clone() {
                    let export = export?;
                    core.exports.push((export.name.to_owned(), export.kind, export.index));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn finish(mut self) -> Survey {
        let memory = self.core.memory;
        self.survey.memory_pages = memory.map(|memory| (memory.initial, memory.maximum));
        if self.survey.is_component {
            self.survey.embedded_exports = self.core.names();
            self.survey.embedded_imports = std::mem::take(&mut self.core.imports);
            self.survey.interface = self.component_interface();
            let is_known = self.survey.interface.is_some();
            let offers = |name: &str| is_known && self.functions.iter().all(|function| function != name);
            let is_b = self.survey.interface == Some(Interface::ChonkleB);
            self.survey.has_decode = is_known && !(is_b && offers("decode"));
            self.survey.has_encode = is_known && !(is_b && offers("encode"));
        } else {
            self.survey.exports = self.core.names();
            self.survey.imports = std::mem::take(&mut self.core.imports);
            self.survey.interface = self.core_interface();
            let is_known = self.survey.interface.is_some();
            self.survey.has_decode = is_known && self.core.parameters("decode").is_some();
            self.survey.has_encode = is_known && self.core.parameters("encode").is_some();
        }
        self.survey
    }

    fn core_interface(&self) -> Option<Interface> {
        let parameters = |name| self.core.parameters(name);
        if parameters("wazarr_abi").is_some() {
            return Some(Interface::WazarrCore);
        }
        let of_codec = parameters("decode").or_else(|| parameters("encode"));
        if parameters("signature").is_some() && of_codec.is_some() {
            return Some(Interface::ChonkleECore);
        }
        match of_codec {
            Some(2) => Some(Interface::ChonkleD),
            Some(4) => Some(Interface::ChonkleA),
            _ => None,
        }
    }

    fn component_interface(&self) -> Option<Interface> {
        let exports =
            |wanted: &str| self.survey.exports.iter().any(|name| name.split('@').next() == Some(wanted));
        if exports("cylf:codec/transform") {
            Some(Interface::ChonkleEComponent)
        } else if self.survey.exports.iter().any(|name| name == "chonkle:codec/transform@0.1.0") {
            Some(Interface::ChonkleC)
        } else if let Some(name) = self.survey.exports.iter().find(|name| name.starts_with(NUMCODECS_PREFIX))
        {
            Some(self.numcodecs_interface(name))
        } else if self.functions.iter().any(|name| name == "decode" || name == "encode") {
            Some(Interface::ChonkleB)
        } else {
            None
        }
    }

    /// Whether the first core module is the codec itself, which can then be called without the component
    /// around it.
    fn numcodecs_interface(&self, name: &str) -> Interface {
        let has = |export: &str| self.core.parameters(export).is_some();
        let is_direct =
            self.core.exports.iter().any(|(name, kind, _)| name == "memory" && *kind == ExternalKind::Memory)
                && has("cabi_realloc")
                && ["[static]codec.from-config", "[method]codec.encode", "[method]codec.decode"]
                    .iter()
                    .all(|function| has(&format!("{name}#{function}")));
        // What the component around it would answer has to be answered by the host then.
        let mut imports =
            self.survey.embedded_imports.iter().map(|import| import.split_once('#').unwrap_or((import, "")));
        let is_direct =
            is_direct && imports.all(|(module, import)| numcodecs_core::is_import_answered(module, import));
        if is_direct { Interface::NumcodecsCore } else { Interface::NumcodecsComponent }
    }
}

fn parse_signature(bytes: &[u8]) -> Result<Value, WasmError> {
    serde_json::from_slice(bytes)
        .map_err(|error| WasmError::Invalid(format!("its signature section is no JSON: {error}")))
}

#[cfg(test)]
#[path = "survey_tests.rs"]
mod tests;
