//! What the program's tests share: folders of their own, and the program as its users run it.
#![allow(dead_code)] // Each test binary uses a part.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use image::{Rgb, RgbImage};

/// A folder of its own for one test, gone at its end.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("uretinex-cli-{}-{n}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Names of the files in a sub-folder, sorted.
    pub fn names(&self, name: &str) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.path(name))
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The program, to be run in `folder`.
pub fn command(folder: &Folder, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_uretinex"));
    command.args(args).current_dir(&folder.0);
    command
}

pub fn uretinex(folder: &Folder, args: &[&str]) -> Output {
    command(folder, args).output().unwrap()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub fn assert_well(out: &Output) {
    assert!(out.status.success(), "{}{}", text(&out.stdout), text(&out.stderr));
}

/// A dark picture with some structure, wider than high.
pub fn dark() -> RgbImage {
    RgbImage::from_fn(32, 20, |x, y| {
        Rgb([(8 + x) as u8, (10 + y) as u8, ((x * y) % 23) as u8])
    })
}
