//! Reading: fetch what is needed of each chunk, and have it decoded on the threads as it arrives.
//!
//! What takes several requests for one value (the index of a shard, then inner chunks; the head of a chunk, then
//! blocks) must be parts of one version of it. Where the server names versions, parts of another one are thrown
//! away and the value is fetched anew, in the end in one request.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::{TryStreamExt, stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::super::read::{Part, ReadRequest, Segments};
use super::{Decoders, RemoteBatch, coalesced, unless_cancelled};
use crate::codec::sharding::{IndexLocation, ShardIndex, Sharding};
use crate::counters::COUNTERS;
use crate::error::Error;
use crate::store::remote::Fetched;
use crate::store::{ByteRange, ByteSource, InMemory};

/// So much of a chunk with blocks is fetched first: it mostly says where all of them are.
const HEAD_BYTES: u64 = 16 << 10;

/// So often the parts of a shard are fetched, each time from its index on, before it is fetched whole.
const ATTEMPTS_IN_PARTS: usize = 2;

/// Bytes of parts of shards that may be on their way or wait to be decoded.
struct Budget {
    units: Arc<Semaphore>,
    all: u32,
}

impl Budget {
    const UNIT_BYTES: u64 = 1 << 10;

    fn new(max_bytes: u64) -> Self {
        let all =
            u32::try_from(max_bytes / Self::UNIT_BYTES).unwrap_or(u32::MAX >> 3).clamp(1, u32::MAX >> 3);
        Self { units: Arc::new(Semaphore::new(all as usize)), all }
    }

    /// Waits until so many more bytes fit in; more than all of them take the place of all.
    async fn reserve(&self, len_bytes: u64) -> Option<OwnedSemaphorePermit> {
        let units = u32::try_from(len_bytes / Self::UNIT_BYTES + 1).unwrap_or(u32::MAX).min(self.all);
        Arc::clone(&self.units).acquire_many_owned(units).await.ok()
    }
}

/// How what is allowed is shared out.
struct Shares {
    /// Requests for one chunk at the same time.
    requests: usize,
    budget: Budget,
}

/// A read that owns what its chunks' decoding needs.
pub trait RemoteRead: Send + Sync + 'static {
    /// The planned read.
    fn request(&self) -> &ReadRequest;
    /// Where its chunks are; `None` if nowhere on the network.
    fn batch(&self) -> Option<&RemoteBatch>;
}

/// Reads every chunk. When this is over, nobody touches the output any more.
///
/// # Errors
/// A store's or a codec's failure, or [`Error::Cancelled`].
pub async fn read<R: RemoteRead>(read: Arc<R>, decoders: Arc<Decoders>) -> Result<(), Error> {
    let fetched = unless_cancelled(&decoders.cancel, fetch_all(&read, &decoders)).await;
    if fetched.is_err() {
        decoders.cancel.cancel();
    }
    let decoded = decoders.until(0).await;
    match (fetched, decoded) {
        // A chunk that failed to decode ended the fetching.
        (Err(Error::Cancelled), Err(error)) => Err(error),
        (fetched, decoded) => fetched.and(decoded),
    }
}

fn batch_of<R: RemoteRead>(read: &R) -> Result<&RemoteBatch, Error> {
    read.batch().ok_or_else(|| Error::Internal("no store on the network".to_owned()))
}

async fn fetch_all<R: RemoteRead>(read: &Arc<R>, decoders: &Decoders) -> Result<(), Error> {
    let batch = batch_of(read.as_ref())?;
    let count = read.request().tasks().len();
    let requests = (batch.in_flight / count.clamp(1, batch.in_flight.max(1))).max(1);
    let shares = &Shares { requests, budget: Budget::new(batch.max_part_bytes) };
    stream::iter((0..count).map(Ok))
        .try_for_each_concurrent(batch.in_flight, |index| async move {
            let waiting = fetch_chunk(read, batch, index, shares, decoders).await?;
            if decoders.feeding.has_failed() {
                return Err(Error::Cancelled);
            }
            if waiting > batch.max_waiting_bytes {
                decoders.until(batch.max_waiting_bytes / 2).await?;
            }
            Ok(())
        })
        .await
}

/// Fetches one chunk and has it decoded; answers how much waits for that.
async fn fetch_chunk<R: RemoteRead>(
    read: &Arc<R>,
    batch: &RemoteBatch,
    index: usize,
    shares: &Shares,
    decoders: &Decoders,
) -> Result<usize, Error> {
    let request = read.request();
    let chain = &request.tasks()[index].chain;
    if chain.len_bytes() > batch.small_shard_bytes
        && let Some(sharding) = request.partial_shard(index)
    {
        return fetch_inner(read, batch, index, sharding, shares, decoders).await;
    }
    if let Some(span) = request.plain_span(index) {
        return Ok(match batch.fetch(index, ByteRange::Bounded(span.clone()), chain).await? {
            None => decode_whole(read, decoders, index, None),
            // A value of another length is no chunk, whatever these bytes are.
            Some(Fetched { bytes, value_len, .. }) => {
                let len_bytes = value_len.unwrap_or(chain.len_bytes() as u64);
                decode_parts(read, decoders, index, vec![(span.start, bytes)], len_bytes)
            }
        });
    }
    if request.has_blocks(index) {
        return fetch_blocks(read, batch, index, shares.requests, decoders).await;
    }
    let bytes = batch.get(index, ByteRange::Whole, chain).await?;
    Ok(decode_whole(read, decoders, index, bytes))
}

fn decode_whole<R: RemoteRead>(
    read: &Arc<R>,
    decoders: &Decoders,
    index: usize,
    bytes: Option<Bytes>,
) -> usize {
    let read = Arc::clone(read);
    decoders.spawn(bytes.as_ref().map_or(0, Bytes::len), move |work, scratch| {
        let source = bytes.as_deref().map(InMemory);
        let source = source.as_ref().map(|bytes| bytes as &dyn ByteSource);
        let key = &batch_of(read.as_ref())?.keys[index];
        let request = read.request();
        request.read_one(index, source, key, request.spread(work), scratch)
    })
}

fn decode_parts<R: RemoteRead>(
    read: &Arc<R>,
    decoders: &Decoders,
    index: usize,
    parts: Vec<(u64, Bytes)>,
    value_len: u64,
) -> usize {
    let read = Arc::clone(read);
    decoders.spawn(parts.iter().map(|(_, bytes)| bytes.len()).sum(), move |work, scratch| {
        let key = &batch_of(read.as_ref())?.keys[index];
        let request = read.request();
        let parts = parts.iter().map(|(start, bytes)| (*start, bytes.as_ref())).collect();
        let segments = Segments::of_value(key, parts, value_len);
        request.read_one(index, Some(&segments), key, request.spread(work), scratch)
    })
}

/// Fetches those blocks of a chunk that are needed, and has them decoded; the whole chunk where it has none.
async fn fetch_blocks<R: RemoteRead>(
    read: &Arc<R>,
    batch: &RemoteBatch,
    index: usize,
    share: usize,
    decoders: &Decoders,
) -> Result<usize, Error> {
    let chain = &read.request().tasks()[index].chain;
    let Some(head) = batch.fetch(index, ByteRange::Bounded(0..HEAD_BYTES), chain).await? else {
        return Ok(decode_whole(read, decoders, index, None));
    };
    if let Some(len) = head.value_len
        && len > head.bytes.len() as u64
        && let Some(mut ranges) = read.request().block_ranges(index, &head.bytes, len)
    {
        ranges.retain(|range| range.end > head.bytes.len() as u64);
        let Some(parts) = batch.get_ranges(index, &ranges, chain, share).await? else {
            return Ok(decode_whole(read, decoders, index, None));
        };
        // Else somebody wrote the chunk meanwhile.
        if parts.iter().all(|(_, part)| part.may_be_with(&head)) {
            let mut parts: Vec<_> = parts.into_iter().map(|(start, part)| (start, part.bytes)).collect();
            parts.push((0, head.bytes));
            return Ok(decode_parts(read, decoders, index, parts, len));
        }
    }
    let bytes = batch.get(index, ByteRange::Whole, chain).await?;
    Ok(decode_whole(read, decoders, index, bytes))
}

/// Fetches the inner chunks of a shard that are needed, and has them decoded as they arrive.
async fn fetch_inner<R: RemoteRead>(
    read: &Arc<R>,
    batch: &RemoteBatch,
    index: usize,
    sharding: &Sharding,
    shares: &Shares,
    decoders: &Decoders,
) -> Result<usize, Error> {
    let chain = &read.request().tasks()[index].chain;
    let index_len = sharding.index_len() as u64;
    let index_range = match sharding.location() {
        IndexLocation::Start => ByteRange::Bounded(0..index_len),
        IndexLocation::End => ByteRange::Suffix(index_len),
    };
    for _ in 0..ATTEMPTS_IN_PARTS {
        let Some(stored_index) = batch.fetch(index, index_range.clone(), chain).await? else {
            return Ok(decode_whole(read, decoders, index, None));
        };
        let decoding = Arc::clone(read);
        let bytes = stored_index.bytes.clone();
        let (shard_index, ranges) = decoders
            .run(move |_, scratch| {
                let key = &batch_of(decoding.as_ref())?.keys[index];
                decoding.request().decode_shard_index(index, &bytes, key, scratch)
            })
            .await?;
        let shard = FetchedShard { read, batch, index, stored_index, shard_index: Arc::new(shard_index) };
        match shard.fetch_parts(&ranges, shares, decoders).await? {
            Parts::Fetched(waiting) => return Ok(waiting),
            // Deleted between the requests: as zarr-python has it, the shard is missing.
            Parts::Gone => return Ok(decode_whole(read, decoders, index, None)),
            Parts::OfAnotherVersion => {}
        }
    }
    let bytes = batch.get(index, ByteRange::Whole, chain).await?;
    Ok(decode_whole(read, decoders, index, bytes))
}

/// What became of the parts of a shard.
enum Parts {
    /// All are being decoded; so much waits for that.
    Fetched(usize),
    Gone,
    OfAnotherVersion,
}

/// A shard of which the index is here.
struct FetchedShard<'a, R> {
    read: &'a Arc<R>,
    batch: &'a RemoteBatch,
    index: usize,
    stored_index: Fetched,
    shard_index: Arc<ShardIndex>,
}

impl<R: RemoteRead> FetchedShard<'_, R> {
    /// Fetches ranges, neighbours together. If not all of them can be had from this version of the shard, nobody
    /// decodes any of them any more when this is over.
    async fn fetch_parts(
        &self,
        ranges: &[Range<u64>],
        shares: &Shares,
        decoders: &Decoders,
    ) -> Result<Parts, Error> {
        let mut windows = coalesced(ranges, self.batch.max_gap_bytes, self.batch.max_coalesced_bytes);
        if windows.is_empty() {
            windows.push(0..0);
        }
        let left = Arc::new(AtomicUsize::new(windows.len()));
        let decoding = Mutex::new(Vec::with_capacity(windows.len()));
        let fetched_bytes = AtomicU64::new(0);
        let waiting = AtomicUsize::new(0);
        let (left, decoding, fetched_bytes, waiting) = (&left, &decoding, &fetched_bytes, &waiting);
        let outcome = stream::iter(windows.into_iter().enumerate().map(Ok))
            .try_for_each_concurrent(shares.requests, |(number, window)| async move {
                let permit = shares.budget.reserve(window.end - window.start).await;
                let bytes = match self.fetch_window(&window).await {
                    Ok(Ok(bytes)) => bytes,
                    Ok(Err(parts)) => return Err(Ok(parts)),
                    Err(error) => return Err(Err(error)),
                };
                fetched_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                let part = Part { window, has_missing: number == 0 };
                let (total, over) = self.decode(part, bytes, Arc::clone(left), permit, decoders);
                waiting.store(total, Ordering::Relaxed);
                decoding.lock().unwrap_or_else(PoisonError::into_inner).push(over);
                Ok(())
            })
            .await;
        match outcome {
            Ok(()) => {
                let needed_bytes: u64 = ranges.iter().map(|range| range.end - range.start).sum();
                COUNTERS.add_wasted(fetched_bytes.load(Ordering::Relaxed).saturating_sub(needed_bytes));
                Ok(Parts::Fetched(waiting.load(Ordering::Relaxed)))
            }
            Err(Ok(parts)) => {
                // They write where the next attempt will.
                let decoding = std::mem::take(&mut *decoding.lock().unwrap_or_else(PoisonError::into_inner));
                for over in decoding {
                    // An error only says that it is over.
                    let _ = over.await;
                }
                Ok(parts)
            }
            Err(Err(error)) => Err(error),
        }
    }

    async fn fetch_window(&self, window: &Range<u64>) -> Result<Result<Bytes, Parts>, Error> {
        if window.is_empty() {
            return Ok(Ok(Bytes::new()));
        }
        let chain = &self.read.request().tasks()[self.index].chain;
        let fetched = self.batch.fetch(self.index, ByteRange::Bounded(window.clone()), chain).await?;
        Ok(match fetched {
            None => Err(Parts::Gone),
            Some(part) if !part.may_be_with(&self.stored_index) => Err(Parts::OfAnotherVersion),
            Some(part) => Ok(part.bytes),
        })
    }

    /// Has a part decoded. Answers how much waits, and what tells when this part is over.
    fn decode(
        &self,
        part: Part,
        bytes: Bytes,
        left: Arc<AtomicUsize>,
        permit: Option<OwnedSemaphorePermit>,
        decoders: &Decoders,
    ) -> (usize, oneshot::Receiver<()>) {
        let (sender, over) = oneshot::channel::<()>();
        let read = Arc::clone(self.read);
        let shard_index = Arc::clone(&self.shard_index);
        let index = self.index;
        let total = decoders.spawn(bytes.len(), move |work, scratch| {
            let _until_the_end = (sender, permit);
            let key = &batch_of(read.as_ref())?.keys[index];
            let request = read.request();
            let segments = Segments::new(key, vec![(part.window.start, bytes.as_ref())]);
            let work = request.spread(work);
            request.read_shard_part(index, &shard_index, &segments, &part, &left, key, work, scratch)
        });
        (total, over)
    }
}
