use std::path::Path;

use super::*;

fn config(text: &str) -> Config {
    gst::init().unwrap();
    Config::parse(text, Path::new(".")).unwrap_or_else(|e| panic!("{text}: {e}"))
}

#[test]
fn a_reload_touches_what_has_changed_alone() {
    let old = "[camera.a]\naddress = 'rtsp://a'\n[camera.b]\naddress = 'rtsp://b'\nratio = 4\n";
    let changes = |new: &str| Changes::between(&config(old), &config(new));
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    assert_eq!(changes(&format!("# a comment\n{old}")), Changes::default());
    for (new, expected) in [
        (
            old.replace("ratio = 4", "ratio = 5"),
            Changes {
                retuned: names(&["b"]),
                ..Changes::default()
            },
        ),
        (
            old.replace("rtsp://b", "rtsp://c"),
            Changes {
                restarted: names(&["b"]),
                ..Changes::default()
            },
        ),
        (
            old.replace("ratio = 4", "ratio = 5\nsilence = 5"),
            Changes {
                restarted: names(&["b"]),
                ..Changes::default()
            },
        ),
        (
            old.replace("camera.a", "camera.c"),
            Changes {
                removed: names(&["a"]),
                added: names(&["c"]),
                ..Changes::default()
            },
        ),
        (
            format!("{old}[rtsp]\nlisten = '127.0.0.1:1'\n"),
            Changes {
                not_now: vec!["[rtsp]"],
                ..Changes::default()
            },
        ),
        (format!("{old}[http]\nhosts = ['x']\n"), Changes::default()),
    ] {
        assert_eq!(changes(&new), expected, "{new}");
    }
}
