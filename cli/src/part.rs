//! Result files: each appears whole or not at all, whatever ends the program.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::{flag, low_level};

/// Bytes that are written between two looks for a signal.
const STRIDE: usize = 1 << 20;

/// Writes a file under a temporary name beside `goal`, and renames it. A signal that ends the program ends it when the
/// temporary file is gone.
///
/// # Errors
/// Those of the file system; the temporary file is removed.
pub fn write(goal: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut part = Part::create(goal)?;
    for stride in bytes.chunks(STRIDE) {
        if part.signals.pending() != 0 {
            return Err(ErrorKind::Interrupted.into());
        }
        part.file.write_all(stride)?;
    }
    part.rename(goal)
}

/// A file under a temporary name, removed unless it is renamed.
struct Part {
    file: File,
    path: Option<PathBuf>,
    signals: &'static Signals,
}

impl Part {
    /// The temporary name is short, whatever the goal's is: a folder bounds the length of names.
    fn create(goal: &Path) -> io::Result<Self> {
        let signals = Signals::get();
        signals.defer(true);
        let mut attempt = 0;
        let made = loop {
            let path = goal.with_file_name(format!(".uretinex-{}-{attempt}.part", std::process::id()));
            match File::create_new(&path) {
                // Left by a process that was killed, or another machine's on the same folder.
                Err(e) if e.kind() == ErrorKind::AlreadyExists && attempt < 100 => attempt += 1,
                Ok(file) => break Ok((file, path)),
                Err(e) => break Err(e),
            }
        };
        match made {
            Ok((file, path)) => Ok(Self {
                file,
                path: Some(path),
                signals,
            }),
            Err(e) => {
                signals.defer(false);
                Err(e)
            }
        }
    }

    fn rename(&mut self, goal: &Path) -> io::Result<()> {
        if let Some(path) = &self.path {
            fs::rename(path, goal)?;
            self.path = None;
        }
        Ok(())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            let _ = fs::remove_file(path);
        }
        self.signals.defer(false);
    }
}

/// Signals that end the program: at once, or deferred while there is a temporary file.
struct Signals {
    at_once: Arc<AtomicBool>,
    /// The signal that came while they were deferred; 0 is none.
    came: Arc<AtomicUsize>,
}

impl Signals {
    fn get() -> &'static Self {
        static SIGNALS: OnceLock<Signals> = OnceLock::new();
        SIGNALS.get_or_init(|| {
            let signals = Self {
                at_once: Arc::new(AtomicBool::new(true)),
                came: Arc::new(AtomicUsize::new(0)),
            };
            for signal in [SIGHUP, SIGINT, SIGTERM].into_iter().filter(|&s| !ignored(s)) {
                // Where a signal cannot be handled it ends the program as it always does.
                let _ = flag::register_conditional_default(signal, signals.at_once.clone());
                let _ = flag::register_usize(signal, signals.came.clone(), signal as usize);
            }
            signals
        })
    }

    fn pending(&self) -> usize {
        self.came.load(Ordering::SeqCst)
    }

    /// Begins or ends the time in which signals wait. A signal that has come ends the program at its end.
    fn defer(&self, deferred: bool) {
        self.at_once.store(!deferred, Ordering::SeqCst);
        let came = self.pending();
        if !deferred && came != 0 {
            let _ = low_level::emulate_default_handler(came as i32);
        }
    }
}

/// Whether the program was started to ignore this signal, as `nohup` does; Linux says so.
fn ignored(signal: i32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;

    use super::*;

    /// The folder in which the test's second process writes, and the signal that it gets.
    const CHILD: &str = "URETINEX_TEST_PART";

    #[test]
    fn a_signal_leaves_no_part_of_a_file() {
        if let Ok(child) = std::env::var(CHILD) {
            let (signal, folder) = child.split_once(' ').expect("a signal and a folder");
            let mut part = Part::create(&Path::new(folder).join("a.png")).unwrap();
            part.file.write_all(b"half").unwrap();
            low_level::raise(signal.parse().unwrap()).unwrap();
            assert_eq!(part.signals.pending().to_string(), signal);
            drop(part);
            unreachable!("the signal ends the process");
        }
        for signal in [SIGHUP, SIGINT, SIGTERM] {
            let folder = std::env::temp_dir().join(format!("uretinex-part-{}-{signal}", std::process::id()));
            fs::create_dir_all(&folder).unwrap();
            let out = Command::new(std::env::current_exe().unwrap())
                .args([
                    "--exact",
                    "part::tests::a_signal_leaves_no_part_of_a_file",
                    "--nocapture",
                ])
                .env(CHILD, format!("{signal} {}", folder.display()))
                .output()
                .unwrap();
            let left = fs::read_dir(&folder).unwrap().count();
            fs::remove_dir_all(&folder).unwrap();
            assert_eq!(
                (out.status.signal(), left),
                (Some(signal), 0),
                "{}",
                String::from_utf8_lossy(&out.stderr)
            );
        }
    }

    #[test]
    fn names_of_any_length_and_old_parts_are_no_hindrance() {
        let folder = std::env::temp_dir().join(format!("uretinex-part-names-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(format!(".uretinex-{}-0.part", std::process::id())), "old").unwrap();
        for length in [5, 241, 255] {
            let goal = folder.join(format!("{}.png", "n".repeat(length - 4)));
            write(&goal, b"whole").unwrap_or_else(|e| panic!("{length}: {e}"));
            assert_eq!(fs::read(goal).unwrap(), b"whole", "{length}");
        }
        let left = fs::read_dir(&folder).unwrap().count();
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(left, 4);
    }
}
