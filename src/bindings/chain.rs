//! Binding codec chains from what Python knows of them.

use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::{errors, run, wasm};
use crate::codec::chain::{Chain, ChainParts, EngineCounts};
use crate::codec::fill::Fill;
use crate::codec::lending::{Encoded, Lender};
use crate::codec::python::PythonCodec;
use crate::codec::registry::{self, BindOptions};
use crate::codec::sharding::{IndexLocation, Sharding, WriteOrder};
use crate::codec::vlen::VlenKind;
use crate::codec::wasm::WasmCodec;
use crate::codec::{ArraySpec, Codec, CodecFault, DataType, Direction, Engine};
use crate::pipeline::shard::ShardStep;
use crate::wasm::ArrayDescription;

/// A bound codec.
#[pyclass(name = "Codec", module = "wazarr._native", frozen)]
pub(crate) struct PyCodec {
    codec: Arc<dyn Codec>,
    /// The same, where it is a guest's.
    wasm: Option<Arc<WasmCodec>>,
}

impl PyCodec {
    fn new(codec: Arc<dyn Codec>) -> Self {
        Self { codec, wasm: None }
    }

    fn guest(&self) -> PyResult<&WasmCodec> {
        let only = || PyValueError::new_err("only a WebAssembly codec tells what arrays become");
        self.wasm.as_deref().ok_or_else(only)
    }

    /// A codec that runs in a guest.
    pub(crate) fn wasm(codec: Arc<WasmCodec>) -> Self {
        Self { codec: Arc::clone(&codec) as Arc<dyn Codec>, wasm: Some(codec) }
    }
}

/// Bytes, and data type and shape of the array that they are.
type Described<'py> = (Bound<'py, PyBytes>, (String, Vec<u64>));

fn described<'py>(py: Python<'py>, (bytes, array): &(Vec<u8>, ArrayDescription)) -> Described<'py> {
    (PyBytes::new(py, bytes), (array.data_type.clone(), array.shape.clone()))
}

#[pymethods]
impl PyCodec {
    /// `"native"`, `"wasm"` or `"python"`.
    #[getter]
    fn engine(&self) -> &'static str {
        self.codec.engine().name()
    }

    #[getter]
    fn name(&self) -> &str {
        self.codec.name()
    }

    /// The interface through which a WebAssembly guest is called.
    #[getter]
    fn interface(&self) -> Option<&'static str> {
        self.wasm.as_ref().map(|codec| codec.interface().name())
    }

    /// Encodes outside of a chain.
    fn encode<'py>(&self, py: Python<'py>, decoded: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
        run::caught(py, || {
            let encoded = wasm::run_codec(py, self.codec.name(), Direction::Encode, |scratch| {
                let mut encoded = Vec::new();
                self.codec.encode(decoded, &mut encoded, scratch)?;
                Ok(encoded)
            });
            Ok(PyBytes::new(py, &encoded?))
        })
    }

    /// Decodes outside of a chain, to `expected_len` bytes or to at most `limit_bytes`.
    #[pyo3(signature = (encoded, expected_len, limit_bytes))]
    fn decode<'py>(
        &self,
        py: Python<'py>,
        encoded: &[u8],
        expected_len: Option<usize>,
        limit_bytes: usize,
    ) -> PyResult<Bound<'py, PyBytes>> {
        run::caught(py, || {
            let name = self.codec.name();
            if let Some(len) = expected_len.filter(|&len| len <= limit_bytes) {
                return PyBytes::new_with(py, len, |decoded| {
                    wasm::run_codec(py, name, Direction::Decode, |scratch| {
                        self.codec.decode_into(encoded, decoded, scratch)
                    })
                });
            }
            let decoded = wasm::run_codec(py, name, Direction::Decode, |scratch| {
                if let Some(actual) = expected_len {
                    return Err(CodecFault::DecodedLength { expected: limit_bytes, actual });
                }
                let mut decoded = Vec::new();
                self.codec.decode_bounded(encoded, &mut decoded, limit_bytes, scratch)?;
                Ok(decoded)
            });
            Ok(PyBytes::new(py, &decoded?))
        })
    }

    /// Decodes parts outside of a chain, of what is `decoded_len` bytes long as a whole.
    fn decode_ranges<'py>(
        &self,
        py: Python<'py>,
        encoded: &[u8],
        decoded_len: usize,
        ranges: Vec<(usize, usize)>,
    ) -> PyResult<Vec<Bound<'py, PyBytes>>> {
        run::caught(py, || {
            let codec = self.guest()?;
            let ranges: Vec<_> = ranges.into_iter().map(|(start, end)| start..end).collect();
            if ranges.iter().any(|range| range.start > range.end || range.end > decoded_len) {
                return Err(PyValueError::new_err(format!("ranges outside of {decoded_len} bytes")));
            }
            let parts = wasm::run_codec(py, self.codec.name(), Direction::Decode, |scratch| {
                let mut parts = Vec::with_capacity(ranges.len());
                let mut take = |_: usize, part: &[u8]| parts.push(part.to_vec());
                codec.decode_lent(Encoded::Bytes(encoded), decoded_len, &ranges, &mut take, scratch)?;
                Ok(parts)
            });
            Ok(parts?.iter().map(|part| PyBytes::new(py, part)).collect())
        })
    }

    /// Encodes an array outside of a chain; answers bytes, and data type and shape of what they are.
    fn encode_array<'py>(&self, py: Python<'py>, decoded: &[u8]) -> PyResult<Described<'py>> {
        run::caught(py, || {
            let codec = self.guest()?;
            let encoded = wasm::run_codec(py, self.codec.name(), Direction::Encode, |scratch| {
                codec.encode_described(decoded, scratch)
            });
            Ok(described(py, &encoded?))
        })
    }

    /// Decodes an array outside of a chain, one of at most `limit_bytes`.
    fn decode_array<'py>(
        &self,
        py: Python<'py>,
        encoded: &[u8],
        limit_bytes: usize,
    ) -> PyResult<Described<'py>> {
        run::caught(py, || {
            let codec = self.guest()?;
            let decoded = wasm::run_codec(py, self.codec.name(), Direction::Decode, |scratch| {
                codec.decode_described(encoded, limit_bytes, scratch)
            });
            Ok(described(py, &decoded?))
        })
    }

    /// The longest encoding of so many bytes, where a guest can tell.
    fn encoded_bound(&self, py: Python<'_>, decoded_len: usize) -> PyResult<Option<usize>> {
        run::caught(py, || match &self.wasm {
            None => Ok(self.codec.encoded_len(decoded_len)),
            Some(codec) => wasm::run_codec(py, self.codec.name(), Direction::Encode, |scratch| {
                codec.guest_bound(decoded_len, scratch)
            }),
        })
    }
}

/// Binds a native codec.
#[pyfunction]
#[pyo3(signature = (name, configuration, chunk_shape, dtype, *, validate_checksums))]
pub(crate) fn bind_codec(
    py: Python<'_>,
    name: &str,
    configuration: &str,
    chunk_shape: Vec<usize>,
    dtype: &str,
    validate_checksums: bool,
) -> PyResult<PyCodec> {
    run::caught(py, || {
        let configuration = serde_json::from_str(configuration)
            .map_err(|error| PyValueError::new_err(format!("configuration of codec {name:?}: {error}")))?;
        let dtype = DataType::parse(dtype).map_err(|error| errors::bind_error(py, &error))?;
        let spec = ArraySpec { chunk_shape, dtype };
        let codec = registry::bind(name, &configuration, &spec, BindOptions { validate_checksums })
            .map_err(|error| errors::bind_error(py, &error))?;
        Ok(PyCodec::new(codec))
    })
}

/// Makes a codec from two Python functions.
#[pyfunction]
#[pyo3(signature = (name, decode, encode, *, encoded_len))]
pub(crate) fn python_codec(
    name: String,
    decode: Py<PyAny>,
    encode: Py<PyAny>,
    encoded_len: Option<usize>,
) -> PyCodec {
    PyCodec::new(Arc::new(PythonCodec::new(name, decode, encode, encoded_len)))
}

/// A bound codec chain.
#[pyclass(name = "Chain", module = "wazarr._native", frozen)]
pub(crate) struct PyChain {
    pub(crate) chain: Arc<Chain>,
}

/// What a shard is made of, beside its own shape.
struct ShardParts<'py> {
    inner: Bound<'py, PyChain>,
    index: Bound<'py, PyChain>,
    location: IndexLocation,
    order: WriteOrder,
}

impl<'py> FromPyObject<'_, 'py> for ShardParts<'py> {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let (inner, index, location, order): (Bound<'py, PyAny>, Bound<'py, PyAny>, String, String) =
            object.extract()?;
        let location = match location.as_str() {
            "start" => IndexLocation::Start,
            "end" => IndexLocation::End,
            other => return Err(PyValueError::new_err(format!("no index location {other:?}"))),
        };
        let order = match order.as_str() {
            "morton" => WriteOrder::Morton,
            "lexicographic" | "unordered" => WriteOrder::Lexicographic,
            "colexicographic" => WriteOrder::Colexicographic,
            other => return Err(PyValueError::new_err(format!("no inner chunk order {other:?}"))),
        };
        Ok(Self { inner: inner.cast_into()?, index: index.cast_into()?, location, order })
    }
}

#[pymethods]
impl PyChain {
    #[new]
    #[pyo3(signature = (chunk_shape, dtype, fill, codecs, *, stored_axes, vlen, shard, writes_empty_chunks, native_codecs, variable_limit_bytes))]
    #[expect(clippy::too_many_arguments, reason = "keywords on the Python side")]
    fn new(
        py: Python<'_>,
        chunk_shape: Vec<usize>,
        dtype: &str,
        fill: &Bound<'_, PyBytes>,
        codecs: Vec<Bound<'_, PyCodec>>,
        stored_axes: Vec<usize>,
        vlen: Option<&str>,
        shard: Option<ShardParts<'_>>,
        writes_empty_chunks: bool,
        native_codecs: u64,
        variable_limit_bytes: usize,
    ) -> PyResult<Self> {
        run::caught(py, || {
            let bind_error = |error| errors::bind_error(py, &error);
            let dtype = DataType::parse(dtype).map_err(bind_error)?;
            let mut codecs: Vec<Arc<dyn Codec>> =
                codecs.iter().map(|codec| Arc::clone(&codec.get().codec)).collect();
            let mut engines = EngineCounts { native: native_codecs, ..EngineCounts::default() };
            for codec in codecs.iter().filter(|codec| codec.engine() != Engine::Native) {
                engines.add(codec.engine());
            }
            let vlen = match vlen {
                None => None,
                Some("vlen-utf8") => Some(VlenKind::Utf8),
                Some("vlen-bytes") => Some(VlenKind::Bytes),
                Some(other) => {
                    return Err(PyValueError::new_err(format!("no variable-length codec {other:?}")));
                }
            };
            let mut sorted = stored_axes.clone();
            sorted.sort_unstable();
            if sorted.iter().enumerate().any(|(at, &axis)| at != axis) || sorted.len() != chunk_shape.len() {
                return Err(PyValueError::new_err(format!(
                    "{stored_axes:?} is no order of {} axes",
                    chunk_shape.len()
                )));
            }
            let sharding =
                shard.map(|parts| bind_sharding(py, parts, &chunk_shape, &stored_axes)).transpose()?;
            let spec = ArraySpec { chunk_shape, dtype };
            let fill = Fill::new(fill.as_bytes().to_vec(), &spec.dtype);
            let bind = |spec, fill, codecs, stored_axes, vlen, shard, engines| {
                Chain::bind(ChainParts {
                    spec,
                    fill,
                    writes_empty_chunks,
                    stored_axes,
                    codecs,
                    vlen,
                    shard,
                    engines,
                    variable_limit_bytes,
                })
            };
            // Among other codecs a shard is a step like any other, its array already in stored order.
            let shard = match sharding {
                Some(sharding) if !codecs.is_empty() => {
                    let stored_shape =
                        stored_axes.iter().map(|&axis| spec.chunk_shape[axis]).collect::<Vec<_>>();
                    let axes = (0..stored_shape.len()).collect();
                    let step_spec = ArraySpec { chunk_shape: stored_shape, dtype: spec.dtype.clone() };
                    let counts = EngineCounts::default();
                    let alone = bind(
                        step_spec,
                        fill.clone(),
                        Vec::new(),
                        axes,
                        None,
                        Some(Arc::clone(&sharding)),
                        counts,
                    )
                    .map_err(bind_error)?;
                    codecs.insert(0, Arc::new(ShardStep::new(alone, sharding)));
                    None
                }
                other => other,
            };
            let chain = bind(spec, fill, codecs, stored_axes, vlen, shard, engines).map_err(bind_error)?;
            Ok(Self { chain: Arc::new(chain) })
        })
    }

    /// Decoded length of a chunk in bytes.
    #[getter]
    fn len_bytes(&self) -> usize {
        self.chain.len_bytes()
    }

    /// Encoded length where every chunk has the same.
    #[getter]
    fn encoded_len(&self) -> Option<usize> {
        self.chain.encoded_len()
    }

    /// Whether the elements are text of variable length.
    #[getter]
    fn is_text(&self) -> bool {
        self.chain.vlen_inside() == Some(VlenKind::Utf8)
    }

    /// Whether any codec, of inner chunks too, runs in Python.
    #[getter]
    fn has_python(&self) -> bool {
        has_python(&self.chain)
    }
}

pub(crate) fn has_python(chain: &Chain) -> bool {
    chain.engines().python > 0 || chain.shard().is_some_and(|sharding| has_python(sharding.inner()))
}

/// Whether any codec, of inner chunks too, is not ours, so that nobody can tell how long it takes.
pub(crate) fn has_foreign(chain: &Chain) -> bool {
    let engines = chain.engines();
    engines.python + engines.wasm > 0 || chain.shard().is_some_and(|sharding| has_foreign(sharding.inner()))
}

fn bind_sharding(
    py: Python<'_>,
    parts: ShardParts<'_>,
    chunk_shape: &[usize],
    stored_axes: &[usize],
) -> PyResult<Arc<Sharding>> {
    let inner = Arc::clone(&parts.inner.get().chain);
    let index = Arc::clone(&parts.index.get().chain);
    let inner_shape = &inner.spec().chunk_shape;
    let is_divided = inner_shape.len() == chunk_shape.len()
        && stored_axes
            .iter()
            .zip(inner_shape)
            .all(|(&axis, &len)| len > 0 && chunk_shape[axis].is_multiple_of(len));
    if !is_divided {
        return Err(PyValueError::new_err(format!(
            "inner chunks of shape {inner_shape:?} do not divide shards of shape {chunk_shape:?}"
        )));
    }
    let grid = stored_axes.iter().zip(inner_shape).map(|(&axis, &len)| chunk_shape[axis] / len).collect();
    let sharding = Sharding::bind(inner, index, parts.location, grid, parts.order)
        .map_err(|error| errors::bind_error(py, &error))?;
    Ok(Arc::new(sharding))
}
