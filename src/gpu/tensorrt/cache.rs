//! The folder in which engines are kept from one run to the next.
//!
//! A file is written under a temporary name and renamed, so none is ever half there; two processes that want the same
//! engine take turns by a lock, and the second finds what the first has built. A folder that cannot be written to
//! costs a warning, not the engine.

#[cfg(test)]
mod tests;

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use std::{fs, io};

use crate::backend::Phase;
use crate::error::{Error, ErrorKind, Result};
use crate::gpu::tensorrt::file::{self, Key};

/// The environment variable with the cache's folder.
pub const CACHE_VARIABLE: &str = "URETINEX_ENGINE_CACHE";

const ENGINE: &str = "engine";
const TIMING: &str = "timing";
const LOCK: &str = "lock";
const PART: &str = "part";

/// How often a waiting process looks, and how often it says so.
const LOOK: Duration = Duration::from_millis(100);
const TELL: u32 = 10;

/// The folder with built engines, and what is in it.
#[derive(Debug, Clone)]
pub struct EngineCache {
    folder: PathBuf,
}

/// A file of the cache.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CacheEntry {
    /// The file.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// What it holds, or what is wrong with it.
    pub contents: std::result::Result<CacheContents, String>,
}

/// What a whole file of the cache holds.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheContents {
    /// `engine` or `timing` (what earlier builds have measured).
    pub kind: String,
    /// Model pack and subnetwork; empty for `timing`.
    pub network: String,
    /// `fp32`, `fp16`, or `fp16w` for 16 bits with inputs and outputs of 32; empty for `timing`.
    pub precision: String,
    /// Smallest, best and largest size; empty for `timing`.
    pub sizes: String,
    /// The version of TensorRT.
    pub tensorrt: String,
    /// Name and compute capability of the GPU.
    pub gpu: String,
}

/// Name and key of a file.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub name: String,
    pub key: Key,
}

impl Place {
    /// An engine's: `stem` is for people, the digest of the key makes the name its own.
    pub fn engine(stem: &str, key: Key) -> Self {
        Self {
            name: format!("{}-{}.{ENGINE}", plain(stem), key.digest()),
            key,
        }
    }

    /// A timing cache's.
    pub fn timing(stem: &str, key: Key) -> Self {
        Self {
            name: format!("{}-{}.{TIMING}", plain(stem), key.digest()),
            key,
        }
    }
}

/// A text as a part of a file name.
fn plain(text: &str) -> String {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || "-.".contains(c) {
            c
        } else {
            '_'
        }
    };
    text.chars()
        .take(80)
        .map(plain)
        .collect::<String>()
        .trim_start_matches('.')
        .to_string()
}

/// Is told which phase begins, and ends the work with an error.
pub(crate) type Tell<'a> = dyn FnMut(Phase) -> Result<()> + Send + 'a;

/// A lock that is held until it is dropped; none where the folder cannot have one.
#[derive(Debug)]
pub(crate) struct Lock {
    _held: Option<File>,
}

impl EngineCache {
    /// The cache in `folder`, or without one in that of the environment variable [`CACHE_VARIABLE`], in
    /// `$XDG_CACHE_HOME/uretinex/engines` or in `~/.cache/uretinex/engines`. The folder need not exist.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] if none of these is given.
    pub fn new(folder: Option<&Path>) -> Result<Self> {
        let variable = |name| std::env::var_os(name).map(PathBuf::from);
        Self::choose(
            folder.map(Path::to_path_buf),
            variable(CACHE_VARIABLE),
            variable("XDG_CACHE_HOME"),
            variable("HOME"),
        )
    }

    fn choose(
        option: Option<PathBuf>,
        variable: Option<PathBuf>,
        xdg: Option<PathBuf>,
        home: Option<PathBuf>,
    ) -> Result<Self> {
        let given = |path: &PathBuf| !path.as_os_str().is_empty();
        // By the XDG specification a relative path there is to be ignored.
        let user = xdg
            .filter(|p| p.is_absolute())
            .or_else(|| Some(home.filter(given)?.join(".cache")));
        let folder = option
            .filter(given)
            .or_else(|| variable.filter(given))
            .or_else(|| Some(user?.join("uretinex/engines")))
            .ok_or_else(|| {
                Error::new(
                    ErrorKind::InvalidOption,
                    format!("no folder for engines: neither {CACHE_VARIABLE}, XDG_CACHE_HOME nor HOME is set; set one"),
                )
            })?;
        Ok(Self { folder })
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// All engines and timing caches, whole or not, by name. Empty if there is no folder.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] if the folder is there but cannot be read.
    pub fn entries(&self) -> Result<Vec<CacheEntry>> {
        let mut entries = Vec::new();
        for path in self.files(&[ENGINE, TIMING])? {
            let read = fs::read(&path);
            let bytes = read.as_ref().map_or(0, |bytes| bytes.len() as u64);
            let contents = read.map_err(|e| e.to_string()).and_then(file::read).map(|(key, _)| {
                let field = |name: &str| key.get(name).unwrap_or_default().to_string();
                CacheContents {
                    kind: field("kind"),
                    network: field("network"),
                    precision: field("precision"),
                    sizes: field("sizes"),
                    tensorrt: field("tensorrt"),
                    gpu: field("gpu"),
                }
            });
            entries.push(CacheEntry { path, bytes, contents });
        }
        Ok(entries)
    }

    /// Removes all files of the cache, and nothing else that lies there; says how many and of how many bytes.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] if the folder cannot be read or a file in it cannot be removed.
    pub fn clear(&self) -> Result<(usize, u64)> {
        let (mut count, mut bytes) = (0, 0);
        for path in self.files(&[ENGINE, TIMING, LOCK, PART])? {
            let size = fs::metadata(&path).map_or(0, |m| m.len());
            match fs::remove_file(&path) {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(e) => return Err(unusable(&path, "removed", e)),
            }
            if has_extension(&path, &[ENGINE, TIMING]) {
                (count, bytes) = (count + 1, bytes + size);
            }
        }
        Ok((count, bytes))
    }

    fn files(&self, extensions: &[&str]) -> Result<Vec<PathBuf>> {
        let listed = match fs::read_dir(&self.folder) {
            Ok(listed) => listed.collect::<io::Result<Vec<_>>>(),
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => Err(e),
        };
        let mut paths: Vec<_> = listed
            .map_err(|e| unusable(&self.folder, "read", e))?
            .iter()
            .map(fs::DirEntry::path)
            .filter(|path| has_extension(path, extensions) && path.is_file())
            .collect();
        paths.sort();
        Ok(paths)
    }

    /// The body of a file, if it is there, whole, and for this key; else what is wrong with it, if it is there.
    pub(crate) fn load(&self, place: &Place) -> std::result::Result<Vec<u8>, Option<String>> {
        match fs::read(self.folder.join(&place.name)) {
            Ok(bytes) => match file::read(bytes) {
                Ok((key, body)) if key == place.key => Ok(body),
                Ok(_) => Err(Some("it was made for something else".into())),
                Err(fault) => Err(Some(fault)),
            },
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Err(None),
            Err(e) => Err(Some(e.to_string())),
        }
    }

    /// Keeps a body. If that fails, the folder is as it was, but for a warning.
    pub(crate) fn store(&self, place: &Place, body: &[u8]) {
        if let Err(e) = self.write(place, body) {
            log::warn!(
                "{} cannot be kept and will be made anew next time: {e}; let {} be writable and have room, or choose \
                 another folder with {CACHE_VARIABLE}",
                place.name,
                self.folder.display()
            );
        }
    }

    fn write(&self, place: &Place, body: &[u8]) -> io::Result<()> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        fs::create_dir_all(&self.folder)?;
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let part = self
            .folder
            .join(format!(".{}.{}-{n}.{PART}", place.name, std::process::id()));
        let write = || {
            let mut file = OpenOptions::new().write(true).create_new(true).open(&part)?;
            file.write_all(&file::head(&place.key, body))?;
            file.write_all(body)?;
            // A full disk may show no earlier than here.
            file.sync_all()?;
            fs::rename(&part, self.folder.join(&place.name))
        };
        let written = write();
        if written.is_err() {
            let _ = fs::remove_file(&part);
        }
        written
    }

    /// Waits until no other process or thread has the lock of that name. `waiting` is asked once a second and ends the
    /// wait with an error. Where the folder cannot have locks, there is none.
    pub(crate) fn lock(&self, name: &str, waiting: &mut dyn FnMut() -> Result<()>) -> Result<Lock> {
        let path = self.folder.join(format!("{}.{LOCK}", plain(name)));
        let open = || {
            fs::create_dir_all(&self.folder)?;
            OpenOptions::new().write(true).create(true).truncate(false).open(&path)
        };
        let file = match open() {
            Ok(file) => file,
            Err(e) => {
                log::debug!("no lock {}: {e}", path.display());
                return Ok(Lock { _held: None });
            }
        };
        for round in 0u32.. {
            match file.try_lock() {
                Ok(()) => return Ok(Lock { _held: Some(file) }),
                Err(TryLockError::WouldBlock) => {
                    if round % TELL == 0 {
                        waiting()?;
                    }
                    std::thread::sleep(LOOK);
                }
                Err(TryLockError::Error(e)) => {
                    log::warn!(
                        "{} cannot be locked ({e}); another process may build the same engine",
                        path.display()
                    );
                    break;
                }
            }
        }
        Ok(Lock { _held: None })
    }

    /// What is in the cache at `place`, or what `build` makes, which is then kept there. `read` turns a body into what
    /// is wanted; a body from the cache that it refuses is built anew.
    ///
    /// # Errors
    /// Those of `build`, of `read` on what was built, and of `phase`, which is told what begins, and handed to `build`.
    pub(crate) fn obtain<T>(
        cache: Option<&EngineCache>,
        place: &Place,
        lock: &str,
        read: &mut dyn FnMut(Vec<u8>) -> Result<T>,
        build: &mut dyn FnMut(&mut Tell<'_>) -> Result<Vec<u8>>,
        phase: &mut Tell<'_>,
    ) -> Result<T> {
        phase(Phase::Loading)?;
        // What is wanted; or that there is nothing right, and why; or that the GPU has no room for it.
        let mut kept = |cache: &EngineCache| match cache.load(place).map(&mut *read) {
            Ok(Ok(wanted)) => Ok(Ok(wanted)),
            Ok(Err(e)) if e.kind() == ErrorKind::OutOfMemory => Err(e),
            Ok(Err(refusal)) => Ok(Err(Some(refusal.to_string()))),
            Err(fault) => Ok(Err(fault)),
        };
        let mut _lock = None;
        if let Some(cache) = cache {
            match kept(cache)? {
                Ok(wanted) => return Ok(wanted),
                Err(Some(fault)) => log::warn!("{} is made anew: {fault}", cache.folder.join(&place.name).display()),
                Err(None) => {}
            }
            _lock = Some(cache.lock(lock, &mut || phase(Phase::Waiting))?);
            // Whoever had the lock before may have built it.
            if let Ok(wanted) = kept(cache)? {
                return Ok(wanted);
            }
        }
        phase(Phase::Building)?;
        let body = build(phase)?;
        if let Some(cache) = cache {
            cache.store(place, &body);
        }
        read(body)
    }
}

fn has_extension(path: &Path, extensions: &[&str]) -> bool {
    path.extension()
        .and_then(|e| e.to_str())
        .is_some_and(|e| extensions.contains(&e))
}

fn unusable(path: &Path, what: &str, e: io::Error) -> Error {
    Error::new(
        ErrorKind::InvalidOption,
        format!(
            "{} cannot be {what}: choose another folder, or mend its permissions",
            path.display()
        ),
    )
    .with_source(e)
}
