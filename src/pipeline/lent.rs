//! Chunks whose codec decodes into memory of its own, a guest's: from there they go straight to where they belong.
//! Used by [`super::chunk`]. Where the codec decodes parts alone, no more is decoded at a time than stays in a core's
//! cache until it is there, and nothing that a window does not need.

use std::ops::Range;

use crate::codec::Scratch;
use crate::codec::chain::Chain;
use crate::codec::lending::{Encoded, TakeRange};
use crate::distance;
use crate::error::Error;
use crate::plan::Region;
use crate::scatter::Place;
use crate::schedule::Work;
use crate::store::ByteSource;

use super::parts;
use super::slabs::Slab;

/// Decoded at a time: with what it is decoded from it stays in a core's own cache.
const PIECE_BYTES: usize = 128 << 10;

/// Decodes a whole chunk.
///
/// # Errors
/// What the store or a codec refuses.
pub(super) fn copy(
    chain: &Chain,
    source: &dyn ByteSource,
    decoded: &mut [u8],
    key: &str,
    work: Work<'_>,
    scratch: &mut Scratch,
) -> Result<(), Error> {
    let len_bytes = decoded.len();
    let piece_bytes = if chain.lends_ranges() { PIECE_BYTES } else { len_bytes.max(1) };
    let ranges: Vec<_> = (0..len_bytes)
        .step_by(piece_bytes)
        .map(|start| start..len_bytes.min(start.saturating_add(piece_bytes)))
        .collect();
    let mut take = |at: usize, lent: &[u8]| distance::copy(&mut decoded[ranges[at].clone()], lent);
    decode(chain, source, &ranges, &mut take, key, work, scratch)
}

/// Decodes what is needed of a chunk, and scatters it.
///
/// # Errors
/// What the store or a codec refuses.
pub(super) fn scatter(
    chain: &Chain,
    source: &dyn ByteSource,
    region: &Region,
    place: &Place<'_>,
    key: &str,
    work: Work<'_>,
    scratch: &mut Scratch,
) -> Result<(), Error> {
    let slabs = if chain.lends_ranges() { Slab::all(region, place, PIECE_BYTES) } else { None };
    let mut placed = Ok(());
    let mut note = |result: Result<(), _>| {
        if placed.is_ok() {
            placed = result;
        }
    };
    if let Some(slabs) = slabs {
        let ranges: Vec<_> = slabs.iter().map(|slab| slab.start..slab.end).collect();
        let mut take = |at: usize, lent: &[u8]| {
            let slab = &slabs[at];
            note(place.part(slab.place.clone()).scatter(lent, &slab.region));
        };
        decode(chain, source, &ranges, &mut take, key, work, scratch)?;
    } else {
        let whole = [Range { start: 0, end: chain.len_bytes() }];
        let mut take = |_: usize, lent: &[u8]| note(place.scatter(lent, region));
        decode(chain, source, &whole, &mut take, key, work, scratch)?;
    }
    Ok(placed?)
}

/// Decodes parts of a chunk to where the codec has them. A codec with memory of its own gets the stored bytes straight
/// from the store, if it is the only one.
fn decode(
    chain: &Chain,
    source: &dyn ByteSource,
    ranges: &[Range<usize>],
    take: &mut TakeRange<'_>,
    key: &str,
    work: Work<'_>,
    scratch: &mut Scratch,
) -> Result<(), Error> {
    let len_bytes = source.len_bytes();
    match usize::try_from(len_bytes) {
        Ok(encoded_len) if chain.takes_filled() && !parts::are_worth_it(encoded_len, work) => {
            let mut failure = None;
            let mut fill = |room: &mut [u8]| match source.read_into(0..len_bytes, room) {
                Ok(()) => true,
                Err(error) => {
                    failure = Some(error);
                    false
                }
            };
            let encoded = Encoded::Filled { len_bytes: encoded_len, fill: &mut fill };
            let result = chain.decode_lent(encoded, ranges, take, scratch);
            match failure {
                Some(error) => Err(error),
                None => result.map_err(|error| error.at(key)),
            }
        }
        _ => {
            let mut stored = scratch.take_empty();
            let result = parts::read_all(source, &mut stored, work, scratch).and_then(|encoded| {
                let encoded = Encoded::Bytes(&encoded);
                chain.decode_lent(encoded, ranges, take, scratch).map_err(|error| error.at(key))
            });
            scratch.put(stored);
            result
        }
    }
}
