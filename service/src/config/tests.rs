use super::*;

/// GStreamer and the element, as the program starts them.
fn start() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        gst::init().unwrap();
        gsturetinex::plugin_register_static().unwrap();
    });
}

fn parse(text: &str) -> Result<Config, String> {
    start();
    Config::parse(text, &std::env::temp_dir())
}

const CAMERA: &str = "[camera.a]\naddress = 'rtsp://c'\n";

#[test]
fn what_is_wrong_is_named_with_its_line_or_key() {
    let with = |line: &str| format!("{CAMERA}{line}\n");
    for (text, expected) in [
        (String::new(), vec!["there is no camera", "[camera.NAME]"]),
        ("[camera.a]\n".into(), vec!["line 1", "missing field `address`"]),
        ("[camera.a]\naddress = 'http://c'\n".into(), vec!["line 2", "rtsp://"]),
        (
            "[camera.a]\naddress = 'rtsp://u:geheim@'\n".into(),
            vec!["line 2", "names a host"],
        ),
        (
            "[camera.'a b']\naddress = 'rtsp://c'\n".into(),
            vec!["\"a b\"", "letters, digits"],
        ),
        ("[camera.a]\naddress = 'rtsp://c\n".into(), vec!["line 2"]),
        (with("ratoi = 4"), vec!["line 3", "unknown field `ratoi`", "`ratio`"]),
        (
            with("password = 'geheim'"),
            vec!["line 3", "unknown field `password`", "`password-file`"],
        ),
        (with("ratio = 0.5"), vec!["line 3", "0.5", "from 1 to 20"]),
        (with("ratio = 'bright'"), vec!["line 3", "\"auto\" or a number"]),
        (with("brightness = 2"), vec!["line 3", "from -1 to 1"]),
        (with("strength = -0.1"), vec!["line 3", "from 0 to 1"]),
        (with("temporal = nan"), vec!["line 3", "from 0 to 1"]),
        (with("deadline = 0"), vec!["line 3", "\"off\" or milliseconds"]),
        (with("deadline = 1.5"), vec!["line 3", "milliseconds from 1 to 10000"]),
        (with("daylight = 'off'"), vec!["line 3", "`bypass` or `enhance`"]),
        (with("protocol = 'http'"), vec!["line 3", "`tcp` or `udp`"]),
        (with("encoder = 'x265'"), vec!["line 3", "\"x264\", \"nvh264\""]),
        (with("latency = -1"), vec!["line 3", "0 to 10000 milliseconds"]),
        (with("silence = 1"), vec!["line 3", "2 to 600 seconds"]),
        (with("bitrate = 3"), vec!["line 3", "64 to 100000"]),
        (with("audio = 'yes'"), vec!["line 3", "boolean"]),
        (with("password-env = 'HOME'"), vec!["[camera.a]", "add user"]),
        (
            with("user = 'u'\npassword-env = 'URETINEX_NO_SUCH'"),
            vec!["[camera.a]", "URETINEX_NO_SUCH is not set"],
        ),
        (
            with("user = 'u'\npassword-file = 'uretinex-none'"),
            vec!["[camera.a]", "uretinex-none: No such file"],
        ),
        (
            with("password-file = 'f'\npassword-env = 'E'"),
            vec!["[camera.a]", "keep one of them"],
        ),
        (with("element.max-pixels = -4"), vec!["element.max-pixels", "\"-4\""]),
        (
            with("element.max-pixels = 99999999"),
            vec!["element.max-pixels", "pixels of a frame"],
        ),
        (
            with("element.max-pixel = 4"),
            vec!["element.max-pixel:", "no such property"],
        ),
        (with("element.ratio = 4"), vec!["element.ratio", "key of its own"]),
        (with("element.stats = 4"), vec!["element.stats", "no such property"]),
        (
            with("element.backend = 'abacus'"),
            vec!["element.backend", "\"abacus\""],
        ),
        (
            with("element.threads = [1]"),
            vec!["element.threads", "a string, a number"],
        ),
        (
            format!("{CAMERA}[http]\nlisten = '8080'\n"),
            vec!["line 4", "socket address"],
        ),
        (
            format!("{CAMERA}[http]\nlisten = '0.0.0.0:80'\n"),
            vec!["[http]", "token-file", "open-reading"],
        ),
        (
            format!("{CAMERA}[http]\ntoken-env = 'URETINEX_NO_SUCH'\n"),
            vec!["[http]", "URETINEX_NO_SUCH"],
        ),
        (
            format!("{CAMERA}[http]\ntoken-env = 'PWD'\ntoken-file = 'f'\n"),
            vec!["[http]", "keep one of them"],
        ),
        // Cargo sets it for tests.
        (
            format!("{CAMERA}[http]\ntoken-env = 'CARGO_PKG_VERSION'\n"),
            vec!["[http]", "fewer than 16 characters"],
        ),
        (
            format!("{CAMERA}[rtsp]\nuser = 'v'\n"),
            vec!["[rtsp]", "add password-file"],
        ),
        (format!("{CAMERA}[rtps]\n"), vec!["line 3", "unknown field `rtps`"]),
        (format!("{CAMERA}{CAMERA}"), vec!["line 3", "duplicate key"]),
    ] {
        let error = parse(&text).unwrap_err();
        for part in expected {
            assert!(error.contains(part), "{text}\n{error}\nhas no {part}");
        }
        assert!(!error.contains("geheim"), "{text}\n{error}");
    }
}

#[test]
fn a_camera_with_nothing_said_has_the_defaults() {
    let config = parse(CAMERA).unwrap();
    assert_eq!(config.http.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.rtsp.listen.to_string(), "127.0.0.1:8554");
    assert!(config.http.open_reading && config.http.token.is_none() && config.rtsp.viewer.is_none());
    let camera = &config.cameras["a"];
    assert_eq!(
        (&camera.live, camera.source.protocol),
        (&Live::default(), Protocol::Tcp)
    );
    // The element's own defaults are the same.
    let element = gst::ElementFactory::make("uretinexenhance").build().unwrap();
    let before = Live::PROPERTIES.map(|name| element.property_value(name).serialize().unwrap());
    camera.live.apply(&element);
    assert_eq!(
        before,
        Live::PROPERTIES.map(|name| element.property_value(name).serialize().unwrap())
    );
}

#[test]
fn all_that_can_be_said_arrives() {
    let folder = std::env::temp_dir();
    std::fs::write(folder.join("uretinex-config-test"), "p@ss#w:rd\nsecond line\n").unwrap();
    std::fs::write(folder.join("uretinex-config-test-token"), "0123456789abcdef").unwrap();
    let text = "
        [http]
        listen = '[::1]:9000'
        hosts = ['cams.example']
        open-reading = false
        token-file = 'uretinex-config-test-token'
        [rtsp]
        listen = '0.0.0.0:8555'
        user = 'viewer'
        password-file = 'uretinex-config-test'
        [camera.yard]
        address = 'rtsp://other:x@192.168.1.20:554/cam?channel=1&subtype=0'
        user = 'guard'
        password-file = 'uretinex-config-test'
        protocol = 'udp'
        latency = 500
        silence = 20
        audio = false
        encoder = ['vah264', 'x264']
        bitrate = 4000
        ratio = 4
        brightness = -0.5
        strength = 0.9
        temporal = 0
        enabled = true
        daylight = 'enhance'
        deadline = 40
        element = { max-pixels = 100000, regions = '0,0,480,60', qos = false }
        [camera.gate]
        address = 'rtsp://guard:p@ss@gate/'
        ratio = 'auto'
        deadline = 'off'
    ";
    let config = parse(text).unwrap();
    let yard = &config.cameras["yard"];
    assert_eq!(yard.source.location, "rtsp://192.168.1.20:554/cam?channel=1&subtype=0");
    assert_eq!(
        (yard.source.host(), yard.source.user.as_deref()),
        ("rtsp://192.168.1.20:554", Some("guard"))
    );
    assert_eq!(yard.source.password.as_ref().map(Secret::expose), Some("p@ss#w:rd"));
    assert_eq!(yard.source.encoders, [Encoder::Vah264, Encoder::X264]);
    assert_eq!(yard.source.element["regions"], "0,0,480,60");
    let live = &yard.live;
    assert_eq!(
        (live.ratio, live.brightness, live.temporal, live.deadline),
        (4.0, -0.5, 0.0, Deadline::Milliseconds(40))
    );
    assert_eq!(
        config.cameras["gate"].source.password.as_ref().map(Secret::expose),
        Some("p@ss")
    );
    // Not even in what programmers see.
    assert!(!format!("{config:?}").contains("p@ss"));
    let message = yard
        .source
        .without_path("no answer from rtsp://192.168.1.20:554/cam?channel=1&subtype=0");
    assert_eq!(message, "no answer from rtsp://192.168.1.20:554...");
}

#[test]
fn every_key_is_in_the_documentation() {
    let documentation = include_str!("../../../docs/service.md");
    for (text, place) in [
        (format!("{CAMERA}none = 1\n"), ""),
        (format!("{CAMERA}[http]\nnone = 1\n"), " in `[http]`"),
        (format!("{CAMERA}[rtsp]\nnone = 1\n"), " in `[rtsp]`"),
    ] {
        let error = parse(&text).unwrap_err();
        let keys: Vec<_> = error
            .split("expected one of ")
            .nth(1)
            .expect("the keys")
            .split('`')
            .skip(1)
            .step_by(2)
            .collect();
        assert!(keys.len() >= 4, "{error}");
        for key in keys {
            let mut rows = documentation.lines().filter(|line| line.starts_with("| `"));
            let named = rows.any(|row| {
                let first = row.split(" | ").next().unwrap_or_default();
                first.contains(&format!("`{key}`"))
                    && first.contains("` in `[") != place.is_empty()
                    && first.contains(place)
            });
            assert!(named, "docs/service.md has no row for {key}{place}");
        }
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named_with_the_remedy() {
    start();
    let folder = std::env::temp_dir().join(format!("uretinex-unreadable-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("binary.toml"), [0xff, 0xfe, 0]).unwrap();
    for (path, expected) in [
        (
            "none.toml",
            ["none.toml: No such file", "docs/service.md", "--config FILE"],
        ),
        (
            "none/none.toml",
            ["none/none.toml: No such file", "docs/service.md", "--config FILE"],
        ),
        ("", ["Is a directory", "name a file", "--config FILE"]),
        ("binary.toml/x", ["Not a directory", "name a file", "--config FILE"]),
        ("binary.toml", ["binary.toml", "UTF-8", "TOML"]),
    ] {
        let error = Config::read(&folder.join(path)).unwrap_err();
        assert!(expected.iter().all(|part| error.contains(part)), "{path}: {error}");
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn the_example_is_right_and_shows_the_defaults() {
    start();
    let folder = std::env::temp_dir().join(format!("uretinex-example-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    for file in ["token", "yard.password", "viewer.password"] {
        std::fs::write(folder.join(file), "0123456789abcdef\n").unwrap();
    }
    let text = include_str!("../../example.toml");
    let config = Config::parse(text, &folder).unwrap();
    // With what is commented out, but for what has no default.
    let keys = text.lines().map(|line| match line.strip_prefix("# ") {
        Some(key) if key.contains(" = ") && !key.starts_with("element") => key,
        _ => line,
    });
    let all = Config::parse(&keys.collect::<Vec<_>>().join("\n"), &folder).unwrap();
    assert_eq!((&config.http, &config.cameras), (&all.http, &all.cameras));
    assert!(all.rtsp.viewer.is_some() && all.rtsp.listen == config.rtsp.listen);
    std::fs::remove_dir_all(&folder).unwrap();
}
