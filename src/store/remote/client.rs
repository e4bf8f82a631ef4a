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
use object_store::{ClientConfigKey as Key, ClientOptions, HeaderMap};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{ACCEPT, ACCEPT_ENCODING, HeaderName, IF_MATCH, IF_UNMODIFIED_SINCE, LOCATION, RANGE};
use reqwest::{Certificate, Client, Method, NoProxy, Proxy, StatusCode, Url, redirect};

/// As many as reqwest follows, and a browser of old.
const MOST_REDIRECTS: usize = 10;

/// What a request says to whatever host it is sent to; all else is for the first one.
const FOR_EVERY_HOST: [HeaderName; 5] = [ACCEPT, ACCEPT_ENCODING, IF_MATCH, IF_UNMODIFIED_SINCE, RANGE];

/// Makes clients with the options of a store.
#[derive(Debug)]
pub struct Connector {
    /// What the options trust beside the system's certificates: they do not show it.
    certificates: Vec<Certificate>,
}

impl Connector {
    /// Trusts the certificates of a bundle (PEM) too.
    ///
    /// # Errors
    /// It is no such bundle.
    pub fn new(certificates_pem: Option<&[u8]>) -> object_store::Result<Self> {
        let certificates = match certificates_pem {
            Some(pem) => {
                Certificate::from_pem_bundle(pem).map_err(|error| unusable("root_certificate", error))?
            }
            None => Vec::new(),
        };
        Ok(Self { certificates })
    }
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let client = client(&Options(options), &self.certificates)?;
        let headers = options.get_default_headers().cloned().unwrap_or_default();
        Ok(HttpClient::new(Careful { client: HttpClient::new(client), headers }))
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

/// A client as the crate would make it, but for redirects and headers.
fn client(options: &Options<'_>, certificates: &[Certificate]) -> object_store::Result<Client> {
    let agent = options.text(Key::UserAgent);
    let mut builder = Client::builder()
        .redirect(redirect::Policy::none())
        .user_agent(agent.as_deref().unwrap_or(concat!(
            env!("CARGO_PKG_NAME"),
            "/",
            env!("CARGO_PKG_VERSION")
        )))
        .https_only(!options.is_set(Key::AllowHttp)?)
        .danger_accept_invalid_certs(options.is_set(Key::AllowInvalidCertificates)?);
    if let Some(proxy) = options.proxy()? {
        if let Some(pem) = options.text(Key::ProxyCaCertificate) {
            let certificate = Certificate::from_pem(pem.as_bytes());
            builder = builder
                .tls_certs_merge([certificate.map_err(|error| unusable("proxy_ca_certificate", error))?]);
        }
        builder = builder.proxy(proxy);
    }
    let certificates = certificates.iter().cloned();
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
#[derive(Debug)]
struct Careful {
    /// Follows none.
    client: HttpClient,
    /// The user's, for each request.
    headers: HeaderMap,
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
        for _ in 0..=MOST_REDIRECTS {
            let sent = copy_of(&request);
            let answer = self.client.execute(sent).await?;
            let Some(next) = target_of(&request, &answer)? else { return Ok(answer) };
            if address_of(&request)?.origin() != next.origin() {
                let headers = std::mem::take(request.headers_mut());
                let kept = headers.into_iter().filter_map(|(name, value)| Some((name?, value)));
                request.headers_mut().extend(kept.filter(|(name, _)| FOR_EVERY_HOST.contains(name)));
            }
            *request.uri_mut() = next.as_str().parse().map_err(broken)?;
        }
        Err(broken(TooMany))
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
    let location = answer.headers().get(LOCATION).and_then(|location| location.to_str().ok());
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
mod tests {
    use std::sync::Mutex;

    use object_store::HeaderValue;
    use object_store::client::HttpResponseBody;
    use reqwest::header::{AUTHORIZATION, REFERER};

    use super::*;

    /// Answers each request with the next of its redirects, and then with 200.
    #[derive(Debug)]
    struct Redirecting {
        targets: Vec<(u16, &'static str)>,
        seen: Arc<Mutex<Vec<HttpRequest>>>,
    }

    #[async_trait]
    impl HttpService for Redirecting {
        async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
            let mut seen = self.seen.lock().unwrap();
            let mut answer = HttpResponse::new(HttpResponseBody::from(String::new()));
            if let Some((status, target)) = self.targets.get(seen.len()) {
                *answer.status_mut() = StatusCode::from_u16(*status).unwrap();
                answer.headers_mut().insert(LOCATION, HeaderValue::from_static(target));
            }
            seen.push(request);
            Ok(answer)
        }
    }

    /// Sends a request with secrets; what came of it, and the requests that the server saw.
    fn send(
        method: Method,
        targets: &[(u16, &'static str)],
    ) -> (Result<HttpResponse, HttpError>, Vec<HttpRequest>) {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let server = Redirecting { targets: targets.to_vec(), seen: Arc::clone(&seen) };
        let headers =
            HeaderMap::from_iter([(HeaderName::from_static("x-user"), HeaderValue::from_static("s3cret"))]);
        let careful = Careful { client: HttpClient::new(server), headers };
        let mut request = HttpRequest::new(bytes::Bytes::from_static(b"body").into());
        *request.method_mut() = method;
        *request.uri_mut() = "https://first.org/a/b?sig=s3cret".parse().unwrap();
        for (name, value) in
            [("range", "bytes=0-9"), ("authorization", "s3cret"), ("x-amz-security-token", "s3cret")]
        {
            request.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let answer = runtime.block_on(careful.call(request));
        let seen = std::mem::take(&mut *seen.lock().unwrap());
        (answer, seen)
    }

    fn is_told(request: &HttpRequest) -> bool {
        let is_told = request.headers().contains_key(AUTHORIZATION);
        for name in ["x-amz-security-token", "x-user"] {
            assert_eq!(request.headers().contains_key(name), is_told, "{name}");
        }
        assert!(!request.headers().contains_key(REFERER));
        assert_eq!(request.headers()[RANGE], "bytes=0-9");
        is_told
    }

    #[test]
    fn the_same_host_is_told_everything() {
        for (status, target) in [
            (301, "/c"),
            (302, "d#e"),
            (303, "https://first.org/x"),
            (307, "https://first.org:443/x"),
            (308, "?y"),
        ] {
            let (answer, seen) = send(Method::GET, &[(status, target)]);
            assert_eq!(answer.unwrap().status(), 200);
            assert_eq!(seen.iter().map(is_told).collect::<Vec<_>>(), [true, true], "{target}");
            assert_ne!(seen[0].uri(), seen[1].uri());
        }
        let (_, seen) = send(Method::GET, &[(302, "d#e")]);
        assert_eq!(seen[1].uri(), "https://first.org/a/d");
    }

    #[test]
    fn another_host_gets_no_secret() {
        for target in
            ["https://other.org/x", "http://first.org/x", "https://first.org:8443/x", "//other.org/x"]
        {
            let (answer, seen) = send(Method::GET, &[(307, target)]);
            assert_eq!(answer.unwrap().status(), 200);
            assert_eq!(seen.iter().map(is_told).collect::<Vec<_>>(), [true, false], "{target}");
            assert!(!seen[1].uri().to_string().contains("s3cret"));
        }
        let there_and_back = [(302, "https://other.org/x"), (302, "https://first.org/y")];
        let (_, seen) = send(Method::HEAD, &there_and_back);
        assert_eq!(seen.iter().map(is_told).collect::<Vec<_>>(), [true, false, false], "a detour");
    }

    #[test]
    fn users_in_an_answers_address_are_not_sent() {
        let (_, seen) = send(Method::GET, &[(302, "https://user:word@first.org/x")]);
        assert_eq!(seen[1].uri(), "https://first.org/x");
    }

    #[test]
    fn writes_stay_where_they_are_sent() {
        for method in [Method::PUT, Method::POST, Method::DELETE] {
            let (answer, seen) = send(method, &[(307, "https://other.org/x")]);
            assert_eq!(answer.unwrap().status(), 307);
            assert_eq!(seen.len(), 1);
        }
    }

    #[test]
    fn redirects_end() {
        let circle = vec![(302, "https://first.org/a"); 100];
        let (answer, seen) = send(Method::GET, &circle);
        assert!(answer.unwrap_err().to_string().contains("more than 10 times"));
        assert_eq!(seen.len(), 11);
        for target in ["ftp://first.org/x", "file:///etc/passwd", "https://"] {
            let (answer, seen) = send(Method::GET, &[(302, target)]);
            assert!(answer.is_err(), "{target}");
            assert_eq!(seen.len(), 1);
        }
        let (answer, _) = send(Method::GET, &[(304, "https://other.org/x")]);
        assert_eq!(answer.unwrap().status(), 304, "no redirect");
    }

    const EVERY_OPTION: [(Key, &str, Option<&str>); 17] = [
        (Key::AllowHttp, "yes", Some("perhaps")),
        (Key::AllowInvalidCertificates, "0", Some("perhaps")),
        (Key::NoSystemCertificates, "On", Some("perhaps")),
        (Key::ConnectTimeout, "2 seconds", Some("2 parsecs")),
        (Key::ReadTimeout, "150ms", Some("")),
        (Key::Timeout, "1m 3s", Some("3")),
        (Key::PoolIdleTimeout, "90s", Some("-1s")),
        (Key::PoolMaxIdlePerHost, "7", Some("many")),
        (Key::Http1Only, "false", Some("perhaps")),
        (Key::Http2Only, "TRUE", Some("perhaps")),
        (Key::Http2KeepAliveInterval, "9s", Some("x")),
        (Key::Http2KeepAliveTimeout, "9s", Some("x")),
        (Key::Http2KeepAliveWhileIdle, "y", Some("perhaps")),
        (Key::Http2MaxFrameSize, "16384", Some("4294967296")),
        (Key::ProxyUrl, "http://proxy.org:3128", Some("http://")),
        (Key::RandomizeAddresses, "off", Some("perhaps")),
        (Key::UserAgent, "reader/1.0", None),
    ];

    #[test]
    fn every_option_is_understood() {
        let mut all = ClientOptions::default();
        for (key, value, wrong) in EVERY_OPTION {
            let options = ClientOptions::default().with_config(key, value);
            assert!(Connector::new(None).unwrap().connect(&options).is_ok(), "{key:?}");
            all = all.with_config(key, value);
            if let Some(wrong) = wrong {
                let options = ClientOptions::default().with_config(key, wrong);
                let error = Connector::new(None).unwrap().connect(&options).unwrap_err();
                assert!(error.to_string().contains(key.as_ref()), "{key:?}: {error}");
            }
        }
        all = all.with_config(Key::ProxyExcludes, "localhost");
        assert!(Connector::new(None).unwrap().connect(&all).is_ok());
        let certificate = all.with_config(Key::ProxyCaCertificate, "-----BEGIN CERTIFICATE-----");
        assert!(Connector::new(None).unwrap().connect(&certificate).is_err());
        assert!(
            Connector::new(Some(b"-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----\n")).is_err()
        );
    }
}
