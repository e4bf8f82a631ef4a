//! Values behind plain HTTP addresses, read only.
//!
//! Of the protocol (RFC 9110, sections 14 and 15) only what a reader needs: GET, ranges, redirects, and a close
//! look at each answer, for what a server sends is not always what was asked for.

use std::future::Future;
use std::ops::Range;
use std::sync::OnceLock;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use reqwest::header::{
    ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, HeaderName, LAST_MODIFIED, RANGE,
    RETRY_AFTER,
};
use reqwest::{Client, Method, Response, StatusCode};

use super::{
    Answer, Fetched, LONGEST_PAUSE, Lacking, RemoteFault, RemoteStore, Version, pause_after, without_secrets,
};
use crate::process::PerProcess;
use crate::store::ByteRange;

/// Connections are shared by all stores of a process.
static CLIENT: PerProcess<OnceLock<Client>> = PerProcess::new(OnceLock::new);

/// To be called in the child after a fork, before anything else here.
pub fn after_fork_in_child() {
    CLIENT.forget_in_child();
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

fn client() -> Result<&'static Client, RemoteFault> {
    let slot = CLIENT.get();
    if let Some(client) = slot.get() {
        return Ok(client);
    }
    // Whom a redirect leads to is not told from where: who knows the address of a share can read it.
    let built = Client::builder().referer(false).connect_timeout(CONNECT_TIMEOUT).build();
    let client = built.map_err(|error| fault(format!("no HTTP client: {}", chain_of(&error)), None))?;
    Ok(slot.get_or_init(|| client))
}

/// How often and how long to try.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Further attempts after the first.
    pub retries: usize,
    /// How long an answer, or the next piece of it, is awaited.
    pub timeout: Duration,
}

/// Values below one address.
#[derive(Debug)]
pub struct HttpRemote {
    base: String,
    patience: Patience,
    lacks_suffixes: Lacking,
}

/// Why an attempt failed, and whether another may do better.
struct Failed {
    fault: RemoteFault,
    is_passing: bool,
    pause: Option<Duration>,
}

fn fault(message: String, status: Option<StatusCode>) -> RemoteFault {
    RemoteFault { message, status: status.map(|status| status.as_u16()), attempt: 1 }
}

impl Failed {
    fn for_good(message: impl Into<String>, status: Option<StatusCode>) -> Self {
        Self { fault: fault(message.into(), status), is_passing: false, pause: None }
    }

    fn for_now(message: impl Into<String>, status: Option<StatusCode>) -> Self {
        Self { is_passing: true, ..Self::for_good(message, status) }
    }

    /// A connection that failed, or an answer that ended early.
    fn of(error: reqwest::Error) -> Self {
        let is_passing = !(error.is_redirect() || error.is_builder());
        Self { is_passing, ..Self::for_good(chain_of(&error.without_url()), None) }
    }
}

/// An error with its causes, without what must stay secret.
fn chain_of(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    without_secrets(&text)
}

impl HttpRemote {
    /// Values below `base`, an address without a query.
    #[must_use]
    pub fn new(base: &str, patience: Patience) -> Self {
        Self { base: base.trim_end_matches('/').to_owned(), patience, lacks_suffixes: Lacking::default() }
    }

    async fn request(&self, method: Method, key: &str, range: Option<&str>) -> Result<Response, Failed> {
        let client = client().map_err(|fault| Failed { fault, is_passing: false, pause: None })?;
        let mut request = client
            .request(method, format!("{}/{key}", self.base))
            // Ranges count the bytes that are stored.
            .header(ACCEPT_ENCODING, "identity");
        if let Some(range) = range {
            request = request.header(RANGE, range);
        }
        self.soon(request.send()).await
    }

    /// Awaits a step of an answer, not for ever.
    async fn soon<T>(&self, step: impl Future<Output = reqwest::Result<T>>) -> Result<T, Failed> {
        let Ok(done) = tokio::time::timeout(self.patience.timeout, step).await else {
            let waited = self.patience.timeout.as_secs_f64();
            return Err(Failed::for_now(format!("the server sent nothing for {waited} s"), None));
        };
        done.map_err(Failed::of)
    }

    async fn body(&self, mut answer: Response, limit_bytes: u64) -> Result<Bytes, Failed> {
        let too_long =
            || Failed { fault: RemoteFault::too_long(limit_bytes), is_passing: false, pause: None };
        let announced = answer.content_length().unwrap_or(0);
        if announced > limit_bytes {
            return Err(too_long());
        }
        let mut body = BytesMut::with_capacity(usize::try_from(announced).unwrap_or(0));
        while let Some(piece) = self.soon(answer.chunk()).await? {
            if (body.len() + piece.len()) as u64 > limit_bytes {
                return Err(too_long());
            }
            body.extend_from_slice(&piece);
        }
        Ok(body.freeze())
    }

    async fn attempt(
        &self,
        key: &str,
        range: &ByteRange,
        limit_bytes: u64,
    ) -> Result<Option<Fetched>, Failed> {
        let asked = match range {
            ByteRange::Whole => None,
            ByteRange::Bounded(range) => {
                Some(format!("bytes={}-{}", range.start, range.end.saturating_sub(1)))
            }
            ByteRange::Suffix(_) if self.lacks_suffixes.is_likely() => {
                return self.suffix_by_length(key, range, limit_bytes).await;
            }
            ByteRange::Suffix(count) => Some(format!("bytes=-{count}")),
        };
        let answer = self.request(Method::GET, key, asked.as_deref()).await?;
        let status = answer.status();
        let version = version_of(answer.headers());
        match status {
            // A server need not know ranges.
            StatusCode::OK => {
                let whole = self.body(answer, limit_bytes).await?;
                Ok(Some(Fetched::part_of(&whole, range, version)))
            }
            StatusCode::PARTIAL_CONTENT if asked.is_some() => {
                let given = content_range(answer.headers());
                let bytes = self.body(answer, limit_bytes).await?;
                if let Some(given) = given.filter(|given| given.answers(range, bytes.len() as u64)) {
                    return Ok(Some(Fetched { bytes, value_len: given.total, version }));
                }
                let what = "the server answered with other bytes than it was asked for";
                Err(Failed::for_now(what, Some(status)))
            }
            StatusCode::NOT_FOUND => Ok(None),
            StatusCode::RANGE_NOT_SATISFIABLE | StatusCode::NOT_IMPLEMENTED | StatusCode::BAD_REQUEST
                if matches!(range, ByteRange::Suffix(_)) =>
            {
                let answer = self.suffix_by_length(key, range, limit_bytes).await?;
                self.lacks_suffixes.note();
                Ok(answer)
            }
            status => Err(refused(status, answer.headers())),
        }
    }

    /// The end of a value whose length has to be asked for first.
    async fn suffix_by_length(
        &self,
        key: &str,
        range: &ByteRange,
        limit_bytes: u64,
    ) -> Result<Option<Fetched>, Failed> {
        let ByteRange::Suffix(count) = range else {
            return Err(Failed::for_good("no range from the end", None));
        };
        let answer = self.request(Method::HEAD, key, None).await?;
        let status = answer.status();
        if status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let len = answer.headers().get(CONTENT_LENGTH).and_then(|len| len.to_str().ok()?.parse::<u64>().ok());
        match len.filter(|_| status == StatusCode::OK) {
            Some(0) => {
                let version = version_of(answer.headers());
                Ok(Some(Fetched::part_of(&Bytes::new(), &ByteRange::Whole, version)))
            }
            Some(len) => {
                let part = ByteRange::Bounded(len.saturating_sub(*count)..len);
                Box::pin(self.attempt(key, &part, limit_bytes)).await
            }
            None => {
                let whole = Box::pin(self.attempt(key, &ByteRange::Whole, limit_bytes)).await?;
                Ok(whole.map(|whole| Fetched::part_of(&whole.bytes, range, whole.version)))
            }
        }
    }

    async fn fetch(
        &self,
        key: &str,
        range: &ByteRange,
        limit_bytes: u64,
    ) -> Result<Option<Fetched>, RemoteFault> {
        let mut attempt = 1;
        loop {
            let failed = match self.attempt(key, range, limit_bytes).await {
                Ok(answer) => return Ok(answer),
                Err(failed) => failed,
            };
            if !failed.is_passing || attempt > self.patience.retries {
                return Err(RemoteFault { attempt, ..failed.fault });
            }
            tokio::time::sleep(failed.pause.unwrap_or(pause_after(attempt)).min(LONGEST_PAUSE)).await;
            attempt += 1;
        }
    }
}

/// The failure for a status that is no answer.
fn refused(status: StatusCode, headers: &HeaderMap) -> Failed {
    let message = format!("the server answered {status}");
    let passes = status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED;
    if passes || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT) {
        let seconds =
            headers.get(RETRY_AFTER).and_then(|wait| wait.to_str().ok()?.trim().parse::<u64>().ok());
        return Failed { pause: seconds.map(Duration::from_secs), ..Failed::for_now(message, Some(status)) };
    }
    Failed::for_good(message, Some(status))
}

fn version_of(headers: &HeaderMap) -> Version {
    let text = |name: HeaderName| headers.get(name)?.to_str().ok().map(str::to_owned);
    Version { tag: text(ETAG), modified: text(LAST_MODIFIED) }
}

/// What the bytes of an answer are.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ContentRange {
    range: Range<u64>,
    total: Option<u64>,
}

impl ContentRange {
    /// Whether `len` bytes of this range are what was asked for: all of it, or up to the value's end.
    fn answers(&self, asked: &ByteRange, len: u64) -> bool {
        let is_consistent = self.range.end.checked_sub(self.range.start) == Some(len)
            && self.total.is_none_or(|total| self.range.end <= total);
        let reaches_end = self.total == Some(self.range.end);
        is_consistent
            && match asked {
                ByteRange::Whole => false,
                ByteRange::Bounded(asked) => {
                    self.range.start == asked.start
                        && (self.range.end == asked.end || (self.range.end < asked.end && reaches_end))
                }
                ByteRange::Suffix(count) => {
                    reaches_end && (len == *count || (len < *count && self.range.start == 0))
                }
            }
    }
}

/// `bytes 0-9/100`, with `*` for an unknown length.
fn content_range(headers: &HeaderMap) -> Option<ContentRange> {
    let text = headers.get(CONTENT_RANGE)?.to_str().ok()?;
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let total = if total == "*" { None } else { Some(total.parse().ok()?) };
    let range = first.trim().parse().ok()?..last.trim().parse::<u64>().ok()?.checked_add(1)?;
    Some(ContentRange { range, total })
}

impl RemoteStore for HttpRemote {
    fn get<'a>(&'a self, key: &'a str, range: ByteRange, limit_bytes: u64) -> Answer<'a, Option<Fetched>> {
        async move { self.fetch(key, &range, limit_bytes).await }.boxed()
    }

    fn put<'a>(&'a self, _key: &'a str, _value: Bytes) -> Answer<'a, ()> {
        std::future::ready(Err(fault("plain HTTP is read only".to_owned(), None))).boxed()
    }

    fn delete<'a>(&'a self, _key: &'a str) -> Answer<'a, ()> {
        std::future::ready(Err(fault("plain HTTP is read only".to_owned(), None))).boxed()
    }

    fn location(&self, key: &str) -> String {
        without_secrets(&format!("{}/{key}", self.base))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &'static str) -> Option<ContentRange> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_RANGE, reqwest::header::HeaderValue::from_static(text));
        content_range(&headers)
    }

    #[test]
    fn answers_are_held_against_what_was_asked() {
        let given = parsed("bytes 10-19/100").unwrap();
        assert_eq!(given, ContentRange { range: 10..20, total: Some(100) });
        assert!(given.answers(&ByteRange::Bounded(10..20), 10));
        assert!(!given.answers(&ByteRange::Bounded(10..20), 9), "a short body");
        assert!(!given.answers(&ByteRange::Bounded(10..30), 10), "not to the end");
        assert!(!given.answers(&ByteRange::Bounded(0..20), 10), "another place");
        assert!(parsed("bytes 90-99/100").unwrap().answers(&ByteRange::Bounded(90..120), 10));
        assert!(parsed("bytes 90-99/100").unwrap().answers(&ByteRange::Suffix(10), 10));
        assert!(!parsed("bytes 80-89/100").unwrap().answers(&ByteRange::Suffix(10), 10));
        assert!(parsed("bytes 0-4/5").unwrap().answers(&ByteRange::Suffix(10), 5));
        assert!(!parsed("bytes 0-4/*").unwrap().answers(&ByteRange::Suffix(5), 5));
        for nonsense in ["bytes */100", "items 0-9/100", "bytes 9-/4", "bytes 0-18446744073709551615/*"] {
            assert_eq!(parsed(nonsense), None, "{nonsense}");
        }
    }
}
