//! The endpoints.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, patch, post};
use axum::{Json, Router, body::Bytes};
use serde::{Deserialize, Serialize};

use super::answer::{Refusal, refuse};
use super::guard::guard;
use super::site::Site;
use super::{metrics, page};
use crate::camera::{Camera, State as CameraState};
use crate::encoder::Encoder;
use crate::figures::Figures;
use crate::live::{Change, Live};
use crate::{save, snapshot};

/// Bytes of a request's body.
const BODY: usize = 16 << 10;
/// All endpoints, behind the guard.
pub fn router(site: Arc<Site>) -> Router {
    let nowhere = || async { refuse(StatusCode::NOT_FOUND, "there is nothing here: see docs/service.md") };
    let method = || async {
        refuse(
            StatusCode::METHOD_NOT_ALLOWED,
            "not with this method: see docs/service.md",
        )
    };
    Router::new()
        .route("/", get(page::html))
        .route("/page.css", get(page::css))
        .route("/page.js", get(page::js))
        .route("/icon.svg", get(page::icon))
        .route("/healthz", get(health))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics::metrics))
        .route("/api/cameras", get(list))
        .route("/api/cameras/{name}", get(one).merge(patch(change)))
        .route("/api/cameras/{name}/save", post(keep))
        .route("/api/cameras/{name}/call", post(call))
        .route("/api/cameras/{name}/{picture}", get(picture))
        .fallback(nowhere)
        .method_not_allowed_fallback(method)
        .layer(DefaultBodyLimit::max(BODY))
        .layer(from_fn_with_state(site.clone(), guard))
        .with_state(site)
}

/// A camera, as the page and other programs see it.
#[derive(Serialize)]
struct View {
    name: String,
    /// Where it is served, below the RTSP server's address.
    path: String,
    port: u16,
    /// Scheme, host and port of the camera.
    camera: String,
    state: CameraState,
    /// Seconds since 1970.
    since: f64,
    message: Option<String>,
    /// Seconds until it is called again.
    next_call_in: Option<f64>,
    video: Option<String>,
    audio: Option<&'static str>,
    audio_left_out: Option<String>,
    /// What is served: its size and rate.
    served: Option<Served>,
    encoders: Vec<Encoder>,
    reconnects: u64,
    viewers: usize,
    /// Seconds since the latest frame.
    frame_age: Option<f64>,
    settings: Live,
    /// Whether the settings are those of the file.
    saved: bool,
    figures: Figures,
}

#[derive(Serialize)]
struct Served {
    width: u32,
    height: u32,
    rate: Option<f64>,
}

impl View {
    fn of(site: &Site, camera: &Camera) -> Self {
        let status = camera.status();
        let offer = camera.relay.offer();
        Self {
            name: camera.name.clone(),
            path: format!("/{}", camera.name),
            port: site.fleet.server.port(),
            camera: camera.source.host().to_owned(),
            state: status.state,
            since: status
                .since
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default()
                .as_secs_f64(),
            message: status.message,
            next_call_in: status
                .next_call
                .map(|at| at.duration_since(SystemTime::now()).unwrap_or_default().as_secs_f64()),
            video: status.video,
            audio: status.audio,
            audio_left_out: status.audio_left_out,
            served: offer.map(|offer| Served {
                width: offer.width,
                height: offer.height,
                rate: offer.rate.map(|rate| f64::from(rate.numer()) / f64::from(rate.denom())),
            }),
            encoders: camera.source.encoders.clone(),
            reconnects: camera.reconnects.load(Ordering::Relaxed),
            viewers: site.fleet.server.viewers(&camera.name),
            frame_age: camera.tally.last_frame().map(|at| at.elapsed().as_secs_f64()),
            settings: camera.live(),
            saved: site.fleet.is_saved(camera),
            figures: camera.figures(),
        }
    }
}

fn find(site: &Site, name: &str) -> Result<Arc<Camera>, Refusal> {
    site.fleet
        .camera(name)
        .ok_or_else(|| refuse(StatusCode::NOT_FOUND, "there is no camera of this name"))
}

/// The service does its work: no thread hangs. 503 names what does.
async fn health(State(site): State<Arc<Site>>) -> Response {
    match site.health().await {
        Ok(()) => "healthy\n".into_response(),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response(),
    }
}

/// Every camera has been called once, whatever came of it.
async fn ready(State(site): State<Arc<Site>>) -> Response {
    let cameras = site.fleet.cameras();
    let waiting = cameras.iter().filter(|camera| !camera.status().tried).count();
    match waiting {
        0 => "ready\n".into_response(),
        _ => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("{waiting} cameras have not been tried yet\n"),
        )
            .into_response(),
    }
}

async fn list(State(site): State<Arc<Site>>) -> Response {
    let views: Vec<_> = site
        .fleet
        .cameras()
        .iter()
        .map(|camera| View::of(&site, camera))
        .collect();
    Json(views).into_response()
}

async fn one(State(site): State<Arc<Site>>, Path(name): Path<String>) -> Result<Response, Refusal> {
    let camera = find(&site, &name)?;
    Ok(Json(View::of(&site, &camera)).into_response())
}

/// Changes settings, at once.
async fn change(
    State(site): State<Arc<Site>>,
    Path(name): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refusal> {
    let camera = find(&site, &name)?;
    let body = body.map_err(|e| refuse(e.status(), e.body_text()))?;
    let change: Change =
        serde_json::from_slice(&body).map_err(|e| refuse(StatusCode::UNPROCESSABLE_ENTITY, e.to_string()))?;
    camera.set_live(change.on(&camera.live()));
    Ok(Json(View::of(&site, &camera)).into_response())
}

/// Writes the settings into the configuration.
async fn keep(State(site): State<Arc<Site>>, Path(name): Path<String>) -> Result<Response, Refusal> {
    let camera = find(&site, &name)?;
    let _one = site.saving.lock().await;
    let live = camera.live();
    let written = tokio::task::spawn_blocking({
        let (file, name, live) = (site.file.clone(), name.clone(), live.clone());
        move || save::save(&file, &name, &live)
    });
    match written.await {
        Ok(Ok(())) => {
            log::info!("camera {name}: settings are saved");
            site.fleet.saved(&name, live);
            Ok(Json(View::of(&site, &camera)).into_response())
        }
        Ok(Err(error)) => {
            log::error!("camera {name}: settings are not saved: {error}");
            Err(refuse(StatusCode::INTERNAL_SERVER_ERROR, error))
        }
        Err(_) => Err(refuse(StatusCode::INTERNAL_SERVER_ERROR, "settings are not saved")),
    }
}

/// Calls a camera that is waited for, at once.
async fn call(State(site): State<Arc<Site>>, Path(name): Path<String>) -> Result<Response, Refusal> {
    let camera = find(&site, &name)?;
    camera.call_now();
    Ok(StatusCode::NO_CONTENT.into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Size {
    /// At most so many pixels wide.
    width: Option<u32>,
}

/// The latest frame, as it came or as it went.
async fn picture(
    State(site): State<Arc<Site>>,
    Path((name, picture)): Path<(String, String)>,
    size: Result<Query<Size>, QueryRejection>,
) -> Result<Response, Refusal> {
    let camera = find(&site, &name)?;
    let before = match picture.as_str() {
        "before.jpg" => true,
        "after.jpg" => false,
        _ => return Err(refuse(StatusCode::NOT_FOUND, "there is before.jpg and after.jpg")),
    };
    let Query(size) = size.map_err(|e| refuse(StatusCode::BAD_REQUEST, e.body_text()))?;
    let pair = camera
        .tally
        .pair()
        .ok_or_else(|| refuse(StatusCode::SERVICE_UNAVAILABLE, "no frame has come yet"))?;
    let busy = || refuse(StatusCode::SERVICE_UNAVAILABLE, "busy");
    let permit = site.pictures.acquire().await.map_err(|_| busy())?;
    let sample = if before { pair.before } else { pair.after };
    let made = tokio::task::spawn_blocking(move || snapshot::jpeg(&sample, size.width)).await;
    drop(permit);
    match made {
        Ok(Ok(bytes)) => Ok(([(header::CONTENT_TYPE, "image/jpeg")], bytes).into_response()),
        Ok(Err(error)) => Err(refuse(StatusCode::INTERNAL_SERVER_ERROR, error)),
        Err(_) => Err(busy()),
    }
}
