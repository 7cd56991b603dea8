//! Shared libraries of the C files of this folder.

use std::path::Path;
use std::process::Command;

/// What pkg-config says.
pub fn pkg_config(arguments: &[&str]) -> String {
    let output = Command::new("pkg-config").args(arguments).output().expect("pkg-config");
    String::from_utf8(output.stdout).unwrap()
}

/// Makes a shared library of a C file of this folder.
pub fn compile(source: &str, to: &Path, flags: &[&str]) {
    let status = Command::new("cc")
        .args(["-shared", "-fPIC", "-Wall", "-Werror", "-o"])
        .arg(to)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/gstcuda").join(source))
        .args(flags)
        .status()
        .expect("a C compiler");
    assert!(status.success(), "cc {source} {flags:?}: {status}");
}
