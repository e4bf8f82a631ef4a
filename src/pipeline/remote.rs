//! Reads and writes over the network: many requests in flight, each chunk decoded as it arrives, on the threads
//! that all decoding runs on. The mirror of [`super::read::read`] and [`super::write::write`] for stores that
//! answer later.

use std::future::Future;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::future::{Either, select};
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::sync::oneshot;

use super::feeding::Feeding;
use super::read::{ReadRequest, Segments};
use super::write::WriteRequest;
use crate::codec::Scratch;
use crate::codec::chain::Chain;
use crate::codec::scratch::copy_of;
use crate::codec::sharding::IndexLocation;
use crate::counters::COUNTERS;
use crate::error::{Error, RemoteError};
use crate::schedule::{CancelToken, Work, Workers};
use crate::store::remote::{Fetched, RemoteFault, RemoteStore};
use crate::store::{ByteRange, ByteSource, InMemory};

/// So much of a chunk with blocks is fetched first: it mostly says where all of them are.
const HEAD_BYTES: u64 = 16 << 10;

/// The chunks of one batch in a store on the network.
#[derive(Debug)]
pub struct RemoteBatch {
    /// The store.
    pub store: Arc<dyn RemoteStore>,
    /// Keys of the chunks.
    pub keys: Vec<String>,
    /// Requests in flight at most.
    pub in_flight: usize,
    /// How many bytes may have arrived and wait to be decoded; then fetching pauses.
    pub max_waiting_bytes: usize,
    /// Ranges of one value with at most so many bytes between them are fetched together …
    pub max_gap_bytes: u64,
    /// … unless that is more than so many bytes.
    pub max_coalesced_bytes: u64,
    /// Shards of at most so many bytes are fetched whole: a second round trip takes longer than the rest of them.
    pub small_shard_bytes: usize,
}

impl RemoteBatch {
    fn fault(&self, index: usize, operation: &'static str, fault: RemoteFault) -> Error {
        let key = &self.keys[index];
        Error::Remote(Box::new(RemoteError {
            chunk_key: key.clone(),
            operation,
            location: self.store.location(key),
            fault,
            written: None,
        }))
    }

    async fn fetch(&self, index: usize, range: ByteRange, chain: &Chain) -> Result<Option<Fetched>, Error> {
        COUNTERS.add_native_requests(1);
        let answer = self.store.get(&self.keys[index], range, chain.encoded_limit() as u64).await;
        let fetched = answer.map_err(|fault| self.fault(index, "get", fault))?;
        COUNTERS.add_fetched(fetched.as_ref().map_or(0, |fetched| fetched.bytes.len()));
        Ok(fetched)
    }

    async fn get(&self, index: usize, range: ByteRange, chain: &Chain) -> Result<Option<Bytes>, Error> {
        Ok(self.fetch(index, range, chain).await?.map(|fetched| fetched.bytes))
    }

    /// Fetches ascending ranges of one value, neighbours together; `None` where there is no value any more.
    async fn get_ranges(
        &self,
        index: usize,
        ranges: &[Range<u64>],
        chain: &Chain,
        share: usize,
    ) -> Result<Option<Vec<(u64, Fetched)>>, Error> {
        let joined = coalesced(ranges, self.max_gap_bytes, self.max_coalesced_bytes);
        let parts: Vec<Option<(u64, Fetched)>> = stream::iter(joined)
            .map(|range| async move {
                let start = range.start;
                let fetched = self.fetch(index, ByteRange::Bounded(range), chain).await?;
                Ok::<_, Error>(fetched.map(|fetched| (start, fetched)))
            })
            .buffer_unordered(share)
            .try_collect()
            .await?;
        let needed_bytes: u64 = ranges.iter().map(|range| range.end - range.start).sum();
        let fetched_bytes: usize = parts.iter().flatten().map(|(_, part)| part.bytes.len()).sum();
        COUNTERS.add_wasted((fetched_bytes as u64).saturating_sub(needed_bytes));
        Ok(parts.into_iter().collect())
    }
}

/// Joins ascending ranges with at most `max_gap` bytes between them to ranges of at most `max_len` bytes.
#[must_use]
pub fn coalesced(ranges: &[Range<u64>], max_gap: u64, max_len: u64) -> Vec<Range<u64>> {
    let mut joined: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match joined.last_mut() {
            Some(last)
                if range.start <= last.end.saturating_add(max_gap)
                    && range.end.saturating_sub(last.start) <= max_len =>
            {
                last.end = last.end.max(range.end);
            }
            _ => joined.push(range.clone()),
        }
    }
    joined
}

/// The threads that decode and encode for one request.
#[derive(Debug)]
pub struct Decoders {
    /// All threads.
    pub workers: Arc<Workers>,
    /// How many of them may take chunks.
    pub lanes: usize,
    /// Ends everything.
    pub cancel: CancelToken,
    /// What arrived and is not decoded.
    pub feeding: Arc<Feeding>,
}

impl Decoders {
    /// Runs `body` on the threads some time. Answers the weight of all that is waiting.
    fn spawn(
        &self,
        len_bytes: usize,
        body: impl FnOnce(Work<'_>, &mut Scratch) -> Result<(), Error> + Send + 'static,
    ) -> usize {
        let weight = len_bytes.saturating_add(1);
        let total = self.feeding.add(weight);
        let feeding = Arc::clone(&self.feeding);
        let cancel = self.cancel.clone();
        let unless_cancelled = move |work: Work<'_>, scratch: &mut Scratch| {
            if cancel.is_cancelled() { Err(Error::Cancelled) } else { body(work, scratch) }
        };
        let end = move |result: Result<(), Error>| feeding.done(weight, result);
        self.workers.submit(self.lanes, &self.cancel, unless_cancelled, end);
        total
    }

    /// Runs `body` on the threads and waits for it.
    async fn run<T: Send + 'static>(
        &self,
        body: impl FnOnce(Work<'_>, &mut Scratch) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (sender, receiver) = oneshot::channel();
        self.feeding.add(1);
        let feeding = Arc::clone(&self.feeding);
        self.workers.submit(self.lanes, &self.cancel, body, move |result| {
            // Nobody listens any more once the request was cancelled.
            let _ = sender.send(result);
            feeding.done(1, Ok(()));
        });
        receiver.await.unwrap_or(Err(Error::Cancelled))
    }

    /// Waits until at most `weight` is waiting.
    async fn until(&self, weight: usize) -> Result<(), Error> {
        let (sender, receiver) = oneshot::channel();
        self.feeding.wait(
            weight,
            Box::new(move |result| {
                let _ = sender.send(result);
            }),
        );
        receiver.await.unwrap_or(Err(Error::Cancelled))
    }
}

/// Awaits `work`, or drops it, with its connections, when the request is cancelled.
async fn unless_cancelled<T>(
    cancel: &CancelToken,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let (sender, cancelled) = oneshot::channel::<()>();
    cancel.on_cancel(Box::new(move || {
        let _ = sender.send(());
    }));
    match select(std::pin::pin!(work), cancelled).await {
        Either::Left((result, _)) => result,
        Either::Right(_) => Err(Error::Cancelled),
    }
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
    let share = (batch.in_flight / count.clamp(1, batch.in_flight.max(1))).max(1);
    stream::iter((0..count).map(Ok))
        .try_for_each_concurrent(batch.in_flight, |index| async move {
            let waiting = fetch_chunk(read, batch, index, share, decoders).await?;
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
    share: usize,
    decoders: &Decoders,
) -> Result<usize, Error> {
    let request = read.request();
    let chain = &request.tasks()[index].chain;
    if chain.len_bytes() > batch.small_shard_bytes
        && let Some(sharding) = request.partial_shard(index)
    {
        let index_len = sharding.index_len() as u64;
        let range = match sharding.location() {
            IndexLocation::Start => ByteRange::Bounded(0..index_len),
            IndexLocation::End => ByteRange::Suffix(index_len),
        };
        return match batch.get(index, range, chain).await? {
            None => Ok(decode_whole(read, decoders, index, None)),
            Some(stored_index) => fetch_inner(read, batch, index, stored_index, share, decoders).await,
        };
    }
    if let Some(span) = request.plain_span(index) {
        let len_bytes = chain.len_bytes() as u64;
        return Ok(match batch.get(index, ByteRange::Bounded(span.clone()), chain).await? {
            None => decode_whole(read, decoders, index, None),
            Some(bytes) => decode_parts(read, decoders, index, vec![(span.start, bytes)], len_bytes),
        });
    }
    if request.has_blocks(index) {
        return fetch_blocks(read, batch, index, share, decoders).await;
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
        match batch.get_ranges(index, &ranges, chain, share).await? {
            None => return Ok(decode_whole(read, decoders, index, None)),
            // Parts of another value, if they tell: somebody wrote the chunk meanwhile.
            Some(parts) if parts.iter().any(|(_, part)| part.value_len.is_some_and(|other| other != len)) => {
            }
            Some(parts) => {
                let mut parts: Vec<_> = parts.into_iter().map(|(start, part)| (start, part.bytes)).collect();
                parts.push((0, head.bytes));
                return Ok(decode_parts(read, decoders, index, parts, len));
            }
        }
    }
    let bytes = batch.get(index, ByteRange::Whole, chain).await?;
    Ok(decode_whole(read, decoders, index, bytes))
}

/// Fetches the inner chunks of a shard that are needed, and has them decoded.
async fn fetch_inner<R: RemoteRead>(
    read: &Arc<R>,
    batch: &RemoteBatch,
    index: usize,
    stored_index: Bytes,
    share: usize,
    decoders: &Decoders,
) -> Result<usize, Error> {
    let decoding = Arc::clone(read);
    let (shard_index, ranges) = decoders
        .run(move |_, scratch| {
            let key = &batch_of(decoding.as_ref())?.keys[index];
            decoding.request().decode_shard_index(index, &stored_index, key, scratch)
        })
        .await?;
    let chain = &read.request().tasks()[index].chain;
    let Some(parts) = batch.get_ranges(index, &ranges, chain, share).await? else {
        // Deleted between the two requests: as zarr-python has it, the shard is missing.
        return Ok(decode_whole(read, decoders, index, None));
    };
    let read = Arc::clone(read);
    let fetched_bytes = parts.iter().map(|(_, part)| part.bytes.len()).sum();
    Ok(decoders.spawn(fetched_bytes, move |work, scratch| {
        let key = &batch_of(read.as_ref())?.keys[index];
        let request = read.request();
        let parts = parts.iter().map(|(start, part)| (*start, part.bytes.as_ref())).collect();
        let segments = Segments::new(key, parts);
        request.read_shard_parts(index, &shard_index, &segments, key, request.spread(work), scratch)
    }))
}

/// A write that owns what its chunks' encoding needs.
pub trait RemoteWrite: Send + Sync + 'static {
    /// The planned write.
    fn request(&self) -> &WriteRequest;
    /// Where its chunks are; `None` if nowhere on the network.
    fn batch(&self) -> Option<&RemoteBatch>;
    /// Whether several chunks may be written at the same time.
    fn is_parallel(&self) -> bool;
}

/// Writes every chunk. After a failure no further chunk is started, and those under way are finished.
///
/// # Errors
/// A store's or a codec's failure, which says what was stored before, or [`Error::Cancelled`].
pub async fn write<W: RemoteWrite>(write: Arc<W>, decoders: Arc<Decoders>) -> Result<(), Error> {
    let stored = Mutex::new(Vec::new());
    let result = unless_cancelled(&decoders.cancel, write_all(&write, &decoders, &stored)).await;
    // Nobody reads the caller's values any more.
    decoders.until(0).await?;
    result.map_err(|error| error.after_storing(stored.into_inner().unwrap_or_else(PoisonError::into_inner)))
}

async fn write_all<W: RemoteWrite>(
    write: &Arc<W>,
    decoders: &Decoders,
    stored: &Mutex<Vec<String>>,
) -> Result<(), Error> {
    let batch = write.batch().ok_or_else(|| Error::Internal("no store on the network".to_owned()))?;
    let in_flight = if write.is_parallel() { batch.in_flight } else { 1 };
    let failure: Mutex<Option<Error>> = Mutex::new(None);
    let has_failed = || failure.lock().unwrap_or_else(PoisonError::into_inner).is_some();
    stream::iter(0..write.request().tasks().len())
        .take_while(|_| std::future::ready(!has_failed()))
        .for_each_concurrent(in_flight, |index| {
            let failure = &failure;
            async move {
                match write_chunk(write, batch, index, decoders).await {
                    Ok(()) => {
                        let mut stored = stored.lock().unwrap_or_else(PoisonError::into_inner);
                        stored.push(batch.keys[index].clone());
                    }
                    Err(error) => {
                        failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                    }
                }
            }
        })
        .await;
    failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

async fn write_chunk<W: RemoteWrite>(
    write: &Arc<W>,
    batch: &RemoteBatch,
    index: usize,
    decoders: &Decoders,
) -> Result<(), Error> {
    let task = &write.request().tasks()[index];
    let existing =
        if task.needs_existing() { batch.get(index, ByteRange::Whole, &task.chain).await? } else { None };
    let encoding = Arc::clone(write);
    let encoded = decoders
        .run(move |work, scratch| {
            let source = existing.as_deref().map(InMemory);
            let source = source.as_ref().map(|bytes| bytes as &dyn ByteSource);
            let key = encoding.batch().map_or("", |batch| &batch.keys[index]);
            let mut answer = None;
            encoding.request().write_one(index, source, key, work, scratch, &mut |encoded| {
                let copied = encoded.map(copy_of).transpose();
                answer = copied.map_err(|fault| Error::Internal(fault.to_string()))?;
                Ok(())
            })?;
            Ok(answer)
        })
        .await?;
    COUNTERS.add_native_requests(1);
    let key = &batch.keys[index];
    match encoded {
        Some(bytes) => {
            batch.store.put(key, bytes.into()).await.map_err(|fault| batch.fault(index, "set", fault))
        }
        None => batch.store.delete(key).await.map_err(|fault| batch.fault(index, "delete", fault)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_ranges_are_joined() {
        let ranges = [0..10, 12..20, 40..50, 50..60];
        assert_eq!(coalesced(&ranges, 0, 100), [0..10, 12..20, 40..60]);
        assert_eq!(coalesced(&ranges, 2, 100), [0..20, 40..60]);
        assert_eq!(coalesced(&ranges, 100, 100), std::slice::from_ref(&(0..60)));
        assert_eq!(coalesced(&ranges, 100, 25), [0..20, 40..60]);
        assert_eq!(coalesced(&[0..10, 2..5], 0, 100), std::slice::from_ref(&(0..10)));
    }
}
