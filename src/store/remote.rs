//! Stores that answer requests for values or parts of them, later: on the network.

pub mod client;
pub mod http;
pub mod object;

use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::ByteRange;

/// Why a request failed. Says nothing that must stay secret: no query of a URL, no answer's body.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct RemoteFault {
    /// What happened.
    pub message: String,
    /// What the server answered, where it did.
    pub status: Option<u16>,
    /// How often the request was made.
    pub attempt: usize,
}

impl RemoteFault {
    /// An answer longer than any sound one.
    #[must_use]
    pub fn too_long(limit_bytes: u64) -> Self {
        let message = format!("the value is longer than the {limit_bytes} bytes that are possible");
        Self { message, status: None, attempt: 1 }
    }
}

/// A value or a part of it.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// What was asked for.
    pub bytes: Bytes,
    /// Length of the whole value, where the server says.
    pub value_len: Option<u64>,
    /// Which version of the value.
    pub version: Version,
}

impl Fetched {
    /// What `range` asks for of a whole value.
    #[must_use]
    pub fn part_of(whole: &Bytes, range: &ByteRange, version: Version) -> Self {
        Self { bytes: part_of(whole, range), value_len: Some(whole.len() as u64), version }
    }

    /// Whether both may be parts of one version of a value, as far as the server tells.
    #[must_use]
    pub fn may_be_with(&self, other: &Self) -> bool {
        let has_other_len = self.value_len.zip(other.value_len).is_some_and(|(one, other)| one != other);
        !has_other_len && self.version.may_be(&other.version)
    }
}

/// What a server calls one version of a value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Version {
    /// Its entity tag, or the version's own name.
    pub tag: Option<String>,
    /// When it was written, in the server's words.
    pub modified: Option<String>,
}

impl Version {
    /// Whether both may be the same. Only tags decide where both have one: times count whole seconds.
    fn may_be(&self, other: &Self) -> bool {
        match (&self.tag, &other.tag) {
            (Some(one), Some(other)) => one == other,
            _ => self.modified.is_none() || other.modified.is_none() || self.modified == other.modified,
        }
    }
}

const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Whatever a server asks for.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// How long to wait after so many attempts that failed.
fn pause_after(attempts: usize) -> Duration {
    let doublings = u32::try_from(attempts.saturating_sub(1)).unwrap_or(u32::MAX).min(10);
    (FIRST_PAUSE * 2_u32.pow(doublings)).min(LONGEST_PAUSE)
}

/// What a server seemed not to know when it was last tried. That saves requests, but not for ever: a single odd
/// answer, from a proxy say, proves little.
#[derive(Debug, Default)]
struct Lacking(AtomicU32);

impl Lacking {
    /// Requests between two attempts.
    const REQUESTS: u32 = 64;

    /// Whether to do without, this time.
    fn is_likely(&self) -> bool {
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }

    fn note(&self) {
        self.0.store(Self::REQUESTS, Ordering::Relaxed);
    }
}

/// The answer to a request, some time.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, RemoteFault>>;

/// A store on the network. One value replaces another as a whole.
pub trait RemoteStore: std::fmt::Debug + Send + Sync {
    /// The value under `key` or a part of it; `None` where there is no value. A range may end past the end of the
    /// value: then the answer is shorter. Answers of more than `limit_bytes` are refused.
    fn get<'a>(&'a self, key: &'a str, range: ByteRange, limit_bytes: u64) -> Answer<'a, Option<Fetched>>;

    /// Stores a value.
    fn put<'a>(&'a self, key: &'a str, value: Bytes) -> Answer<'a, ()>;

    /// Removes a value; one that is not there counts as removed.
    fn delete<'a>(&'a self, key: &'a str) -> Answer<'a, ()>;

    /// The store and the key as people write them, without secrets.
    fn location(&self, key: &str) -> String;
}

/// The part of a whole value that `range` asks for.
fn part_of(whole: &Bytes, range: &ByteRange) -> Bytes {
    let len = whole.len();
    let clamp = |position: u64| usize::try_from(position).unwrap_or(usize::MAX).min(len);
    match range {
        ByteRange::Whole => whole.clone(),
        ByteRange::Bounded(Range { start, end }) => {
            whole.slice(clamp(*start)..clamp(*end).max(clamp(*start)))
        }
        ByteRange::Suffix(count) => whole.slice(len - clamp(*count)..),
    }
}

/// A text of others with everything taken out of its URLs that may be secret.
#[must_use]
pub fn without_secrets(text: &str) -> String {
    text.split_inclusive(char::is_whitespace).map(redacted).collect()
}

fn redacted(word: &str) -> String {
    let Some((scheme, rest)) = word.split_once("://") else { return word.to_owned() };
    let end = rest.find(['?', '#']).unwrap_or(rest.trim_end().len());
    let (address, _query) = rest.split_at(end);
    let host_end = address.find('/').unwrap_or(address.len());
    let host = address[..host_end].rsplit('@').next().unwrap_or_default();
    let space = if word.ends_with(char::is_whitespace) { " " } else { "" };
    format!("{scheme}://{host}{}{space}", &address[host_end..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_whole_values() {
        let whole = Bytes::from_static(b"0123456789");
        assert_eq!(part_of(&whole, &ByteRange::Whole), whole);
        assert_eq!(part_of(&whole, &ByteRange::Bounded(2..4)), "23");
        assert_eq!(part_of(&whole, &ByteRange::Bounded(8..40)), "89");
        assert_eq!(part_of(&whole, &ByteRange::Bounded(30..40)), "");
        assert_eq!(part_of(&whole, &ByteRange::Suffix(3)), "789");
        assert_eq!(part_of(&whole, &ByteRange::Suffix(30)), whole);
    }

    #[test]
    fn parts_of_two_versions_are_told_apart() {
        let part = |tag: Option<&str>, modified: Option<&str>, value_len| Fetched {
            bytes: Bytes::new(),
            value_len,
            version: Version { tag: tag.map(str::to_owned), modified: modified.map(str::to_owned) },
        };
        let first = part(Some("a"), Some("Monday"), Some(7));
        assert!(first.may_be_with(&part(Some("a"), Some("Tuesday"), None)));
        assert!(!first.may_be_with(&part(Some("b"), Some("Monday"), Some(7))));
        assert!(!first.may_be_with(&part(None, Some("Tuesday"), Some(7))));
        assert!(!first.may_be_with(&part(Some("a"), Some("Monday"), Some(8))), "another length");
        assert!(first.may_be_with(&part(None, None, None)), "a server that tells nothing");
    }

    #[test]
    fn servers_get_another_chance() {
        let lacking = Lacking::default();
        assert!(!lacking.is_likely(), "nothing is known yet");
        lacking.note();
        assert!((0..Lacking::REQUESTS).all(|_| lacking.is_likely()));
        assert!(!lacking.is_likely(), "time to try again");
    }

    #[test]
    fn secrets_in_urls_are_taken_out() {
        let text = "GET https://user:word@host.org/a/b?sig=abc in 3 ms: http://host/x#y";
        assert_eq!(without_secrets(text), "GET https://host.org/a/b in 3 ms: http://host/x");
        assert_eq!(without_secrets("nothing here"), "nothing here");
    }
}
