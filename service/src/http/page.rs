//! The web page's files, which are part of the program.

use axum::http::header;
use axum::response::{IntoResponse, Response};

fn file(kind: &'static str, text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

pub async fn html() -> Response {
    file("text/html; charset=utf-8", include_str!("page.html"))
}

pub async fn css() -> Response {
    file("text/css; charset=utf-8", include_str!("page.css"))
}

pub async fn js() -> Response {
    file("text/javascript; charset=utf-8", include_str!("page.js"))
}

pub async fn icon() -> Response {
    file("image/svg+xml", include_str!("icon.svg"))
}
