//! GStreamer, the plugin, and GStreamer's library for CUDA memory.

use std::process::Command;

use uretinex::{SharedLibrary, search_path};

use super::Finding::{self, Absent, Here};

pub fn findings() -> Vec<Finding> {
    let Some(version) = output("gst-inspect-1.0", &["--version"]) else {
        return vec![Absent(
            "gst-inspect-1.0 is not on the PATH; uretinex itself does not need it".into(),
            "apt install gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good, or make demo, which \
             installs all of them"
                .into(),
        )];
    };
    let version = version
        .lines()
        .find_map(|l| l.strip_prefix("GStreamer "))
        .unwrap_or("of unknown version")
        .to_string();
    let mut findings = vec![Here(format!("GStreamer {version}"))];
    findings.push(match output("gst-inspect-1.0", &["uretinexenhance"]) {
        Some(text) => {
            let file = text
                .lines()
                .find_map(|l| l.trim().strip_prefix("Filename"))
                .unwrap_or("")
                .trim()
                .to_string();
            Here(format!("element uretinexenhance: {file}"))
        }
        None => Absent(
            "element uretinexenhance: GStreamer does not see the plugin".into(),
            plugin_remedy(),
        ),
    });
    let library = SharedLibrary::find(&["libgstcuda-1.0.so.0"]);
    findings.push(match library.found {
        Some(_) => Here(format!("CUDA memory: {library}")),
        None => Absent(
            format!("CUDA memory: libgstcuda-1.0.so.0 is not in {}", search_path()),
            "GStreamer 1.22 or later: apt install libgstreamer-plugins-bad1.0-0 (it is of use with an NVIDIA GPU only)"
                .into(),
        ),
    });
    findings
}

/// How GStreamer finds the plugin, which may lie beside this program.
fn plugin_remedy() -> String {
    let folder = std::env::current_exe()
        .ok()
        .and_then(|exe| Some(exe.parent()?.to_path_buf()));
    match folder {
        Some(folder) if folder.join("libgsturetinex.so").exists() => {
            format!("make install, or export GST_PLUGIN_PATH={}", folder.display())
        }
        _ => "make build && make install, or set GST_PLUGIN_PATH to the folder of libgsturetinex.so; if it was \
              broken when GStreamer first saw it, remove ~/.cache/gstreamer-1.0 first"
            .into(),
    }
}

/// The output of a program that is there and succeeds.
fn output(program: &str, args: &[&str]) -> Option<String> {
    let out = Command::new(program).args(args).output().ok()?;
    out.status
        .success()
        .then(|| String::from_utf8_lossy(&out.stdout).into_owned())
}
