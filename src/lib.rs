//! wazarr: a Rust codec pipeline for zarr-python.
//!
//! ```text
//!  bindings ── plan ── schedule ── pipeline ──┬── store      get, set
//!  (Python)                        read,write ├── codec      decode, encode
//!                                             └── scatter, gather
//! ```
//!
//! In the order of the flow: [`bindings`] take zarr's batch and release the interpreter lock once around
//! everything below; [`plan`] turns index expressions into offsets and proves outputs disjoint;
//! [`schedule`] shares threads; [`pipeline`] tells the story of a read and a write; [`store`] holds the
//! stores we speak to ourselves; [`codec`] the chain of codecs; [`wasm`] runs those that are WebAssembly;
//! [`scatter`] and [`gather`] move elements between chunks and the caller's array. [`process`] keeps state sound across a fork, [`counters`] count,
//! [`error`] names what failed and where.

#[cfg(feature = "python")]
pub mod bindings;
pub mod codec;
pub mod counters;
pub mod distance;
pub mod error;
pub mod gather;
#[cfg(feature = "python")]
mod kept;
pub mod locks;
pub mod pipeline;
pub mod plan;
pub mod process;
#[cfg(feature = "python")]
mod python_call;
pub mod scatter;
pub mod schedule;
pub mod store;
mod strided;
pub mod wasm;
