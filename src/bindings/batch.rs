//! zarr's batch, read in one pass: `(byte getter, chunk spec, chunk selection, out selection, is complete)`
//! for every chunk.

use std::collections::HashMap;
use std::sync::Arc;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyList, PySlice, PyString, PyTuple, PyType};

use super::chain::PyChain;
use super::errors::plan_error;
use super::index::{read_items, read_slice};
use crate::codec::chain::Chain;
use crate::plan::numpy_index::{Resolved, resolve};
use crate::plan::selection::PerAxis;
use crate::plan::{Indices, PlanError, Region, RegionAxis, Selection};

/// One chunk of a batch.
pub(crate) struct Entry {
    pub(crate) chain: Arc<Chain>,
    pub(crate) selection: Selection,
    /// Where in the caller's array: one axis for every axis of the chunk, or one for points.
    pub(crate) region: Region,
    /// Indices along every axis of the caller's array, where they are a product.
    pub(crate) place: Option<PerAxis<Indices>>,
    pub(crate) is_complete: bool,
}

/// Which way the elements go: numpy's rules for assignment have a source and a target.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    /// From chunks to the caller's array.
    Read,
    /// From the caller's array to chunks.
    Write,
}

/// The caller's array.
pub(crate) struct Caller<'a> {
    pub(crate) shape: &'a [usize],
    pub(crate) strides: &'a [isize],
    /// Axes of the chunk that the caller's array does not have.
    pub(crate) drop_axes: &'a [usize],
}

/// Finds the chain of each chunk's spec, asking Python once for each distinct one.
struct Chains<'py> {
    bind: Bound<'py, PyAny>,
    known: HashMap<usize, (Bound<'py, PyAny>, Arc<Chain>)>,
    last: Option<(usize, Arc<Chain>)>,
}

impl<'py> Chains<'py> {
    fn find(&mut self, spec: &Bound<'py, PyAny>) -> PyResult<Arc<Chain>> {
        let identity = spec.as_ptr() as usize;
        if let Some((_, chain)) = self.last.as_ref().filter(|(last, _)| *last == identity) {
            return Ok(Arc::clone(chain));
        }
        let chain = if let Some((_, chain)) = self.known.get(&identity) {
            Arc::clone(chain)
        } else {
            let bound = self.bind.call1((spec,))?;
            let chain = Arc::clone(&bound.cast::<PyChain>()?.get().chain);
            // The spec is kept, so that nothing else can take its address.
            self.known.insert(identity, (spec.clone(), Arc::clone(&chain)));
            chain
        };
        self.last = Some((identity, Arc::clone(&chain)));
        Ok(chain)
    }
}

/// Reads a batch, hands each chunk to `take` and answers the store keys, with the array's path. `store` is the
/// store that every chunk must be in, `path_type` the exact type of its byte getters: `None` where one is
/// not. Without a store the keys are only labels.
pub(crate) fn read_batch<'py>(
    batch: &Bound<'py, PyList>,
    caller: &Caller<'_>,
    bind: &Bound<'py, PyAny>,
    store: Option<(&Bound<'py, PyAny>, &Bound<'py, PyType>)>,
    flow: Flow,
    mut take: impl FnMut(Entry) -> PyResult<()>,
) -> PyResult<Option<Vec<String>>> {
    let py = batch.py();
    let mut chains = Chains { bind: bind.clone(), known: HashMap::new(), last: None };
    let mut keys = Vec::with_capacity(batch.len());
    for entry in batch {
        let entry = entry.cast_into::<PyTuple>()?;
        let getter = entry.get_borrowed_item(0)?;
        let key = match store {
            Some((store, path_type)) => {
                if !getter.get_type().is(path_type) || !getter.getattr(intern!(py, "store"))?.is(store) {
                    return Ok(None);
                }
                getter.getattr(intern!(py, "path"))?.cast_into::<PyString>()?.to_str()?.to_owned()
            }
            None => label(&getter)?,
        };
        let spec = entry.get_borrowed_item(1)?;
        let chain = chains.find(&spec)?;
        let chunk_selection = entry.get_borrowed_item(2)?;
        let out_selection = entry.get_borrowed_item(3)?;
        let is_complete = entry.get_borrowed_item(4)?.is_truthy()?;
        let (selection, region, place) = match plan_box(&chain, &chunk_selection, &out_selection, caller)? {
            Some(planned) => planned,
            None => plan_chunk(&chain, &chunk_selection, &out_selection, caller, flow)?
                .map_err(|error| plan_error(py, &error))?,
        };
        take(Entry { chain, selection, region, place, is_complete })?;
        keys.push(key);
    }
    Ok(Some(keys))
}

/// What to call a chunk whose byte getter may be anything.
fn label(getter: &Bound<'_, PyAny>) -> PyResult<String> {
    match getter.getattr_opt(intern!(getter.py(), "path"))? {
        Some(path) => Ok(path.str()?.to_string_lossy().into_owned()),
        None => Ok(getter.get_type().name()?.to_string_lossy().into_owned()),
    }
}

type Planned = (Selection, Region, Option<PerAxis<Indices>>);

/// The common case without detours: slices along every axis, of equal lengths on both sides. `None`: not it.
fn plan_box(
    chain: &Chain,
    chunk_selection: &Bound<'_, PyAny>,
    out_selection: &Bound<'_, PyAny>,
    caller: &Caller<'_>,
) -> PyResult<Option<Planned>> {
    let chunk_shape = chain.spec().chunk_shape.as_slice();
    let (Ok(chunk_entries), Ok(out_entries)) =
        (chunk_selection.cast_exact::<PyTuple>(), out_selection.cast_exact::<PyTuple>())
    else {
        return Ok(None);
    };
    let ndim = chunk_shape.len();
    if chunk_entries.len() != ndim
        || out_entries.len() != ndim
        || caller.shape.len() != ndim
        || !caller.drop_axes.is_empty()
    {
        return Ok(None);
    }
    let mut selection = PerAxis::with_capacity(ndim);
    let mut place = PerAxis::with_capacity(ndim);
    let mut region = Region { base: 0, axes: PerAxis::with_capacity(ndim) };
    let axes = chunk_shape.iter().zip(caller.shape).zip(caller.strides).enumerate();
    for (axis, ((&chunk_len, &out_len), &stride)) in axes {
        let chunk_entry = chunk_entries.get_borrowed_item(axis)?;
        let out_entry = out_entries.get_borrowed_item(axis)?;
        let (Ok(in_chunk), Ok(in_out)) = (chunk_entry.cast::<PySlice>(), out_entry.cast::<PySlice>()) else {
            return Ok(None);
        };
        let in_chunk = read_slice(&in_chunk, chunk_len)?;
        let in_out = read_slice(&in_out, out_len)?;
        if in_chunk.len() != in_out.len() {
            return Ok(None);
        }
        let (first, along) = in_out.project(stride);
        region.base += first;
        region.axes.push(along);
        selection.push(in_chunk);
        place.push(in_out);
    }
    Ok(Some((Selection::Product(selection), region, Some(place))))
}

fn plan_chunk(
    chain: &Chain,
    chunk_selection: &Bound<'_, PyAny>,
    out_selection: &Bound<'_, PyAny>,
    caller: &Caller<'_>,
    flow: Flow,
) -> PyResult<Result<Planned, PlanError>> {
    let chunk_items = read_items(chunk_selection)?;
    let is_whole_value = flow == Flow::Write && (caller.shape.is_empty() || chunk_items.is_empty());
    let caller_items = if is_whole_value { super::index::Items::new() } else { read_items(out_selection)? };
    Ok((|| {
        let chunk = resolve(&chunk_items, &chain.spec().chunk_shape)?;
        let place = resolve(&caller_items, caller.shape)?;
        let region = place.region(caller.strides);
        let (selection, region) = match flow {
            Flow::Read => pair_read(chunk, &place, region, caller.drop_axes)?,
            Flow::Write => {
                pair_write(chunk, &place, region, if is_whole_value { &[] } else { caller.drop_axes })?
            }
        };
        let place = match place.selection {
            Selection::Product(axes) => Some(axes),
            Selection::Points(_) => None,
        };
        Ok((selection, region, place))
    })())
}

/// One axis of length 1 for every dropped axis of the chunk, so that axes correspond.
fn with_dropped_axes(region: Region, chunk: &Resolved) -> Region {
    let Selection::Product(axes) = &chunk.selection else { return region };
    if region.axes.len() == axes.len() {
        return region;
    }
    let mut kept = region.axes.into_iter();
    let axes = (0..axes.len())
        .map(|axis| match chunk.kept_axes.contains(&axis).then(|| kept.next()).flatten() {
            Some(axis) => axis,
            None => RegionAxis::Strided { len: 1, stride: 0 },
        })
        .collect();
    Region { base: region.base, axes }
}

/// Removes axes of length 1 from the result of a chunk's selection, as numpy's `squeeze` does.
fn squeeze(chunk: &mut Resolved, drop_axes: &[usize]) -> Result<(), PlanError> {
    for &axis in drop_axes.iter().rev() {
        if chunk.result_shape.get(axis) != Some(&1) {
            return Err(PlanError::Unsupported(
                "cannot select an axis to squeeze out which has size not equal to one",
            ));
        }
        chunk.result_shape.remove(axis);
        if axis < chunk.kept_axes.len() {
            chunk.kept_axes.remove(axis);
        }
    }
    Ok(())
}

fn pair_read(
    mut chunk: Resolved,
    place: &Resolved,
    region: Region,
    drop_axes: &[usize],
) -> Result<(Selection, Region), PlanError> {
    squeeze(&mut chunk, drop_axes)?;
    if chunk.result_shape != place.result_shape {
        return stretch_read(chunk, place, region);
    }
    match (&chunk.selection, &place.selection) {
        (Selection::Points(_), _) => Ok((chunk.selection, region.flattened())),
        (Selection::Product(_), Selection::Product(_)) => {
            let region = with_dropped_axes(region, &chunk);
            Ok((chunk.selection, region))
        }
        (Selection::Product(axes), Selection::Points(_)) => Ok((points_of(axes, &chunk), region.flattened())),
    }
}

/// A read whose chunk selection is stretched over its place (numpy's broadcasting): as points.
fn stretch_read(chunk: Resolved, place: &Resolved, region: Region) -> Result<(Selection, Region), PlanError> {
    let count: usize = chunk.result_shape.iter().product();
    // Numbers of the selection's elements, laid out as its result, then stretched.
    let strides = crate::plan::selection::contiguous_strides(&chunk.result_shape, 1);
    let axes = chunk
        .result_shape
        .iter()
        .zip(&strides)
        .map(|(&len, &stride)| RegionAxis::Strided { len, stride })
        .collect();
    let stretched = Region::new(0, axes).broadcast_to(&place.result_shape)?.flattened();
    let points = match &chunk.selection {
        Selection::Points(coordinates) => coordinates.clone(),
        Selection::Product(axes) => match points_of(axes, &chunk) {
            Selection::Points(coordinates) => coordinates,
            Selection::Product(_) => return Err(PlanError::Unsupported("a selection that cannot be listed")),
        },
    };
    if count == 0 || points.is_empty() {
        return Err(PlanError::Unsupported("a selection stretched from nothing"));
    }
    let order: Vec<usize> = (0..stretched.element_count())
        .map(|at| (stretched.base + stretched.axes[0].at(at)).cast_unsigned())
        .collect();
    let coordinates = points.iter().map(|axis| order.iter().map(|&number| axis[number]).collect()).collect();
    Ok((Selection::Points(coordinates), region.flattened()))
}

/// The elements of a product one by one, in C order of its result.
fn points_of(axes: &[Indices], chunk: &Resolved) -> Selection {
    let count: usize = chunk.result_shape.iter().product();
    let coordinates = (0..axes.len())
        .map(|axis| {
            // How often an index repeats before the next one comes: the later kept axes.
            let later: usize = axes[axis + 1..].iter().map(Indices::len).product();
            let len = axes[axis].len();
            (0..count).map(|at| axes[axis].at(at / later.max(1) % len.max(1))).collect()
        })
        .collect();
    Selection::Points(coordinates)
}

fn pair_write(
    chunk: Resolved,
    place: &Resolved,
    mut region: Region,
    drop_axes: &[usize],
) -> Result<(Selection, Region), PlanError> {
    if matches!(place.selection, Selection::Points(_)) && place.result_shape.len() != 1 {
        return Err(PlanError::Unsupported("a value taken by index arrays of more than one axis"));
    }
    // numpy puts the dropped axes back before it assigns.
    for &axis in drop_axes {
        if axis <= region.axes.len() {
            region.axes.insert(axis, RegionAxis::Strided { len: 1, stride: 0 });
        }
    }
    let region = region.broadcast_to(&chunk.result_shape)?;
    match &chunk.selection {
        Selection::Points(_) => Ok((chunk.selection, region.flattened())),
        Selection::Product(_) => {
            let region = with_dropped_axes(region, &chunk);
            Ok((chunk.selection, region))
        }
    }
}
