//! Figures for Prometheus: one table of metrics, read from the cameras when it asks.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::answer::refuse;
use super::site::Site;
use crate::camera::{Camera, State as CameraState};
use crate::figures::Figures;

struct Cameras(Arc<Site>);

impl fmt::Debug for Cameras {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cameras")
    }
}

/// A camera at the moment of the question.
struct Look {
    camera: Arc<Camera>,
    figures: Figures,
    viewers: usize,
}

/// More labels than the camera's name, and a value.
type Values = Vec<(Option<(&'static str, &'static str)>, f64)>;

/// A metric of each camera: name, help, whether it only grows, and how it is read.
struct Metric(&'static str, &'static str, bool, fn(&Look) -> Values);

fn one(value: f64) -> Values {
    vec![(None, value)]
}

const METRICS: [Metric; 17] = [
    Metric("up", "1 while frames come", false, |look| {
        one(f64::from(look.camera.status().state == CameraState::Live))
    }),
    Metric("state", "1 for the state that the camera is in", false, |look| {
        let state = look.camera.status().state;
        let all = [
            (CameraState::Calling, "calling"),
            (CameraState::Live, "live"),
            (CameraState::Lost, "lost"),
            (CameraState::Refused, "refused"),
            (CameraState::Unusable, "unusable"),
        ];
        all.map(|(each, name)| (Some(("state", name)), f64::from(each == state)))
            .into()
    }),
    Metric("frames_in", "Frames that came from the camera", true, |look| {
        one(look.figures.frames_in as f64)
    }),
    Metric("frames_out", "Frames that went out", true, |look| {
        one(look.figures.frames_out as f64)
    }),
    Metric("frames_by_kind", "Frames by what was done to them", true, |look| {
        vec![
            (Some(("kind", "enhanced")), look.figures.enhanced as f64),
            (Some(("kind", "passed")), look.figures.passed as f64),
            (Some(("kind", "failed")), look.figures.failed as f64),
        ]
    }),
    Metric(
        "frames_dropped",
        "Frames dropped, because the element was busy or they were late",
        true,
        |look| {
            vec![
                (Some(("reason", "busy")), look.figures.dropped_queue as f64),
                (Some(("reason", "late")), look.figures.dropped_late as f64),
            ]
        },
    ),
    Metric(
        "frame_seconds",
        "Time that a frame takes, percentiles of the latest 512",
        false,
        |look| {
            vec![
                (Some(("quantile", "0.5")), look.figures.seconds_p50),
                (Some(("quantile", "0.95")), look.figures.seconds_p95),
                (Some(("quantile", "0.99")), look.figures.seconds_p99),
            ]
        },
    ),
    Metric("frame_age_seconds", "Time since the latest frame", false, |look| {
        look.camera
            .tally
            .last_frame()
            .map_or(vec![], |at| one(at.elapsed().as_secs_f64()))
    }),
    Metric(
        "luma",
        "Mean luma of the latest enhanced frame, 0 to 1",
        false,
        |look| {
            vec![
                (Some(("side", "in")), look.figures.luma_in.into()),
                (Some(("side", "out")), look.figures.luma_out.into()),
            ]
        },
    ),
    Metric("lightness", "Lightness of the latest frame, 0 to 1", false, |look| {
        one(look.figures.lightness.into())
    }),
    Metric(
        "noise",
        "Noise of the latest frame, where the element tells it",
        false,
        |look| look.figures.noise.map_or(vec![], |noise| one(noise.into())),
    ),
    Metric("ratio", "Ratio of the latest enhanced frame", false, |look| {
        one(look.figures.ratio.into())
    }),
    Metric("night", "1 by night, 0 by day", false, |look| {
        look.figures
            .light
            .as_deref()
            .map_or(vec![], |light| one(f64::from(light == "night")))
    }),
    Metric("grey", "1 if the stream has no colour", false, |look| {
        one(look.figures.grey.into())
    }),
    Metric(
        "rung",
        "How far the deadline has gone: 0 is full quality, 3 untouched",
        false,
        |look| one(look.figures.rung.into()),
    ),
    Metric("reconnects", "How often the camera was called again", true, |look| {
        one(look.camera.reconnects.load(Ordering::Relaxed) as f64)
    }),
    Metric("viewers", "Viewers of the served stream", false, |look| {
        one(look.viewers as f64)
    }),
];

impl Collector for Cameras {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let looks = self.0.fleet.cameras().into_iter().map(|camera| Look {
            figures: camera.figures(),
            viewers: self.0.fleet.server.viewers(&camera.name),
            camera,
        });
        let looks: Vec<_> = looks.collect();
        for Metric(name, help, grows, read) in METRICS {
            let kind = if grows { MetricType::Counter } else { MetricType::Gauge };
            let name = format!("uretinex_{name}");
            let mut metric = encoder.encode_descriptor(&name, help, None, kind)?;
            for look in &looks {
                for (label, value) in read(look) {
                    let mut labels = vec![("camera", look.camera.name.as_str())];
                    labels.extend(label);
                    let metric = metric.encode_family(&labels)?;
                    match grows {
                        true => ConstCounter::new(value).encode(metric)?,
                        false => ConstGauge::new(value).encode(metric)?,
                    }
                }
            }
        }
        if let Some(bytes) = resident() {
            let help = "Memory of the process that is in use";
            let metric = encoder.encode_descriptor("process_resident_memory_bytes", help, None, MetricType::Gauge)?;
            ConstGauge::new(bytes as f64).encode(metric)?;
        }
        Ok(())
    }
}

/// Bytes of memory in use, as Linux tells it.
fn resident() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim()
        .strip_suffix(" kB")?
        .parse::<u64>()
        .ok()
        .map(|kilobytes| kilobytes * 1024)
}

/// The figures as text.
pub async fn metrics(State(site): State<Arc<Site>>) -> Response {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Cameras(site)));
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &registry) {
        Ok(()) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(_) => refuse(StatusCode::INTERNAL_SERVER_ERROR, "the figures cannot be written").into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_in_the_documentation() {
        let text = include_str!("../../../docs/service.md");
        for Metric(name, _, grows, _) in METRICS {
            let name = format!("`uretinex_{name}{}", if grows { "_total" } else { "" });
            let found = ["`", "{"].iter().any(|end| text.contains(&format!("{name}{end}")));
            assert!(found, "docs/service.md has no {name}`");
        }
        assert!(resident() > Some(1 << 20), "{:?}", resident());
    }
}
