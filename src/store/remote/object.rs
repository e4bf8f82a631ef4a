//! Stores of the `object_store` crate: S3, Google Cloud Storage, Azure, HTTP.

use std::error::Error as _;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt, TryStreamExt};
use object_store::path::Path;
use object_store::{GetOptions, GetRange, GetResult, ObjectMeta, ObjectStore, ObjectStoreExt};

use super::{Answer, Fetched, Lacking, RemoteFault, RemoteStore, Version, pause_after, without_secrets};
use crate::store::ByteRange;

/// A store of that crate, with its own retries, credentials and connections.
#[derive(Debug)]
pub struct ObjectRemote {
    store: Arc<dyn ObjectStore>,
    /// Further attempts at an answer that broke off.
    retries: usize,
    /// Ranges: the server answers with whole values whatever part is asked for.
    ignores_ranges: Lacking,
    /// Ranges that count from the end.
    lacks_suffixes: Lacking,
}

impl ObjectRemote {
    /// Speaks to `store`, and makes a request so often again whose answer broke off.
    #[must_use]
    pub fn new(store: Arc<dyn ObjectStore>, retries: usize) -> Self {
        Self { store, retries, ignores_ranges: Lacking::default(), lacks_suffixes: Lacking::default() }
    }

    async fn part(&self, path: &Path, range: Option<GetRange>, limit_bytes: u64) -> Result<Fetched, Failed> {
        let mut attempt = 1;
        loop {
            let options = GetOptions { range: range.clone(), ..GetOptions::default() };
            let answer = self.store.get_opts(path, options).await?;
            if answer.range.end.saturating_sub(answer.range.start) > limit_bytes {
                return Err(Failed::TooLong);
            }
            let value_len = Some(answer.meta.size);
            let version = version_of(&answer.meta);
            // The crate tries again until an answer begins; one that breaks off it often leaves to us.
            match body_of(answer).await {
                Ok(bytes) => return Ok(Fetched { bytes, value_len, version }),
                Err(error) if attempt > self.retries => return Err(Failed::BrokenOff(error, attempt)),
                Err(_) => tokio::time::sleep(pause_after(attempt)).await,
            }
            attempt += 1;
        }
    }

    async fn suffix(&self, path: &Path, count: u64, limit_bytes: u64) -> Result<Fetched, Failed> {
        let is_tried = !self.lacks_suffixes.is_likely();
        if is_tried {
            match self.part(path, Some(GetRange::Suffix(count)), limit_bytes).await {
                Err(Failed::Store(error)) if lacks_suffixes(&error) => {}
                answer => return answer,
            }
        }
        let meta = self.store.head(path).await?;
        let len = meta.size;
        if is_tried {
            self.lacks_suffixes.note();
        }
        if len == 0 {
            return Ok(Fetched::part_of(&Bytes::new(), &ByteRange::Whole, version_of(&meta)));
        }
        self.part(path, Some(GetRange::Bounded(len.saturating_sub(count)..len)), limit_bytes).await
    }

    async fn fetch(&self, path: &Path, range: &ByteRange, limit_bytes: u64) -> Result<Fetched, Failed> {
        if !self.ignores_ranges.is_likely() {
            let answer = match range {
                ByteRange::Whole => return self.part(path, None, limit_bytes).await,
                ByteRange::Bounded(range) => {
                    self.part(path, Some(GetRange::Bounded(range.clone())), limit_bytes).await
                }
                ByteRange::Suffix(count) => self.suffix(path, *count, limit_bytes).await,
            };
            match answer {
                Err(Failed::Store(error)) if is_not_partial(&error) => {
                    self.ignores_ranges.note();
                }
                answer => return answer,
            }
        }
        let whole = self.part(path, None, limit_bytes).await?;
        Ok(Fetched::part_of(&whole.bytes, range, whole.version))
    }
}

/// The body of an answer, if it is as long as the answer says: a server may announce one part and send another.
async fn body_of(answer: GetResult) -> object_store::Result<Bytes> {
    let announced =
        usize::try_from(answer.range.end.saturating_sub(answer.range.start)).unwrap_or(usize::MAX);
    let mut pieces = answer.into_stream();
    // Mostly the only one, and then not copied.
    let first = pieces.try_next().await?.unwrap_or_default();
    let mut body = BytesMut::new();
    let mut len = first.len();
    while len <= announced
        && let Some(piece) = pieces.try_next().await?
    {
        if body.is_empty() {
            body.reserve(announced);
            body.extend_from_slice(&first);
        }
        len += piece.len();
        body.extend_from_slice(&piece);
    }
    if len == announced {
        return Ok(if body.is_empty() { first } else { body.freeze() });
    }
    let text = format!("the answer is of {len} bytes or more, and says that it is of {announced}");
    Err(object_store::Error::Generic { store: "remote", source: text.into() })
}

fn version_of(meta: &ObjectMeta) -> Version {
    let tag = meta.e_tag.clone().or_else(|| meta.version.clone());
    Version { tag, modified: Some(meta.last_modified.to_rfc3339()) }
}

/// Why a value did not arrive.
enum Failed {
    Store(object_store::Error),
    /// After so many attempts.
    BrokenOff(object_store::Error, usize),
    TooLong,
}

impl From<object_store::Error> for Failed {
    fn from(error: object_store::Error) -> Self {
        Self::Store(error)
    }
}

/// Whether there is no such value. That there is no such bucket or container is something else, though the
/// status is the same: every value would seem to be missing.
fn is_missing(error: &object_store::Error) -> bool {
    let object_store::Error::NotFound { source, .. } = error else { return false };
    let text = source.to_string();
    !["<Code>NoSuchBucket</Code>", "<Code>ContainerNotFound</Code>"].iter().any(|code| text.contains(code))
}

/// Whether a server may not know ranges that count from the end.
fn lacks_suffixes(error: &object_store::Error) -> bool {
    matches!(error, object_store::Error::NotSupported { .. })
        || matches!(fault_of(error).status, Some(400 | 416 | 501))
}

/// Whether the server answered with a whole value where a part was asked for. The crate has one name for it over plain
/// HTTP, and none elsewhere.
fn is_not_partial(error: &object_store::Error) -> bool {
    if matches!(error, object_store::Error::NotSupported { .. }) {
        return true;
    }
    error.source().is_some_and(|source| source.to_string().contains("non-partial response"))
}

/// The fault without what must stay secret: servers put keys and signatures into the bodies of their answers.
fn fault_of(error: &object_store::Error) -> RemoteFault {
    let text = error.source().map_or_else(|| error.to_string(), ToString::to_string);
    let after = |marker: &str| {
        let rest = text.split_once(marker)?.1.trim_start();
        rest.split(|character: char| !character.is_ascii_digit()).next()?.parse::<usize>().ok()
    };
    let refused = refused_delete(&text);
    let status = match error {
        object_store::Error::PermissionDenied { .. } => Some(403),
        object_store::Error::Unauthenticated { .. } => Some(401),
        _ if refused.is_some() => refused.and_then(|(_, status)| status),
        _ => after("status code: ").and_then(|status| u16::try_from(status).ok()),
    };
    let attempt = after(", after ").map_or(1, |retries| retries + 1);
    let message = match (refused, status) {
        (Some((code, _)), _) => format!("the server answered {code}"),
        (None, Some(status)) => format!("the server answered {status}"),
        (None, None) => without_secrets(text.split_once(" - ").map_or(text.as_str(), |(_, what)| what)),
    };
    RemoteFault { message, status, attempt }
}

/// What S3 says of one key of a request to delete many, which as a whole is answered with 200: its code for an
/// error, and the status that it has elsewhere (Amazon S3 API Reference, "Error responses").
fn refused_delete(text: &str) -> Option<(&str, Option<u16>)> {
    let code = if let Some(said) = text.strip_prefix("DeleteObjects request failed for key ") {
        // The words before it are the server's.
        said.rsplit_once("(code: ")?.1.strip_suffix(')')?
    } else if let Some((_, body)) = text.split_once("Server returned error response: ") {
        // What the crate tried again, as it may pass.
        body.split_once("<Code>")
            .and_then(|(_, rest)| rest.split_once("</Code>"))
            .map_or("", |(code, _)| code)
    } else if text.starts_with("Got invalid DeleteObjects response") {
        return Some((UNCLEAR, None));
    } else {
        return None;
    };
    let status = match code {
        "BadDigest" | "InvalidRequest" | "MalformedXML" | "RequestTimeout" => 400,
        "AccessDenied"
        | "AllAccessDisabled"
        | "ExpiredToken"
        | "InvalidAccessKeyId"
        | "SignatureDoesNotMatch" => 403,
        "NoSuchBucket" | NO_SUCH_KEY | "NoSuchVersion" => 404,
        "MethodNotAllowed" => 405,
        "OperationAborted" => 409,
        "InternalError" => 500,
        "ServiceUnavailable" | "SlowDown" => 503,
        // Codes are of letters, and short; keys and signatures are not.
        _ if !code.is_empty() && code.len() <= 40 && code.bytes().all(|byte| byte.is_ascii_alphabetic()) => {
            return Some((code, None));
        }
        _ => return Some((UNCLEAR, None)),
    };
    Some((code, Some(status)))
}

const NO_SUCH_KEY: &str = "NoSuchKey";
const UNCLEAR: &str = "with an error that is none of S3's";

/// Whether there was nothing to delete.
fn is_gone(error: &object_store::Error) -> bool {
    let text = error.source().map(ToString::to_string).unwrap_or_default();
    matches!(error, object_store::Error::NotFound { .. })
        || matches!(refused_delete(&text), Some((NO_SUCH_KEY, _)))
}

fn path_of(key: &str) -> Result<Path, RemoteFault> {
    Path::parse(key).map_err(|error| RemoteFault { message: error.to_string(), status: None, attempt: 0 })
}

impl RemoteStore for ObjectRemote {
    fn get<'a>(&'a self, key: &'a str, range: ByteRange, limit_bytes: u64) -> Answer<'a, Option<Fetched>> {
        async move {
            match self.fetch(&path_of(key)?, &range, limit_bytes).await {
                Ok(fetched) => Ok(Some(fetched)),
                Err(Failed::Store(error)) if is_missing(&error) => Ok(None),
                Err(Failed::Store(error)) => Err(fault_of(&error)),
                Err(Failed::BrokenOff(error, attempt)) => Err(RemoteFault { attempt, ..fault_of(&error) }),
                Err(Failed::TooLong) => Err(RemoteFault::too_long(limit_bytes)),
            }
        }
        .boxed()
    }

    fn put<'a>(&'a self, key: &'a str, value: Bytes) -> Answer<'a, ()> {
        async move {
            let path = path_of(key)?;
            self.store.put(&path, value.into()).await.map(|_| ()).map_err(|error| fault_of(&error))
        }
        .boxed()
    }

    fn delete<'a>(&'a self, key: &'a str) -> Answer<'a, ()> {
        async move {
            let path = path_of(key)?;
            // The crate panics where S3 answers for a key that it was not asked to delete.
            match AssertUnwindSafe(self.store.delete(&path)).catch_unwind().await {
                Ok(Err(error)) if !is_gone(&error) => Err(fault_of(&error)),
                Ok(_) => Ok(()),
                Err(_) => Err(RemoteFault {
                    message: format!("the server answered {UNCLEAR}"),
                    status: None,
                    attempt: 1,
                }),
            }
        }
        .boxed()
    }

    fn location(&self, key: &str) -> String {
        format!("{key:?} in {}", without_secrets(&self.store.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generic(text: &str) -> object_store::Error {
        object_store::Error::Generic { store: "S3", source: text.to_owned().into() }
    }

    #[test]
    fn keys_that_are_not_deleted_have_a_status() {
        let refused = |code: &str| {
            let text = format!(
                "DeleteObjects request failed for key a/c/3: not (code: X) with s3cret (code: {code})"
            );
            fault_of(&generic(&text))
        };
        for (code, status) in [("AccessDenied", 403), ("InternalError", 500), ("SlowDown", 503)] {
            let fault = refused(code);
            assert_eq!((fault.message, fault.status), (format!("the server answered {code}"), Some(status)));
        }
        assert_eq!(refused("SomethingNew").status, None);
        for odd in ["", "a b", "<s3cret>", "AKIAIOSFODNN7EXAMPLE"] {
            let fault = refused(odd);
            assert_eq!(
                (fault.message, fault.status),
                (format!("the server answered {UNCLEAR}"), None),
                "{odd}"
            );
        }
        let fault = fault_of(&generic("Got invalid DeleteObjects response: unknown variant `s3cret`"));
        assert_eq!(fault.message, format!("the server answered {UNCLEAR}"));
        let gone = "DeleteObjects request failed for key a: b (code: NoSuchKey)";
        assert!(is_gone(&generic(gone)) && !is_gone(&generic(&gone.replace("Key)", "Bucket)"))));
    }

    #[test]
    fn answers_are_not_repeated() {
        let fault = fault_of(&generic(
            "Error performing GET http://h/a?sig=s3cret in 2ms, after 3 retries - Server returned non-2xx status code: 503 Slow: s3cret",
        ));
        assert_eq!(
            (fault.message.as_str(), fault.status, fault.attempt),
            ("the server answered 503", Some(503), 4)
        );
        let fault = fault_of(&generic(
            "Error performing POST http://h/ in 2ms, after 3 retries, max_retries: 3  - Server returned error response: <Code>SlowDown</Code>s3cret InternalError",
        ));
        assert_eq!(
            (fault.message.as_str(), fault.status, fault.attempt),
            ("the server answered SlowDown", Some(503), 4)
        );
    }
}
