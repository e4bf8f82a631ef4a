//! Writing: fetch what has to survive, encode on the threads, put. The mirror of [`mod@super::read`].

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::{StreamExt, stream};

use super::super::write::WriteRequest;
use super::{Decoders, RemoteBatch, unless_cancelled};
use crate::codec::scratch::copy_of;
use crate::counters::COUNTERS;
use crate::error::Error;
use crate::store::{ByteRange, ByteSource, InMemory};

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
    }?;
    write.request().note_done();
    Ok(())
}
