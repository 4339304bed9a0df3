//! What stands before every request and every answer.

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};

use crate::problem::Problem;

/// Headers of every answer: nothing is loaded from elsewhere, nothing is framed, nothing is guessed.
const HEADERS: [(&str, &str); 5] = [
    (
        "content-security-policy",
        "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
];

/// Refuses what another site's page sends in its visitor's name, names what is not found, and adds
/// the headers.
pub(crate) fn protect(router: Router) -> Router {
    router
        .fallback(async || Problem::not_found("there is nothing here"))
        .method_not_allowed_fallback(async || {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this resource does not do that")
        })
        .layer(middleware::from_fn(check))
}

async fn check(request: Request, next: Next) -> Response {
    let safe = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if !safe && is_foreign(request.headers()) {
        let detail = "a page of another site may not change anything here";
        return Problem::new(StatusCode::FORBIDDEN, detail).into_response();
    }
    let mut response = next.run(request).await;
    for (name, value) in HEADERS {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

/// Whether a browser says that the request comes from a page of another origin. A client that is no
/// browser says nothing, and nobody can make it act for somebody else.
fn is_foreign(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    if let Some(site) = text("sec-fetch-site") {
        return !matches!(site, "same-origin" | "none");
    }
    let Some(origin) = text(header::ORIGIN.as_str()) else { return false };
    let origin = origin.split_once("://").map_or(origin, |(_, host)| host);
    text(header::HOST.as_str()) != Some(origin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_page_of_this_origin_may_change_something() {
        for (headers, foreign) in [
            (vec![], false),
            (vec![("sec-fetch-site", "same-origin")], false),
            (vec![("sec-fetch-site", "cross-site")], true),
            (
                vec![("sec-fetch-site", "same-site"), ("origin", "http://a:1"), ("host", "a:1")],
                true,
            ),
            (vec![("origin", "http://127.0.0.1:8080"), ("host", "127.0.0.1:8080")], false),
            (vec![("origin", "http://evil.example"), ("host", "127.0.0.1:8080")], true),
            (vec![("origin", "null"), ("host", "127.0.0.1:8080")], true),
        ] {
            let mut map = HeaderMap::new();
            for (name, value) in &headers {
                map.insert(*name, HeaderValue::from_static(value));
            }
            assert_eq!(is_foreign(&map), foreign, "{headers:?}");
        }
    }
}
