//! What another host is told, over a server that redirects; which options are understood.

use std::sync::Mutex;

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
    let careful = Careful { client: HttpClient::new(server), headers, timeout: None };
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
    for target in ["https://other.org/x", "http://first.org/x", "https://first.org:8443/x", "//other.org/x"] {
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
        assert!(Connector::new(None, None).unwrap().connect(&options).is_ok(), "{key:?}");
        all = all.with_config(key, value);
        if let Some(wrong) = wrong {
            let options = ClientOptions::default().with_config(key, wrong);
            let error = Connector::new(None, None).unwrap().connect(&options).unwrap_err();
            assert!(error.to_string().contains(key.as_ref()), "{key:?}: {error}");
        }
    }
    all = all.with_config(Key::ProxyExcludes, "localhost");
    assert!(Connector::new(None, None).unwrap().connect(&all).is_ok());
    let certificate = all.with_config(Key::ProxyCaCertificate, "-----BEGIN CERTIFICATE-----");
    assert!(Connector::new(None, None).unwrap().connect(&certificate).is_err());
    assert!(
        Connector::new(Some(b"-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----\n"), None).is_err()
    );
}
