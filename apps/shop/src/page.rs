//! The page, which is part of the program.

use axum::Router;
use axum::http::header;
use axum::routing::get;

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const IMAGE: &str = "image/svg+xml";

/// Each file: its path, its kind, its text.
const FILES: [(&str, &str, &str); 13] = [
    ("/", HTML, include_str!("../page/index.html")),
    ("/app.css", STYLE, include_str!("../page/app.css")),
    ("/app.js", SCRIPT, include_str!("../page/app.js")),
    ("/theme.js", SCRIPT, include_str!("../page/theme.js")),
    ("/icon.svg", IMAGE, include_str!("../page/icon.svg")),
    ("/js/api.js", SCRIPT, include_str!("../page/js/api.js")),
    ("/js/dom.js", SCRIPT, include_str!("../page/js/dom.js")),
    ("/js/events.js", SCRIPT, include_str!("../page/js/events.js")),
    ("/js/format.js", SCRIPT, include_str!("../page/js/format.js")),
    ("/js/orders.js", SCRIPT, include_str!("../page/js/orders.js")),
    ("/js/proof.js", SCRIPT, include_str!("../page/js/proof.js")),
    ("/js/shop.js", SCRIPT, include_str!("../page/js/shop.js")),
    ("/js/system.js", SCRIPT, include_str!("../page/js/system.js")),
];

pub(crate) fn routes() -> Router {
    FILES.into_iter().fold(Router::new(), |router, (path, kind, text)| {
        let headers = [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-cache")];
        router.route(path, get(move || async move { (headers, text) }))
    })
}
