//! The program with cameras, viewers and browsers around it, over the loopback interface.

mod common;

use std::time::Duration;

use common::{Camera, Service, Viewer, free_port};

/// Headers of a request with the token.
const TOKEN: &str = "0123456789abcdef0123456789abcdef";

fn authorization() -> String {
    format!("Authorization: Bearer {TOKEN}\r\n")
}

#[test]
fn a_camera_that_dies_disturbs_no_other_and_comes_back_to_its_viewers() {
    let Some((steady, dies)) = Camera::start("audio").zip(Camera::start("dies")) else {
        return;
    };
    let (steady_url, dies_url) = (steady.url.clone(), dies.url.clone());
    let config = |ratio: &str| {
        format!(
            "[camera.steady]\naddress = '{}'\nencoder = 'x264'\n[camera.dies]\naddress = '{}'\nencoder = 'x264'\n\
             silence = 5\nratio = {ratio}\n",
            steady_url, dies_url
        )
    };
    let service = Service::start(&config("4"), &[("TOKEN", TOKEN)]);
    service.wait("/readyz", 200);
    for name in ["steady", "dies"] {
        service.wait_for(name, |camera| camera["state"] == "live");
    }
    let first = service.camera("steady");
    assert_eq!(
        (first["video"].as_str(), first["audio"].as_str()),
        (Some("H264"), Some("PCMA")),
        "{first}"
    );

    let viewers = ["steady", "dies"].map(|name| Viewer::start(&service.stream(name), name == "steady"));
    for viewer in &viewers {
        viewer.moving_frames(3);
    }
    let mean = viewers[1].moving_frames(1);
    assert!(mean > common::DARK, "mean {mean}: no brighter than the scene");
    viewers[0].sound();
    // Two seconds of 5 frames between key frames, fewer when a viewer comes.
    viewers[1].key_frame(8..=12);
    let another = Viewer::start(&service.stream("dies"), false);
    viewers[1].key_frame(1..=7);
    another.moving_frames(1);
    drop(another);
    service.wait_for("dies", |camera| camera["viewers"] == 1);
    service.wait_for("dies", |camera| camera["viewers"] == 1);

    let port = dies.port;
    drop(dies);
    let lost = service.wait_for("dies", |camera| camera["state"] != "live");
    assert!(lost["message"].is_string(), "{lost}");
    // What is there meanwhile is the last frame, then a black one.
    viewers[1].frame();
    let _dies = Camera::start_at("dies", port);
    service.wait_for("dies", |camera| camera["state"] == "live");
    viewers[1].moving_frames(3);
    viewers[0].moving_frames(3);
    assert!(service.camera("dies")["reconnects"].as_u64() >= Some(1));
    assert_eq!(service.camera("steady")["reconnects"], 0);
    let metrics = service.get("/metrics").1;
    assert!(
        metrics.contains("uretinex_reconnects_total{camera=\"steady\"} 0"),
        "{metrics}"
    );

    // A wrong file changes nothing; another ratio interrupts nothing.
    service.reload(&config("99"), "not reloaded.*line 8.*from 1 to 20");
    service.reload(&config("6"), r#"set \["dies"\]"#);
    service.wait_for("dies", |camera| {
        camera["settings"]["ratio"] == 6.0 && camera["state"] == "live"
    });
    let frames = |camera: &serde_json::Value| camera["figures"]["frames_out"].as_u64();
    let before = service.camera("steady");
    service.reload(
        &config("6").replace("silence = 5", "silence = 6"),
        r#"called anew \["dies"\]"#,
    );
    viewers[1].end();
    service.wait_for("steady", |camera| {
        frames(camera) > frames(&before) && camera["since"] == first["since"]
    });

    let (status, log) = service.terminate();
    assert_eq!(status, Some(0), "{log}");
    viewers[0].end();
}

#[test]
fn what_cameras_send_is_served_or_named() {
    let scenes = ["h265", "mjpeg", "interlaced", "sizes", "tiny", "locked"];
    let Some(cameras) = scenes.into_iter().map(Camera::start).collect::<Option<Vec<_>>>() else {
        return;
    };
    let mut config: String = cameras
        .iter()
        .map(|camera| {
            format!(
                "[camera.{}]\naddress = '{}'\nencoder = 'x264'\n",
                camera.scene, camera.url
            )
        })
        .collect();
    config = config.replace("/interlaced'\n", "/interlaced'\nprotocol = 'udp'\n");
    // As people write it: what a password may have in it, in the address.
    let inside = cameras[5].url.replace("//", "//guard:p@ss#w:rd%252@");
    config += &format!("user = 'guard'\npassword-env = 'WRONG'\n[camera.right]\naddress = '{inside}'\n");
    let viewer = "user = 'viewer'\npassword-env = 'VIEWER'\n";
    let environment = [("TOKEN", TOKEN), ("WRONG", "geheim"), ("VIEWER", "schau")];
    let service = Service::start_with(&config, viewer, &environment);
    for (name, video) in [
        ("h265", "H265"),
        ("mjpeg", "JPEG"),
        ("interlaced", "H264"),
        ("sizes", "H264"),
        ("right", "H264"),
    ] {
        let camera = service.wait_for(name, |camera| camera["state"] == "live");
        assert_eq!(camera["video"], video, "{camera}");
    }
    assert_eq!(service.camera("mjpeg")["audio_left_out"], "VORBIS");
    let refused = service.wait_for("locked", |camera| camera["state"] == "refused");
    assert!(refused["next_call_in"].as_f64() > Some(100.0), "{refused}");
    let unusable = service.wait_for("tiny", |camera| camera["state"] == "unusable");
    assert!(
        unusable["message"].as_str().is_some_and(|text| text.contains("14x14")),
        "{unusable}"
    );
    assert!(unusable["next_call_in"].as_f64() > Some(30.0), "{unusable}");

    // The size changes every two seconds. The first password that comes is of the address, which a viewer writes too.
    let stream = service.stream("sizes");
    let viewer = Viewer::start(&stream.replace("//", "//viewer:schau@"), false);
    for _ in 0..25 {
        assert_eq!(viewer.frame().len(), 160 * 96);
    }
    let sizes = service.camera("sizes");
    assert!(sizes["reconnects"] == 0 && sizes["served"]["width"] == 160, "{sizes}");
    Viewer::start(&stream, false).end();
    Viewer::start(&stream.replace("//", "//viewer:falsch@"), false).end();

    for name in ["h265", "interlaced"] {
        let picture = service.request("GET", &format!("/api/cameras/{name}/before.jpg"), "", "");
        assert_eq!(picture.0, 200, "{name}");
        assert!(picture.1.contains("content-type: image/jpeg"), "{name}");
    }
    let (status, log) = service.terminate();
    assert_eq!(status, Some(0), "{log}");
    assert!(
        !log.contains("geheim") && !log.contains("schau") && !log.contains("p@ss"),
        "{log}"
    );
}

#[test]
fn requests_are_answered_as_the_documentation_says() {
    let nobody = format!("rtsp://guard:geheim@127.0.0.1:{}/cam?password=geheim", free_port());
    let config = format!("# kept\n[camera.a]\naddress = '{nobody}'\nratio = 4 # kept too\n");
    let (manager, socket) = common::manager();
    let environment = [
        ("TOKEN", TOKEN),
        ("NOTIFY_SOCKET", socket.as_str()),
        ("WATCHDOG_USEC", "400000"),
    ];
    let service = Service::start(&config, &environment);
    service.wait("/readyz", 200);
    common::told(&manager, "READY=1");
    common::told(&manager, "WATCHDOG=1");
    let with = authorization();
    let wrong = "Authorization: Bearer 0123456789abcdef0123456789abcdeF\r\n";
    let large = format!("{with}X: {}\r\n", "x".repeat(1 << 20));
    let body = format!("{{\"ratio\": {}}}", " ".repeat(1 << 20));
    for (method, path, headers, body, status, expected) in [
        ("GET", "/", "", "", 200, "<!doctype html>"),
        ("GET", "/page.js", "", "", 200, ""),
        ("GET", "/healthz", "", "", 200, "healthy"),
        ("GET", "/metrics", "", "", 200, "uretinex_up{camera=\"a\"} 0"),
        ("GET", "/api/cameras", "", "", 200, "\"name\":\"a\""),
        ("GET", "/api/cameras/b", "", "", 404, "no camera"),
        ("GET", "/api/cameras/a/after.jpg", "", "", 503, "no frame"),
        ("GET", "/api/cameras/a/after.jpg?width=-1", "", "", 400, "error"),
        ("GET", "/api/cameras/a/during.jpg", "", "", 404, "before.jpg"),
        ("GET", "/etc/passwd", "", "", 404, "nothing here"),
        ("GET", "/../../etc/passwd", "", "", 404, "nothing here"),
        ("GET", "/api/cameras/..%2f..%2fetc%2fpasswd", "", "", 404, "no camera"),
        ("GET", "/page.js/../../Cargo.toml", "", "", 404, "nothing here"),
        ("GET", "/", large.as_str(), "", 431, ""),
        ("DELETE", "/api/cameras/a", with.as_str(), "", 405, "error"),
        (
            "PATCH",
            "/api/cameras/a",
            "",
            "{\"ratio\": 5}",
            401,
            "token is missing or wrong",
        ),
        (
            "PATCH",
            "/api/cameras/a",
            wrong,
            "{\"ratio\": 5}",
            401,
            "token is missing or wrong",
        ),
        (
            "POST",
            "/api/cameras/a/save",
            wrong,
            "",
            401,
            "token is missing or wrong",
        ),
        (
            "POST",
            "/api/cameras/a/call",
            wrong,
            "",
            401,
            "token is missing or wrong",
        ),
        ("PATCH", "/api/cameras/a", &with, "{\"ratio\": 50}", 422, "from 1 to 20"),
        (
            "PATCH",
            "/api/cameras/a",
            &with,
            "{\"colour\": 1}",
            422,
            "unknown field",
        ),
        ("PATCH", "/api/cameras/a", &with, "{", 422, "error"),
        ("PATCH", "/api/cameras/a", &with, &body, 413, ""),
        ("PATCH", "/api/cameras/b", &with, "{}", 404, "no camera"),
        (
            "PATCH",
            "/api/cameras/a",
            &with,
            "{\"ratio\": 5, \"strength\": 0.5}",
            200,
            "\"ratio\":5.0",
        ),
        ("GET", "/api/cameras/a", "", "", 200, "\"saved\":false"),
        ("POST", "/api/cameras/a/save", &with, "", 200, "\"saved\":true"),
        ("POST", "/api/cameras/a/call", &with, "", 204, ""),
        ("GET", "/api/cameras", "Host: evil.example\r\n", "", 421, "hosts"),
    ] {
        let (found, answer) = service.request(method, path, headers, body);
        assert_eq!(found, status, "{method} {path} {:.80}: {answer}", headers);
        assert!(answer.contains(expected), "{method} {path}: {answer}");
        assert!(
            !answer.contains("geheim") && !answer.contains(TOKEN),
            "{method} {path}: {answer}"
        );
        if found != 431 {
            assert!(
                answer.contains("content-security-policy: default-src 'none'"),
                "{answer}"
            );
        }
    }
    // 64 connections have a place; those beyond are told so, and a place that is left is free again.
    assert_eq!(service.connect(200), 200 - 64);
    service.wait("/healthz", 200);
    let saved = std::fs::read_to_string(&service.file).unwrap();
    assert!(
        saved.contains("# kept\n") && saved.contains("ratio = 5.0 # kept too\nstrength = 0.5\n"),
        "{saved}"
    );
    let (status, log) = service.terminate();
    assert_eq!(status, Some(0), "{log}");
    assert!(
        log.contains("camera a:") && !log.contains("geheim") && !log.contains(TOKEN),
        "{log}"
    );
}

#[test]
fn nothing_starts_half() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap();
    let camera = "[camera.a]\naddress = 'rtsp://127.0.0.1:1/a'\n";
    for (config, arguments, status, expected) in [
        (
            format!("{camera}ratio = 0.5\n"),
            &["--check"][..],
            1,
            "line 3: .*from 1 to 20",
        ),
        (format!("{camera}ratio = 0.5\n"), &[], 1, "line 3: .*from 1 to 20"),
        (camera.to_owned(), &["--check"], 0, "nothing wrong, cameras: 1"),
        (
            format!("{camera}[http]\nlisten = '{taken}'\n"),
            &[],
            1,
            r"cannot listen on .*\[http\] listen",
        ),
        (
            format!("{camera}[http]\nlisten = '127.0.0.1:0'\n[rtsp]\nlisten = '{taken}'\n"),
            &[],
            1,
            r"cannot listen on .*\[rtsp\] listen",
        ),
    ] {
        let (found, text) = common::run(&config, arguments, Duration::from_secs(30));
        assert_eq!(found, Some(status), "{config}{arguments:?}: {text}");
        assert!(common::matches(&text, expected), "{config}{arguments:?}: {text}");
    }
}
