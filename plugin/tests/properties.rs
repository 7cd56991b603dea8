//! Properties: what the documentation says of them, and that they never wait for a frame.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{Rig, caps, element, frame};
use gst::glib;
use gst::prelude::*;

const DOCUMENT: &str = include_str!("../../docs/element.md");

/// The rows of the table of properties: name, type, range, default, when it may be set.
fn documented() -> Vec<[String; 5]> {
    let rows = DOCUMENT.lines().filter(|l| l.starts_with("| `"));
    let cells = |row: &str| {
        row.trim_matches('|')
            .split('|')
            .map(|c| c.trim().replace('`', ""))
            .collect::<Vec<_>>()
    };
    rows.map(cells)
        .filter(|c| c.len() == 6)
        .map(|c| [0, 1, 2, 3, 4].map(|i| c[i].clone()))
        .collect()
}

/// The same row as the element itself has it.
fn specified(p: &glib::ParamSpec) -> [String; 5] {
    let flags = p.flags();
    let (kind, range, default) = if let Some(f) = p.downcast_ref::<glib::ParamSpecFloat>() {
        (
            "float".into(),
            format!("{} to {}", f.minimum(), f.maximum()),
            f.default_value().to_string(),
        )
    } else if let Some(u) = p.downcast_ref::<glib::ParamSpecUInt>() {
        (
            "uint".into(),
            format!("{} to {}", u.minimum(), u.maximum()),
            u.default_value().to_string(),
        )
    } else if let Some(i) = p.downcast_ref::<glib::ParamSpecInt>() {
        (
            "int".into(),
            format!("{} to {}", i.minimum(), i.maximum()),
            i.default_value().to_string(),
        )
    } else if let Some(b) = p.downcast_ref::<glib::ParamSpecBoolean>() {
        ("bool".into(), "true, false".to_string(), b.default_value().to_string())
    } else if let Some(e) = p.downcast_ref::<glib::ParamSpecEnum>() {
        let nicks: Vec<_> = e.enum_class().values().iter().map(|v| v.nick().to_string()).collect();
        let default = e
            .enum_class()
            .value(e.default_value_as_i32())
            .unwrap()
            .nick()
            .to_string();
        ("enum".into(), nicks.join(", "), default)
    } else if let Some(s) = p.downcast_ref::<glib::ParamSpecString>() {
        (
            "string".into(),
            String::new(),
            s.default_value().unwrap_or_default().to_string(),
        )
    } else {
        ("structure".to_string(), String::new(), String::new())
    };
    let settable = if !flags.contains(glib::ParamFlags::WRITABLE) {
        "read-only"
    } else if flags.contains(gst::PARAM_FLAG_CONTROLLABLE) {
        "live, controllable"
    } else if flags.contains(gst::PARAM_FLAG_MUTABLE_PLAYING) {
        "live"
    } else if flags.contains(gst::PARAM_FLAG_MUTABLE_READY) {
        "NULL, READY"
    } else {
        "unsaid"
    };
    [p.name().into(), kind, range, default, settable.into()]
}

#[test]
fn are_as_documented() {
    let element = element("auto");
    let specs = element.list_properties();
    let own: Vec<_> = specs.iter().filter(|p| p.owner_type() == element.type_()).collect();
    let rows = documented();
    assert_eq!(
        rows.len(),
        own.len(),
        "rows in docs/element.md, properties of the element"
    );
    for row in rows {
        let spec = own
            .iter()
            .find(|p| p.name() == row[0])
            .unwrap_or_else(|| panic!("no property {}", row[0]));
        assert_eq!(
            specified(spec),
            row,
            "property of the element (left), docs/element.md (right)"
        );
        assert!(
            spec.nick() != spec.name() && !spec.nick().is_empty(),
            "nick of {}",
            row[0]
        );
        assert!(spec.blurb().is_some_and(|b| b.len() > 5), "blurb of {}", row[0]);
    }
}

#[test]
fn have_their_defaults() {
    common::init();
    let element = gst::ElementFactory::make("uretinexenhance").build().unwrap();
    for p in element
        .list_properties()
        .iter()
        .filter(|p| p.owner_type() == element.type_())
    {
        if p.flags().contains(glib::ParamFlags::WRITABLE) {
            let value = element.property_value(p.name());
            assert_eq!(format!("{value:?}"), format!("{:?}", p.default_value()), "{}", p.name());
        }
    }
}

#[test]
fn values_outside_the_range_become_the_nearest_inside() {
    let element = element("identity");
    for (name, set, becomes) in [
        ("ratio", 0.0, 0.0),
        ("ratio", -1.0, 0.0),
        ("ratio", 0.4, 1.0),
        ("brightness", 3.0, 1.0),
        ("brightness", -3.0, -1.0),
        ("ratio", 20.5, 20.0),
        ("ratio", f32::INFINITY, 20.0),
        ("ratio", 7.5, 7.5),
        ("ratio", f32::NAN, 7.5),
        ("strength", -1.0, 0.0),
        ("strength", 2.0, 1.0),
        ("strength", f32::NAN, 1.0),
    ] {
        element.set_property(name, set);
        assert_eq!(element.property::<f32>(name), becomes, "{name} = {set}");
    }
}

#[test]
fn choices_wait_for_ready() {
    let caps = caps("GRAY8", 16, 16);
    let rig = Rig::new("identity", &caps);
    for (name, value) in [
        ("model", "full"),
        ("backend", "cpu"),
        ("threads", "1"),
        ("precision", "bfp16"),
        ("on-engine-build", "cpu"),
        ("engine-cache", "/nowhere"),
        ("frames-in-flight", "1"),
    ] {
        let before = rig.element.property_value(name);
        rig.element.set_property_from_str(name, value);
        let after = rig.element.property_value(name);
        assert_eq!(format!("{before:?}"), format!("{after:?}"), "{name} in PLAYING");
    }
    rig.element.set_state(gst::State::Ready).unwrap();
    rig.element.set_property("threads", 1u32);
    assert_eq!(rig.element.property::<u32>("threads"), 1);
}

#[test]
fn statistics_tell_what_is_in_use() {
    let caps = caps("NV12", 64, 48);
    let mut rig = Rig::new("identity", &caps);
    assert_eq!(
        rig.element.property::<Option<String>>("backend-in-use").as_deref(),
        Some("identity")
    );
    rig.element.set_property("ratio", 3.0f32);
    for n in 0..3 {
        rig.harness.push_and_pull(frame(&caps, n)).unwrap();
    }
    rig.element.set_property("enabled", false);
    rig.harness.push_and_pull(frame(&caps, 3)).unwrap();
    let stats = rig.stats();
    for (name, count) in [
        ("frames", 3u64),
        ("passed", 1),
        ("failed", 0),
        ("dropped", 0),
        ("resets", 1),
    ] {
        assert_eq!(stats.get::<u64>(name).unwrap(), count, "{name} in {stats}");
    }
    assert_eq!(stats.get::<f32>("ratio").unwrap(), 3.0);
    assert_eq!(stats.get::<&str>("backend").unwrap(), "identity");
    assert!(!stats.get::<&str>("model").unwrap().is_empty());
    let (dark, out) = (
        stats.get::<f32>("luma-in").unwrap(),
        stats.get::<f32>("luma-out").unwrap(),
    );
    assert!(dark > 0.05 && dark < 0.5 && (dark - out).abs() < 0.01, "{stats}");
    for stage in [
        "total",
        "ingest",
        "decompose",
        "update",
        "restore",
        "illuminate",
        "adjust",
        "compose",
    ] {
        let times = ["p50", "p95", "p99"].map(|p| stats.get::<f64>(&format!("{stage}-ms-{p}")).unwrap());
        assert!(times[0] <= times[1] && times[1] <= times[2], "{stage}: {times:?}");
    }
    assert!(stats.get::<f64>("total-ms-p50").unwrap() > 0.0);

    rig.element.set_state(gst::State::Null).unwrap();
    assert_eq!(rig.element.property::<Option<String>>("backend-in-use"), None);
    assert_eq!(rig.count("frames"), 3, "counts stay readable until the next start");
}

#[test]
fn never_wait_for_a_frame() {
    let caps = caps("RGB", 4096, 4096);
    let mut rig = Rig::new("identity", &caps);
    let element = rig.element.clone();
    rig.harness.push_and_pull(frame(&caps, 0)).unwrap();
    let next = frame(&caps, 1);
    let done = Arc::new(AtomicBool::new(false));
    let streaming = std::thread::spawn({
        let done = done.clone();
        move || {
            let out = rig.harness.push_and_pull(next);
            done.store(true, Ordering::SeqCst);
            out.map(|_| rig)
        }
    });
    // Calls that wait for the frame would not come to more than one or two.
    let mut calls = 0;
    while !done.load(Ordering::SeqCst) {
        element.set_property("ratio", 2.0 + (calls % 10) as f32);
        element.set_property("strength", 1.0f32);
        element.set_property("qos", calls % 2 == 0);
        let _: gst::Structure = element.property("stats");
        let _: Option<String> = element.property("backend-in-use");
        let _: f32 = element.property("ratio");
        let sink = element.static_pad("sink").unwrap();
        assert!(sink.query_caps(None).is_any() || !sink.query_caps(None).is_empty());
        assert!(sink.query_accept_caps(&common::caps("NV12", 64, 64)));
        let mut latency = gst::query::Latency::new();
        let _ = element.static_pad("src").unwrap().query(&mut latency);
        calls += 1;
    }
    let rig = streaming.join().unwrap().unwrap();
    assert_eq!(rig.count("frames"), 2);
    assert!(
        calls >= 20,
        "only {calls} rounds of calls came through while a frame was worked on: {}",
        rig.stats()
    );
}
