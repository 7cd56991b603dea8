//! Who may do what: under which name the service is reached, and which requests need the token.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::answer::{Refusal, refuse};
use super::site::Site;
use crate::config;

/// What every answer says to browsers: nothing is loaded from elsewhere, nothing is kept, nobody frames the page.
const HEADERS: [(&str, &str); 6] = [
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("cache-control", "no-store"),
    ("cross-origin-resource-policy", "same-origin"),
    ("referrer-policy", "no-referrer"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
];

/// What there is without a token in any case: the page, which holds nothing of its own, and what watches the service.
const OPEN: [&str; 6] = ["/", "/page.css", "/page.js", "/icon.svg", "/healthz", "/readyz"];

/// Lets a request through, or not, and adds the headers.
pub async fn guard(State(site): State<Arc<Site>>, request: Request, next: Next) -> Response {
    let refused = check(&site.rules(), request.method(), request.uri().path(), request.headers());
    let mut response = match refused {
        None => next.run(request).await,
        Some(refusal) => refusal.into_response(),
    };
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// The answer to a request that is not let through.
fn check(rules: &config::Http, method: &Method, path: &str, headers: &HeaderMap) -> Option<Refusal> {
    let reads = method == Method::GET || method == Method::HEAD;
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or_default();
    // A page of another site can have its name stand for this machine, and then read what its own origin may read.
    let asks_after_health = reads && ["/healthz", "/readyz"].contains(&path);
    if !asks_after_health && !is_ours(host, &rules.hosts) {
        return Some(refuse(
            StatusCode::MISDIRECTED_REQUEST,
            "this name is not known here: add it to hosts in [http], or use the address",
        ));
    }
    if reads && (rules.open_reading || OPEN.contains(&path)) {
        return None;
    }
    let Some(token) = &rules.token else {
        return Some(refuse(
            StatusCode::FORBIDDEN,
            "nothing can be changed without a token: name one with token-file or token-env in [http]",
        ));
    };
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = given
        .and_then(|value| value.split_once(' '))
        .filter(|(kind, _)| kind.eq_ignore_ascii_case("bearer"));
    match given.is_some_and(|(_, given)| token.is(given.trim())) {
        true => None,
        false => Some(refuse(
            StatusCode::UNAUTHORIZED,
            "the token is missing or wrong: Authorization: Bearer TOKEN",
        )),
    }
}

/// Whether a `Host` header is an address, `localhost`, or one of `hosts`.
fn is_ours(host: &str, hosts: &[String]) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    let name = name.trim_end_matches('.');
    name.parse::<IpAddr>().is_ok()
        || name.eq_ignore_ascii_case("localhost")
        || hosts.iter().any(|host| host.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_let_through_by_name_method_and_token() {
        const TOKEN: &str = "0123456789abcdef";
        let open = config::Http {
            listen: ([127, 0, 0, 1], 0).into(),
            token: Some(TOKEN.to_owned().into()),
            open_reading: true,
            hosts: vec!["cams.example".into()],
        };
        let closed = config::Http {
            open_reading: false,
            ..open.clone()
        };
        let tokenless = config::Http {
            token: None,
            ..open.clone()
        };
        let right = format!("Bearer {TOKEN}");
        for (rules, method, path, host, given, expected) in [
            (&open, "GET", "/api/cameras", "127.0.0.1:8080", "", 0),
            (&open, "GET", "/api/cameras", "[::1]:8080", "", 0),
            (&open, "GET", "/", "localhost", "", 0),
            (&open, "GET", "/", "CAMS.example:80", "", 0),
            (&open, "GET", "/", "evil.example", "", 421),
            (&open, "GET", "/", "127.0.0.1.evil.example:8080", "", 421),
            (&open, "PATCH", "/api/cameras/a", "evil.example", &right, 421),
            (&open, "GET", "/", "", "", 421),
            (&open, "GET", "/healthz", "probe", "", 0),
            (&open, "PATCH", "/api/cameras/a", "127.0.0.1", "", 401),
            (
                &open,
                "PATCH",
                "/api/cameras/a",
                "127.0.0.1",
                "Bearer 0123456789abcdeF",
                401,
            ),
            (
                &open,
                "PATCH",
                "/api/cameras/a",
                "127.0.0.1",
                "Basic 0123456789abcdef",
                401,
            ),
            (&open, "PATCH", "/api/cameras/a", "127.0.0.1", &right, 0),
            (&open, "POST", "/healthz", "127.0.0.1", "", 401),
            (&closed, "GET", "/", "127.0.0.1", "", 0),
            (&closed, "GET", "/readyz", "127.0.0.1", "", 0),
            (&closed, "GET", "/metrics", "127.0.0.1", "", 401),
            (&closed, "GET", "/api/cameras/a/after.jpg", "127.0.0.1", "", 401),
            (&closed, "GET", "/metrics", "127.0.0.1", &right, 0),
            (&tokenless, "GET", "/metrics", "127.0.0.1", "", 0),
            (&tokenless, "POST", "/api/cameras/a/save", "127.0.0.1", "Bearer ", 403),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in [(header::HOST, host), (header::AUTHORIZATION, given)] {
                if !value.is_empty() {
                    headers.insert(name, value.parse().unwrap());
                }
            }
            let method = method.parse().unwrap();
            let found = check(rules, &method, path, &headers).map_or(0, |refusal| refusal.status.as_u16());
            assert_eq!(found, expected, "{method} {path} at {host} with {given}");
        }
    }
}
