//! One chunk, on one thread (but for the inner chunks of a shard): decode and scatter, or gather, merge and
//! encode. The two halves mirror each other.

use crate::codec::chain::Chain;
use crate::codec::scratch::ScratchBuffer;
use crate::codec::vlen::{Elements, VlenKind};
use crate::codec::{CodecFault, Direction, Scratch};
use crate::counters::COUNTERS;
use crate::error::{Error, StepError};
use crate::gather::Supply;
use crate::plan::{Region, Selection};
use crate::scatter::Place;
use crate::schedule::Work;
use crate::store::ByteSource;

use super::blocks::Blocks;
use super::{Destination, ObjectSink, ObjectSource, Origin, lent, parts, rows, shard, stream};

/// Reads the selected elements of a stored chunk to their destination.
///
/// # Errors
/// What the store or a codec refuses, with `key`.
pub fn read_chunk(
    chain: &Chain,
    source: &dyn ByteSource,
    selection: &Selection,
    destination: Destination<'_>,
    key: &str,
    work: Work<'_>,
    scratch: &mut Scratch,
) -> Result<(), Error> {
    check_len(chain, source.len_bytes()).map_err(|error| error.at(key))?;
    COUNTERS.add_steps(chain.engines());
    if let Some(sharding) = chain.shard() {
        return shard::read_shard(chain, sharding, source, selection, &destination, key, work, scratch);
    }
    match (destination, chain.vlen()) {
        (Destination::Objects { sink, region }, Some(kind)) => {
            read_objects(chain, kind, source, selection, (sink, &region), key, scratch)
        }
        (Destination::Elements(place), None) if chain.is_plain() => {
            read_plain(chain, source, selection, &place, key, work, scratch)
        }
        (Destination::Elements(place), None) => {
            read_encoded(chain, source, selection, &place, key, work, scratch)
        }
        _ => Err(Error::Internal("elements and objects do not mix".to_owned())),
    }
}

/// Refuses a stored chunk that is longer than any sound one, before it is read.
fn check_len(chain: &Chain, stored_len: u64) -> Result<(), StepError> {
    if stored_len <= chain.encoded_limit() as u64 {
        return Ok(());
    }
    let mut error = chain.length_fault(0);
    error.fault = CodecFault::Damaged(format!(
        "the chunk has {stored_len} bytes where at most {} are possible",
        chain.encoded_limit()
    ));
    Err(error)
}

/// Stored bytes that are the elements: only those needed are read, straight to where they go if they lie
/// there one after the other.
fn read_plain(
    chain: &Chain,
    source: &dyn ByteSource,
    selection: &Selection,
    place: &Place<'_>,
    key: &str,
    work: Work<'_>,
    scratch: &mut Scratch,
) -> Result<(), Error> {
    let len_bytes = chain.len_bytes();
    if source.len_bytes() != len_bytes as u64 {
        let actual = usize::try_from(source.len_bytes()).unwrap_or(usize::MAX);
        return Err(chain.length_fault(actual).at(key));
    }
    if let Some(target) = as_stored(chain, &mut whole_in_stored_order(chain, selection, place)) {
        return parts::read_into(source, 0..len_bytes as u64, target, work, scratch);
    }
    rows::read(source, &selection.project(chain.strides()), place, work, scratch)
}

fn read_encoded(
    chain: &Chain,
    source: &dyn ByteSource,
    selection: &Selection,
    place: &Place<'_>,
    key: &str,
    work: Work<'_>,
    scratch: &mut Scratch,
) -> Result<(), Error> {
    if let Some(target) = as_stored(chain, &mut whole_in_stored_order(chain, selection, place)) {
        return decode_whole(chain, source, target, key, work, scratch);
    }
    let region = selection.project(chain.strides());
    let scattered = |decoded: &[u8]| Ok(place.scatter(decoded, &region)?);
    if Blocks::may_be_in(chain, source)
        && let Some(blocks) = Blocks::of(chain, source, key, scratch)?
    {
        if blocks.are_spared(&region, place.item_size()) {
            return rows::read(&blocks, &region, place, work, scratch);
        }
        if blocks.read_slabs(&region, place, work, scratch)? {
            return Ok(());
        }
        let mut decoded = take_chunk(chain, Direction::Decode, key, scratch)?;
        let result = blocks.decode_shared(&mut decoded, work, scratch).and_then(|()| scattered(&decoded));
        scratch.put(decoded);
        return result;
    }
    if stream::read(chain, source, &region, place, key, scratch)? {
        return Ok(());
    }
    if chain.lends() {
        return lent::scatter(chain, source, &region, place, key, work, scratch);
    }
    let mut stored = scratch.take_empty();
    let result = parts::read_all(source, &mut stored, work, scratch).and_then(|encoded| {
        let prefix = prefix(chain, &encoded, &region, place.item_size());
        let room = prefix.map_or(chain.len_bytes(), |(_, room)| room);
        let mut decoded = take_bytes(chain, room, Direction::Decode, key, scratch)?;
        let result = match prefix {
            Some((needed_bytes, _)) => chain.decode_prefix(&encoded, needed_bytes, &mut decoded, scratch),
            None => chain.decode(&encoded, &mut decoded, scratch),
        };
        let result = result.map_err(|error| error.at(key)).and_then(|()| scattered(&decoded));
        scratch.put(decoded);
        result
    });
    scratch.put(stored);
    result
}

/// Decodes a whole chunk, several threads sharing its blocks where it has some.
fn decode_whole(
    chain: &Chain,
    source: &dyn ByteSource,
    decoded: &mut [u8],
    key: &str,
    work: Work<'_>,
    scratch: &mut Scratch,
) -> Result<(), Error> {
    if parts::are_worth_it(decoded.len(), work)
        && Blocks::may_be_in(chain, source)
        && let Some(blocks) = Blocks::of(chain, source, key, scratch)?
    {
        return blocks.decode_shared(decoded, work, scratch);
    }
    if chain.lends() {
        return lent::copy(chain, source, decoded, key, work, scratch);
    }
    let mut stored = scratch.take_empty();
    let result = parts::read_all(source, &mut stored, work, scratch)
        .and_then(|encoded| chain.decode(&encoded, decoded, scratch).map_err(|error| error.at(key)));
    scratch.put(stored);
    result
}

/// Where the end of a chunk need not be decoded: how much of it is needed, and the room for that.
fn prefix(chain: &Chain, encoded: &[u8], region: &Region, item_size: usize) -> Option<(usize, usize)> {
    let (_, highest) = region.bounds()?;
    let needed_bytes = highest.unsigned_abs() + item_size;
    let room = chain.prefix_room(encoded, needed_bytes)?;
    (room < chain.len_bytes()).then_some((needed_bytes, room))
}

/// Memory for a decoded chunk.
fn take_chunk(
    chain: &Chain,
    direction: Direction,
    key: &str,
    scratch: &mut Scratch,
) -> Result<ScratchBuffer, Error> {
    take_bytes(chain, chain.len_bytes(), direction, key, scratch)
}

fn take_bytes(
    chain: &Chain,
    len_bytes: usize,
    direction: Direction,
    key: &str,
    scratch: &mut Scratch,
) -> Result<ScratchBuffer, Error> {
    scratch.take(len_bytes).map_err(|fault| chain.fault(direction, fault).at(key))
}

/// The destination with its axes in stored order, if it takes the whole chunk.
fn whole_in_stored_order<'a>(chain: &Chain, selection: &Selection, place: &Place<'a>) -> Option<Place<'a>> {
    selection
        .is_full(&chain.spec().chunk_shape)
        .then(|| place.part(place.region().transposed(chain.stored_axes())))
}

/// The memory of such a destination, if its elements lie one after the other.
fn as_stored<'p>(chain: &Chain, whole: &'p mut Option<Place<'_>>) -> Option<&'p mut [u8]> {
    whole.as_mut()?.as_contiguous().filter(|target| target.len() == chain.len_bytes())
}

fn read_objects(
    chain: &Chain,
    kind: VlenKind,
    source: &dyn ByteSource,
    selection: &Selection,
    (sink, region): (&dyn ObjectSink, &Region),
    key: &str,
    scratch: &mut Scratch,
) -> Result<(), Error> {
    let elements = decode_objects(chain, kind, source, key, scratch)?;
    sink.place(&elements, &selection.project(chain.strides()), region)
}

fn decode_objects(
    chain: &Chain,
    kind: VlenKind,
    source: &dyn ByteSource,
    key: &str,
    scratch: &mut Scratch,
) -> Result<Elements, Error> {
    let mut stored = scratch.take_empty();
    let elements = source
        .read(0..source.len_bytes(), &mut stored)
        .and_then(|encoded| chain.decode_elements(kind, &encoded, scratch).map_err(|error| error.at(key)));
    scratch.put(stored);
    elements
}

/// Who takes an encoded chunk: the bytes to store, or `None` to delete it.
pub type Emit<'e> = dyn FnMut(Option<&[u8]>) -> Result<(), Error> + 'e;

/// A chunk to write: which of its elements, and where they come from.
pub struct WriteChunk<'a> {
    /// The chunk's chain.
    pub chain: &'a Chain,
    /// The stored chunk, where there is one whose other elements must survive.
    pub existing: Option<&'a dyn ByteSource>,
    /// Which elements of the chunk are assigned.
    pub selection: &'a Selection,
    /// Their new values.
    pub origin: Origin<'a>,
    /// Key for errors.
    pub key: &'a str,
}

/// Merges new elements into a chunk, encodes it and hands it to `emit`.
///
/// # Errors
/// What a codec or `emit` refuses, with the chunk's key.
pub fn write_chunk(
    request: &WriteChunk<'_>,
    work: Work<'_>,
    scratch: &mut Scratch,
    emit: &mut Emit<'_>,
) -> Result<(), Error> {
    COUNTERS.add_steps(request.chain.engines());
    if let Some(sharding) = request.chain.shard() {
        return shard::write_shard(sharding, request, work, scratch, emit);
    }
    match (&request.origin, request.chain.vlen()) {
        (Origin::Objects { source, region }, Some(kind)) => {
            write_objects(request, kind, (*source, region), scratch, emit)
        }
        (Origin::Elements(supply), None) => write_elements(request, supply, work, scratch, emit),
        _ => Err(Error::Internal("elements and objects do not mix".to_owned())),
    }
}

fn write_elements(
    request: &WriteChunk<'_>,
    supply: &Supply<'_>,
    work: Work<'_>,
    scratch: &mut Scratch,
    emit: &mut Emit<'_>,
) -> Result<(), Error> {
    let chain = request.chain;
    if request.selection.is_full(&chain.spec().chunk_shape) {
        // A chunk that lies in the caller's array as it will be stored is not copied first.
        let in_order = supply.part(supply.region().transposed(chain.stored_axes()));
        if let Some(decoded) = in_order.as_contiguous().filter(|bytes| bytes.len() == chain.len_bytes()) {
            return encode_elements(chain, decoded, request.key, work, scratch, emit);
        }
    }
    let mut decoded = take_chunk(chain, Direction::Encode, request.key, scratch)?;
    let result = merge_elements(request, supply, &mut decoded, work, scratch)
        .and_then(|()| encode_elements(chain, &decoded, request.key, work, scratch, emit));
    scratch.put(decoded);
    result
}

/// Fills `decoded` with the chunk as it will be.
fn merge_elements(
    request: &WriteChunk<'_>,
    supply: &Supply<'_>,
    decoded: &mut ScratchBuffer,
    work: Work<'_>,
    scratch: &mut Scratch,
) -> Result<(), Error> {
    let chain = request.chain;
    if !request.selection.covers(&chain.spec().chunk_shape) {
        match request.existing {
            None => chain.fill().write_to(decoded),
            Some(source) => {
                check_len(chain, source.len_bytes()).map_err(|error| error.at(request.key))?;
                decode_whole(chain, source, decoded, request.key, work, scratch)?;
            }
        }
    }
    Ok(supply.gather(decoded, &request.selection.project(chain.strides()))?)
}

fn encode_elements(
    chain: &Chain,
    decoded: &[u8],
    key: &str,
    work: Work<'_>,
    scratch: &mut Scratch,
    emit: &mut Emit<'_>,
) -> Result<(), Error> {
    if !chain.writes_empty_chunks() && chain.fill().is_all_of(decoded) {
        return emit(None);
    }
    if chain.is_plain() {
        return emit(Some(decoded));
    }
    let mut encoded = scratch.take_vec();
    let result = match parts::encode(chain, decoded, &mut encoded, key, work, scratch) {
        Ok(true) => emit(Some(&encoded)),
        Ok(false) => {
            let result = chain.encode(decoded, &mut encoded, scratch);
            emit_encoded(result, &encoded, key, emit)
        }
        Err(error) => Err(error),
    };
    scratch.put_vec(encoded);
    result
}

/// Hands on what was encoded: nothing where a codec left the chunk out.
fn emit_encoded(
    result: Result<(), StepError>,
    encoded: &[u8],
    key: &str,
    emit: &mut Emit<'_>,
) -> Result<(), Error> {
    match result {
        Ok(()) => emit(Some(encoded)),
        Err(StepError { fault: CodecFault::LeftOut, direction: Direction::Encode, .. }) => emit(None),
        Err(error) => Err(error.at(key)),
    }
}

fn write_objects(
    request: &WriteChunk<'_>,
    kind: VlenKind,
    (source, region): (&dyn ObjectSource, &Region),
    scratch: &mut Scratch,
    emit: &mut Emit<'_>,
) -> Result<(), Error> {
    let chain = request.chain;
    let fill = chain.fill().element();
    let assigned = source.collect(region)?;
    let existing = match request.existing {
        Some(stored) if !request.selection.covers(&chain.spec().chunk_shape) => {
            check_len(chain, stored.len_bytes()).map_err(|error| error.at(request.key))?;
            Some(decode_objects(chain, kind, stored, request.key, scratch)?)
        }
        _ => None,
    };
    let mut merged: Vec<&[u8]> = match &existing {
        Some(elements) => (0..chain.element_count()).map(|index| elements.get(index)).collect(),
        None => vec![fill; chain.element_count()],
    };
    let targets = request.selection.project(chain.strides()).flattened();
    for position in 0..targets.element_count() {
        let element = (targets.base + targets.axes[0].at(position)).cast_unsigned();
        merged[element] = assigned.get(position);
    }
    if !chain.writes_empty_chunks() && merged.iter().all(|element| *element == fill) {
        return emit(None);
    }
    let mut encoded = scratch.take_vec();
    let result = chain.encode_elements(kind, merged.into_iter(), &mut encoded, scratch);
    let result = emit_encoded(result, &encoded, request.key, emit);
    scratch.put_vec(encoded);
    result
}
