//! The HTTP client under the stores of `object_store`, which takes nothing secret to another host.
//!
//! The crate's own follows redirects inside reqwest, which holds back `Authorization` and cookies and lets every
//! other header go along: the session token of S3, headers of the user's, and, as the referring address, the
//! signature in the query of Azure's. Here redirects are followed one by one.

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
};
use object_store::{ClientConfigKey as Key, ClientOptions, HeaderMap, HeaderValue};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{ACCEPT, ACCEPT_ENCODING, HeaderName, IF_MATCH, IF_UNMODIFIED_SINCE, LOCATION, RANGE};
use reqwest::{Certificate, Client, Method, NoProxy, Proxy, StatusCode, Url, redirect};

/// As many as reqwest follows, and a browser of old.
const MOST_REDIRECTS: usize = 10;

const OUR_NAME: &str = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));

/// What a request says to whatever host it is sent to; all else is for the first one.
const FOR_EVERY_HOST: [HeaderName; 5] = [ACCEPT, ACCEPT_ENCODING, IF_MATCH, IF_UNMODIFIED_SINCE, RANGE];

/// Makes clients with the options of a store.
#[derive(Debug)]
pub struct Connector {
    /// What the options trust beside the system's certificates: they do not show it.
    certificates: Vec<Certificate>,
    /// They show it in ASCII only.
    agent: Option<HeaderValue>,
}

impl Connector {
    /// Trusts the certificates of a bundle (PEM) too, and calls itself `agent`.
    ///
    /// # Errors
    /// It is no such bundle, or no such name.
    pub fn new(certificates_pem: Option<&[u8]>, agent: Option<&str>) -> object_store::Result<Self> {
        let agent = agent.map(HeaderValue::from_str).transpose();
        let agent = agent.map_err(|error| unusable(Key::UserAgent.as_ref(), error))?;
        let certificates = match certificates_pem {
            Some(pem) => {
                Certificate::from_pem_bundle(pem).map_err(|error| unusable("root_certificate", error))?
            }
            None => Vec::new(),
        };
        Ok(Self { certificates, agent })
    }

    /// A client as the crate would make it, but for redirects and headers.
    fn client(&self, options: &Options<'_>) -> object_store::Result<Client> {
        let agent = self.agent.clone().or(options.parsed(Key::UserAgent, |text| text.parse().ok())?);
        let mut builder = Client::builder()
            .redirect(redirect::Policy::none())
            .user_agent(agent.unwrap_or(HeaderValue::from_static(OUR_NAME)))
            .https_only(!options.is_set(Key::AllowHttp)?)
            .danger_accept_invalid_certs(options.is_set(Key::AllowInvalidCertificates)?)
            // Lengths and ranges are of what is stored.
            .no_gzip()
            .no_brotli()
            .no_zstd()
            .no_deflate();
        if let Some(proxy) = options.proxy()? {
            if let Some(pem) = options.text(Key::ProxyCaCertificate) {
                let certificate = Certificate::from_pem(pem.as_bytes());
                builder = builder
                    .tls_certs_merge([certificate.map_err(|error| unusable("proxy_ca_certificate", error))?]);
            }
            builder = builder.proxy(proxy);
        }
        let certificates = self.certificates.iter().cloned();
        builder = if options.is_set(Key::NoSystemCertificates)? {
            builder.tls_certs_only(certificates)
        } else {
            builder.tls_certs_merge(certificates)
        };
        if let Some(timeout) = options.duration(Key::Timeout)? {
            builder = builder.timeout(timeout);
        }
        if let Some(timeout) = options.duration(Key::ConnectTimeout)? {
            builder = builder.connect_timeout(timeout);
        }
        if let Some(timeout) = options.duration(Key::ReadTimeout)? {
            builder = builder.read_timeout(timeout);
        }
        if let Some(timeout) = options.duration(Key::PoolIdleTimeout)? {
            builder = builder.pool_idle_timeout(timeout);
        }
        if let Some(most) = options.number(Key::PoolMaxIdlePerHost)? {
            builder = builder.pool_max_idle_per_host(most);
        }
        if let Some(interval) = options.duration(Key::Http2KeepAliveInterval)? {
            builder = builder.http2_keep_alive_interval(interval);
        }
        if let Some(timeout) = options.duration(Key::Http2KeepAliveTimeout)? {
            builder = builder.http2_keep_alive_timeout(timeout);
        }
        if options.is_set(Key::Http2KeepAliveWhileIdle)? {
            builder = builder.http2_keep_alive_while_idle(true);
        }
        if let Some(bytes) = options.number::<u32>(Key::Http2MaxFrameSize)? {
            builder = builder.http2_max_frame_size(bytes);
        }
        if options.is_set(Key::Http1Only)? {
            builder = builder.http1_only();
        }
        if options.is_set(Key::Http2Only)? {
            builder = builder.http2_prior_knowledge();
        }
        if options.is_set(Key::RandomizeAddresses)? {
            builder = builder.dns_resolver(Arc::new(Shuffled));
        }
        builder.build().map_err(|error| unusable("the options", error.without_url()))
    }
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let options = Options(options);
        let client = self.client(&options)?;
        let headers = options.0.get_default_headers().cloned().unwrap_or_default();
        let timeout = options.duration(Key::Timeout)?;
        Ok(HttpClient::new(Careful { client: HttpClient::new(client), headers, timeout }))
    }
}

fn unusable(what: &str, error: impl fmt::Display) -> object_store::Error {
    object_store::Error::Generic { store: "HTTP client", source: format!("{what}: {error}").into() }
}

/// Options as they can be asked for: as texts.
struct Options<'a>(&'a ClientOptions);

impl Options<'_> {
    fn text(&self, key: Key) -> Option<String> {
        self.0.get_config_value(&key)
    }

    fn parsed<T>(&self, key: Key, parse: impl Fn(&str) -> Option<T>) -> object_store::Result<Option<T>> {
        let Some(text) = self.text(key) else { return Ok(None) };
        // Without the text: it is the user's, and may be in the wrong place.
        parse(&text).map(Some).ok_or_else(|| unusable(key.as_ref(), "not a value of this option"))
    }

    fn number<T: FromStr>(&self, key: Key) -> object_store::Result<Option<T>> {
        self.parsed(key, |text| text.parse().ok())
    }

    fn duration(&self, key: Key) -> object_store::Result<Option<Duration>> {
        self.parsed(key, |text| humantime::parse_duration(text).ok())
    }

    fn is_set(&self, key: Key) -> object_store::Result<bool> {
        let is_true = |text: &str| match text.to_ascii_lowercase().as_str() {
            "1" | "true" | "on" | "yes" | "y" => Some(true),
            "0" | "false" | "off" | "no" | "n" => Some(false),
            _ => None,
        };
        Ok(self.parsed(key, is_true)?.unwrap_or(false))
    }

    fn proxy(&self) -> object_store::Result<Option<Proxy>> {
        let Some(url) = self.text(Key::ProxyUrl) else { return Ok(None) };
        let proxy = Proxy::all(url).map_err(|error| unusable("proxy_url", error.without_url()))?;
        Ok(Some(match self.text(Key::ProxyExcludes) {
            Some(excludes) => proxy.no_proxy(NoProxy::from_string(&excludes)),
            None => proxy,
        }))
    }
}

/// Spreads connections over the addresses that a name has.
struct Shuffled;

impl Resolve for Shuffled {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let name = name.as_str().to_owned();
            let found = tokio::net::lookup_host((name, 0)).await?;
            let mut addresses = found.collect::<Vec<_>>();
            let order = RandomState::new();
            addresses.sort_by_cached_key(|address| order.hash_one(address));
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

/// Follows redirects, and leaves behind what is not for the next host.
struct Careful {
    /// Follows none.
    client: HttpClient,
    /// The user's, for each request.
    headers: HeaderMap,
    /// For all that a request leads to, until the head of the last answer.
    timeout: Option<Duration>,
}

impl fmt::Debug for Careful {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Careful").finish_non_exhaustive()
    }
}

impl Careful {
    async fn follow(&self, mut request: HttpRequest) -> Result<HttpResponse, HttpError> {
        for _ in 0..=MOST_REDIRECTS {
            let answer = self.client.execute(copy_of(&request)).await?;
            let Some(next) = target_of(&request, &answer)? else { return Ok(answer) };
            if address_of(&request)?.origin() != next.origin() {
                self.forget_secrets(request.headers_mut());
            }
            *request.uri_mut() = next.as_str().parse().map_err(broken)?;
        }
        Err(broken(TooMany))
    }

    fn forget_secrets(&self, headers: &mut HeaderMap) {
        for name in headers.keys().cloned().collect::<Vec<_>>() {
            let is_users = self.headers.contains_key(&name) && name != RANGE;
            if is_users || !FOR_EVERY_HOST.contains(&name) {
                headers.remove(&name);
            }
        }
    }
}

#[async_trait]
impl HttpService for Careful {
    async fn call(&self, mut request: HttpRequest) -> Result<HttpResponse, HttpError> {
        for (name, value) in &self.headers {
            if !request.headers().contains_key(name) {
                request.headers_mut().insert(name, value.clone());
            }
        }
        // What a write says is for nobody else: the caller sees where it was sent to.
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return self.client.execute(request).await;
        }
        let answer = self.follow(request);
        match self.timeout {
            Some(timeout) => match tokio::time::timeout(timeout, answer).await {
                Ok(answer) => answer,
                Err(error) => Err(HttpError::new(HttpErrorKind::Timeout, error)),
            },
            None => answer.await,
        }
    }
}

fn copy_of(request: &HttpRequest) -> HttpRequest {
    let mut copy = HttpRequest::new(request.body().clone());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    copy
}

fn address_of(request: &HttpRequest) -> Result<Url, HttpError> {
    Url::parse(&request.uri().to_string()).map_err(broken)
}

/// Where an answer sends the request, if it does.
fn target_of(request: &HttpRequest, answer: &HttpResponse) -> Result<Option<Url>, HttpError> {
    let is_redirect = matches!(
        answer.status(),
        StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT
    );
    let location =
        answer.headers().get(LOCATION).and_then(|location| str::from_utf8(location.as_bytes()).ok());
    let (true, Some(location)) = (is_redirect, location) else { return Ok(None) };
    let mut next = address_of(request)?.join(location).map_err(broken)?;
    next.set_fragment(None);
    // Of the answer's making, and no more to be shown than the user's own.
    if !matches!(next.scheme(), "http" | "https")
        || next.set_username("").is_err()
        || next.set_password(None).is_err()
    {
        return Err(broken(NoAddress));
    }
    Ok(Some(next))
}

/// Not to be tried again.
fn broken(error: impl std::error::Error + Send + Sync + 'static) -> HttpError {
    HttpError::new(HttpErrorKind::Unknown, error)
}

#[derive(Debug, thiserror::Error)]
#[error("redirected more than {MOST_REDIRECTS} times")]
struct TooMany;

#[derive(Debug, thiserror::Error)]
#[error("redirected to something that is not an HTTP address")]
struct NoAddress;

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
