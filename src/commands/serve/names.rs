//! As whom the service may be asked for.
//!
//! A page of a stranger can have its own host name lead to 127.0.0.1 and read what is there as if it
//! were its own (DNS rebinding). The browser then says that name in `Host`, so only names that nobody
//! else can have are answered: loopback, addresses, and those that the operator lists.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderMap, StatusCode, Version};
use axum::middleware::Next;
use axum::response::Response;

use super::Service;
use super::routes::refusal;

/// Proves itself by a signature, which no page of a stranger has; and a host that reports must not lose
/// what it tells for a name that is not listed here yet.
const SIGNED: &str = "/api/v1/reports";

/// Lets a request through that asks for this service by a name that it has.
pub(super) async fn check(
    State(service): State<Arc<Service>>,
    request: Request,
    next: Next,
) -> Response {
    if request.uri().path() == SIGNED {
        return next.run(request).await;
    }
    match judged(&request, &service.names) {
        Ok(()) => next.run(request).await,
        Err((status, why)) => refusal(status, &why),
    }
}

fn judged(request: &Request, names: &[String]) -> Result<(), (StatusCode, String)> {
    let bad = |why: &str| Err((StatusCode::BAD_REQUEST, why.to_owned()));
    let mut hosts = request.headers().get_all(HOST).iter();
    let (first, second) = (hosts.next(), hosts.next());
    if second.is_some() {
        return bad("there is more than one Host");
    }
    // A request line with a whole address means that one, whatever Host says.
    let line = request.uri().authority().map(|authority| authority.as_str());
    let header = first.map(|value| value.to_str().unwrap_or_default());
    if header.is_none() && line.is_none() {
        // What is older than the header has no browser behind it: a load balancer that looks.
        return match request.version() {
            Version::HTTP_09 | Version::HTTP_10 => Ok(()),
            _ => bad("there is no Host"),
        };
    }
    match line.into_iter().chain(header).find(|host| !is_ours(host, names)) {
        None => Ok(()),
        Some(_) => Err((
            StatusCode::MISDIRECTED_REQUEST,
            "this service is not known by that name: list it as console_names in upgrade.conf, and \
             start the service again"
                .to_owned(),
        )),
    }
}

/// Returns whether a host, with or without a port, is this service.
fn is_ours(host: &str, names: &[String]) -> bool {
    let Some(name) = without_port(host) else { return false };
    // No name can be made to look like an address.
    name == "localhost" || is_address(&name) || names.contains(&name)
}

fn is_address(name: &str) -> bool {
    let inner = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match inner {
        Some(inner) => matches!(inner.parse(), Ok(IpAddr::V6(_))),
        None => matches!(name.parse(), Ok(IpAddr::V4(_))),
    }
}

/// Returns the name in small letters, without port and without the dot of the root.
fn without_port(host: &str) -> Option<String> {
    let name = match host.rsplit_once(':') {
        Some((_, port)) if port.ends_with(']') => host,
        Some((name, port)) if port.chars().all(|c| c.is_ascii_digit()) => name,
        Some(_) => return None,
        None => host,
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    (!name.is_empty()).then(|| name.to_ascii_lowercase())
}

/// Returns whether a form was sent from a page of this service: browsers say so, and no page can make
/// them say it of another one.
pub(super) fn is_from_here(headers: &HeaderMap, names: &[String]) -> bool {
    let said = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if said("sec-fetch-site").is_some_and(|site| site != "same-origin") {
        return false;
    }
    let Some(origin) = said(ORIGIN.as_str()) else { return false };
    let Some((_, origin)) = origin.split_once("://") else { return false };
    // Behind a proxy the name that the browser knows is another one than the one asked for here.
    let listed = without_port(origin).is_some_and(|name| names.contains(&name));
    listed || said(HOST.as_str()).is_some_and(|host| host.eq_ignore_ascii_case(origin))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn loopback_addresses_and_listed_names_are_ours_and_nothing_that_looks_like_them() {
        let names = ["console.example.org".to_owned()];
        for good in [
            "localhost",
            "LOCALHOST:8480",
            "localhost.",
            "127.0.0.1:8480",
            "192.0.2.7",
            "[::1]:8480",
            "[2001:db8::1]",
            "Console.Example.org:443",
        ] {
            assert!(is_ours(good, &names), "{good}");
        }
        for bad in [
            "",
            ":80",
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "2130706433",
            "0x7f.1",
            "127.1",
            "::1",
            "[127.0.0.1]",
            "console.example.org.evil.example",
            "x.console.example.org",
            "localhost:80:80@evil",
            "evil.example:80\tlocalhost",
        ] {
            assert!(!is_ours(bad, &names), "{bad}");
        }
    }

    #[test]
    fn a_form_is_from_here_only_where_the_browser_says_so() {
        let names = ["console.example.org".to_owned()];
        let from = |host: &str, origin: Option<&str>, site: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, HeaderValue::from_str(host).unwrap());
            if let Some(origin) = origin {
                headers.insert(ORIGIN, HeaderValue::from_str(origin).unwrap());
            }
            if let Some(site) = site {
                headers.insert("sec-fetch-site", HeaderValue::from_str(site).unwrap());
            }
            is_from_here(&headers, &names)
        };
        let (here, own) = ("127.0.0.1:8480", Some("http://127.0.0.1:8480"));
        assert!(from(here, own, None) && from(here, own, Some("same-origin")));
        assert!(from(here, Some("https://console.example.org"), Some("same-origin")));
        for (origin, site) in [
            (None, None),
            (None, Some("same-origin")),
            (Some("null"), None),
            (Some("http://127.0.0.1:9999"), None),
            (Some("http://evil.example"), None),
            (own, Some("cross-site")),
            (own, Some("same-site")),
            (own, Some("none")),
        ] {
            assert!(!from(here, origin, site), "{origin:?} {site:?}");
        }
    }
}
