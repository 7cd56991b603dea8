//! Settings written back into the configuration: the values alone change, comments and order stay.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use toml_edit::{DocumentMut, Item, Value};

use crate::live::{Daylight, Deadline, Live};

/// Writes a camera's settings into the file at `path`, which is replaced as a whole.
///
/// # Errors
/// The file cannot be read or is broken, has no such camera, or cannot be written: the message says which, and it is as it
/// was.
pub fn save(path: &Path, camera: &str, live: &Live) -> Result<(), String> {
    let named = |what: &dyn std::fmt::Display| format!("{}: {what}", path.display());
    // A link stays a link.
    let path = &fs::canonicalize(path).map_err(|e| named(&e))?;
    let text = fs::read_to_string(path).map_err(|e| named(&e))?;
    let text = edited(&text, camera, live).map_err(|e| named(&e))?;
    let mode = fs::metadata(path).map_err(|e| named(&e))?.permissions().mode() & 0o7777;
    let folder = path.parent().unwrap_or(Path::new("/"));
    let part = folder.join(format!(".uretinex-service.{}.part", std::process::id()));
    let write = || {
        let _ = fs::remove_file(&part);
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&part)?;
        file.write_all(text.as_bytes())?;
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.sync_all()?;
        fs::rename(&part, path)?;
        fs::File::open(folder)?.sync_all()
    };
    write().map_err(|e| {
        let _ = fs::remove_file(&part);
        named(&format!(
            "{e}; the service needs the right to write to {}",
            folder.display()
        ))
    })
}

/// The text with other values of a camera's settings. A key that is not there is added only if its value is another than
/// what holds without it.
fn edited(text: &str, camera: &str, live: &Live) -> Result<String, String> {
    let mut document: DocumentMut = text.parse().map_err(|e: toml_edit::TomlError| e.message().to_owned())?;
    let table = document
        .get_mut("camera")
        .and_then(|cameras| cameras.get_mut(camera))
        .and_then(Item::as_table_like_mut)
        .ok_or_else(|| format!("there is no [camera.{camera}] any more: reload the configuration"))?;
    let standard = Live::default();
    let number = |number: f32| Value::from((f64::from(number) * 1e4).round() / 1e4);
    let daylight = |daylight| match daylight {
        Daylight::Bypass => "bypass",
        Daylight::Enhance => "enhance",
    };
    let deadline = match live.deadline {
        Deadline::Automatic => Value::from("auto"),
        Deadline::Off => Value::from("off"),
        Deadline::Milliseconds(milliseconds) => Value::from(i64::from(milliseconds)),
    };
    let ratio = match live.ratio == standard.ratio {
        true => Value::from("auto"),
        false => number(live.ratio),
    };
    for (key, value, is_standard) in [
        ("ratio", ratio, live.ratio == standard.ratio),
        (
            "brightness",
            number(live.brightness),
            live.brightness == standard.brightness,
        ),
        ("strength", number(live.strength), live.strength == standard.strength),
        ("temporal", number(live.temporal), live.temporal == standard.temporal),
        ("enabled", Value::from(live.enabled), live.enabled == standard.enabled),
        (
            "daylight",
            Value::from(daylight(live.daylight)),
            live.daylight == standard.daylight,
        ),
        ("deadline", deadline, live.deadline == standard.deadline),
    ] {
        match table.get_mut(key).and_then(Item::as_value_mut) {
            Some(present) => {
                // Comments and spaces around the value are its decoration.
                let decor = present.decor().clone();
                *present = value;
                *present.decor_mut() = decor;
            }
            None if is_standard => {}
            None => {
                table.insert(key, Item::Value(value));
            }
        }
    }
    Ok(document.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# all cameras\n[camera.yard]\naddress = \"rtsp://a\" # by the gate\nratio = 4 # as the guard likes it\n\
                        \n[camera.street]\n# none yet\naddress = \"rtsp://b\"\n";

    #[test]
    fn values_change_and_comments_stay() {
        let live = Live {
            ratio: 2.5,
            strength: 0.8,
            enabled: false,
            ..Live::default()
        };
        let expected = "# all cameras\n[camera.yard]\naddress = \"rtsp://a\" # by the gate\nratio = 2.5 # as the guard likes it\n\
                        strength = 0.8\nenabled = false\n\n[camera.street]\n# none yet\naddress = \"rtsp://b\"\n";
        assert_eq!(edited(FILE, "yard", &live).unwrap(), expected);
        let back = edited(expected, "yard", &Live::default()).unwrap();
        assert!(
            back.contains("ratio = \"auto\" # as the guard likes it\nstrength = 1.0\nenabled = true\n"),
            "{back}"
        );
        assert_eq!(edited(FILE, "street", &Live::default()).unwrap(), FILE);
        let inline = "camera = { yard = { address = 'rtsp://a', ratio = 4 } }\n";
        let found = edited(inline, "yard", &live).unwrap();
        assert!(
            toml::from_str::<toml::Table>(&found).is_ok() && found.contains("ratio = 2.5"),
            "{found}"
        );
        for (text, camera) in [(FILE, "gate"), ("broken = [", "yard"), ("camera = 1", "yard")] {
            assert!(edited(text, camera, &live).is_err(), "{text}");
        }
    }

    #[test]
    fn the_file_keeps_its_mode_and_a_failure_leaves_it_alone() {
        let folder = std::env::temp_dir().join(format!("uretinex-save-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("service.toml");
        fs::write(&path, FILE).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let live = Live {
            ratio: 2.0,
            ..Live::default()
        };
        save(&path, "yard", &live).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        assert!(fs::read_to_string(&path).unwrap().contains("ratio = 2.0 #"));
        assert!(save(&path, "gate", &live).unwrap_err().contains("[camera.gate]"));
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        fs::remove_dir_all(&folder).unwrap();
    }
}
