//! Where a job's chunks are: files, members of a zip file, values in memory, or fed by Python one by one.

mod held;
mod values;
mod zip;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;

pub(crate) use self::held::{Held, owned};
use self::values::{Flavor, ValuesBatch};
use super::remote::RemoteHandle;
use super::run::Limits;
use crate::error::Error;
use crate::kept::Kept;
use crate::pipeline::remote::RemoteBatch;
use crate::pipeline::survey::Fetch;
use crate::store::ChunkStore;
use crate::store::filesystem::{FileAccess, FilesystemBatch, REQUEST_COST_BYTES};
use crate::store::zip::ZipBatch;

/// Where a job's chunks are.
pub(crate) enum Backend {
    Filesystem(FilesystemBatch),
    Zip(ZipBatch),
    Values(ValuesBatch),
    /// With the object that Python made of the store: the store may hold Python objects, and is let go of where the
    /// interpreter lock is held.
    Remote {
        batch: RemoteBatch,
        _handle: Kept<Py<RemoteHandle>>,
    },
    /// Python brings the bytes; only the keys are known.
    Fed(Vec<String>),
}

/// Whether folders may come and go beside chunks. Before 3.12 `Path.rglob`, with which `LocalStore` lists, raises
/// where a folder goes away meanwhile.
fn may_spread(py: Python<'_>) -> bool {
    static MAY: OnceLock<bool> = OnceLock::new();
    *MAY.get_or_init(|| py.version_info() >= (3, 12))
}

impl Backend {
    /// From what Python says of the store (`wazarr.stores.native_place`); `None` where chunks turn out to be
    /// such that only Python can read them.
    pub(crate) fn new(
        kind: Option<(&str, Bound<'_, PyAny>)>,
        keys: Vec<String>,
        make_buffer: Option<Py<PyAny>>,
    ) -> PyResult<Option<Self>> {
        let Some((kind, place)) = kind else { return Ok(Some(Self::Fed(keys))) };
        match kind {
            "local" => {
                let (root, is_direct, kept_handles): (PathBuf, bool, usize) = place.extract()?;
                let access = FileAccess { is_direct, kept_handles, may_spread: may_spread(place.py()) };
                Ok(Some(Self::Filesystem(FilesystemBatch::new(root, keys, access))))
            }
            "memory" => {
                let flavor = Flavor::Buffers { make: make_buffer.map(Kept::new) };
                Ok(Some(Self::Values(ValuesBatch::new(place.into(), keys, flavor))))
            }
            "memory files" => {
                let (files, root, put): (Bound<'_, PyAny>, String, Py<PyAny>) = place.extract()?;
                let flavor = Flavor::Files { root, put: Kept::new(put) };
                Ok(Some(Self::Values(ValuesBatch::new(files.into(), keys, flavor))))
            }
            "zip" => Ok(zip::open(&place, keys)?.map(Self::Zip)),
            "remote" => {
                let (handle, in_flight, max_waiting_bytes, max_gap_bytes, max_coalesced_bytes, small): (
                    Bound<'_, RemoteHandle>,
                    usize,
                    usize,
                    u64,
                    u64,
                    usize,
                ) = place.extract()?;
                let batch = RemoteBatch {
                    store: Arc::clone(&handle.get().store),
                    keys,
                    in_flight: in_flight.max(1),
                    max_part_bytes: max_waiting_bytes as u64,
                    max_waiting_bytes,
                    max_gap_bytes,
                    max_coalesced_bytes,
                    small_shard_bytes: small,
                };
                Ok(Some(Self::Remote { batch, _handle: Kept::new(handle.unbind()) }))
            }
            other => Err(PyTypeError::new_err(format!("no native store {other:?}"))),
        }
    }

    pub(crate) fn key(&self, index: usize) -> &str {
        &self.keys()[index]
    }

    pub(crate) fn keys(&self) -> &[String] {
        match self {
            Self::Filesystem(batch) => batch.keys(),
            Self::Zip(batch) => batch.keys(),
            Self::Values(batch) => batch.keys(),
            Self::Remote { batch, .. } => &batch.keys,
            Self::Fed(keys) => keys,
        }
    }

    /// How bytes get from there to here.
    pub(crate) fn fetch(&self) -> Fetch {
        match self {
            Self::Filesystem(_) | Self::Zip(_) => {
                Fetch::Parts { request_cost_bytes: Some(REQUEST_COST_BYTES) }
            }
            Self::Values(_) => Fetch::Parts { request_cost_bytes: None },
            Self::Remote { .. } | Self::Fed(_) => Fetch::Values,
        }
    }

    /// What needs the interpreter lock before chunks can be opened.
    pub(crate) fn load(&self, py: Python<'_>, wanted: impl Fn(usize) -> bool) -> PyResult<()> {
        match self {
            Self::Values(batch) => batch.load(py, wanted),
            Self::Filesystem(_) | Self::Zip(_) | Self::Remote { .. } | Self::Fed(_) => Ok(()),
        }
    }

    /// What needs it after they were put.
    pub(crate) fn finish(&self, py: Python<'_>) -> PyResult<()> {
        match self {
            Self::Values(batch) => batch.store(py),
            Self::Filesystem(_) | Self::Zip(_) | Self::Remote { .. } | Self::Fed(_) => Ok(()),
        }
    }

    /// The chunks as those of a store on the network.
    pub(crate) fn remote(&self) -> Option<&RemoteBatch> {
        match self {
            Self::Remote { batch, .. } => Some(batch),
            _ => None,
        }
    }

    /// The most values of `chunk_bytes` that there may be at the same time, set by the limits.
    pub(crate) fn limit_in_flight(&mut self, limits: &Limits, chunk_bytes: usize) {
        if let Self::Remote { batch, .. } = self {
            batch.in_flight = limits.in_flight(batch.in_flight, chunk_bytes);
            batch.max_part_bytes = limits.bytes_in_flight() as u64;
        }
    }

    pub(crate) fn chunks(&self) -> Result<&dyn ChunkStore, Error> {
        match self {
            Self::Filesystem(batch) => Ok(batch),
            Self::Zip(batch) => Ok(batch),
            Self::Values(batch) => Ok(batch),
            Self::Remote { .. } | Self::Fed(_) => {
                Err(Error::Internal("chunks that have to be fetched cannot be opened".to_owned()))
            }
        }
    }
}
