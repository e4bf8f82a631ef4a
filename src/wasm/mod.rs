//! The WebAssembly host: modules that were not written by us, run so that they can do no harm.
//!
//! ```text
//!  bytes ── survey ── engine, cache ── instances ── abi ── guest memory
//!           what is it?  compile once   warm, per     one file per
//!           bounded       keep on disk  worker        interface
//! ```
//!
//! [`survey`] reads a module without running or compiling any of it and says which [`abi::Interface`] it
//! offers; [`cache`] verifies its digest, compiles it on one of the two engines of [`engine`] (metered or
//! trusted) and keeps the result; [`instances`] keep one guest warm per worker thread; [`abi`] speaks the
//! interfaces; [`host`] is what a guest's store knows of its limits ([`limits`]), and [`wasi`] the system
//! calls it may make, which all answer "no".
//!
//! Nothing here knows zarr or Python. [`crate::codec::wasm`] makes a codec of it.

pub mod abi;
pub mod cache;
mod compile;
pub mod engine;
pub mod error;
pub mod host;
pub mod instances;
pub mod limits;
pub mod module;
pub mod signature;
pub mod survey;
#[cfg(test)]
pub(crate) mod testing;
pub mod wasi;

pub use abi::{ArrayDescription, Guest, Input, Interface, Kind, Room, Setup};
pub use error::WasmError;
pub use host::{HostState, Session};
pub use limits::Limits;
pub use module::{Code, CompiledModule, Digest};
pub use survey::Survey;
