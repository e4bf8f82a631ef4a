//! Reads and writes over the network: many requests in flight, each chunk decoded as it arrives, on the threads
//! that all decoding runs on. [`read`](mod@read) and [`write`](mod@write) are what [`super::read`] and
//! [`super::write`] are for stores that answer at once; here is what both stand on.

mod read;
mod write;

use std::future::Future;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::{Either, select};
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::sync::oneshot;

pub use self::read::{RemoteRead, read};
pub use self::write::{RemoteWrite, write};
use super::feeding::Feeding;
use crate::codec::Scratch;
use crate::codec::chain::Chain;
use crate::counters::COUNTERS;
use crate::error::{Error, RemoteError};
use crate::schedule::{CancelToken, Work, Workers};
use crate::store::ByteRange;
use crate::store::remote::{Fetched, RemoteFault, RemoteStore};

/// The chunks of one batch in a store on the network.
#[derive(Debug)]
pub struct RemoteBatch {
    /// The store.
    pub store: Arc<dyn RemoteStore>,
    /// Keys of the chunks.
    pub keys: Vec<String>,
    /// Requests in flight at most.
    pub in_flight: usize,
    /// How many bytes of parts of shards may be on their way or wait to be decoded, unless one is longer.
    pub max_part_bytes: u64,
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
