//! Shared libraries of other vendors, opened at run time.
#![allow(unsafe_code)]

use std::fmt;
use std::path::{Path, PathBuf};

use libloading::{Library, Symbol};

/// A shared library that was looked for.
#[derive(Debug, Clone)]
pub struct SharedLibrary {
    /// The names tried, in their order.
    pub names: &'static [&'static str],
    /// The first of them that could be opened.
    pub found: Option<&'static str>,
    /// The file behind it, where the system tells.
    pub path: Option<PathBuf>,
    /// What the loader said of each name that it could not open.
    pub refusals: Vec<String>,
}

/// Where the dynamic loader looks.
pub fn search_path() -> String {
    match std::env::var("LD_LIBRARY_PATH") {
        Ok(path) if !path.is_empty() => {
            format!("LD_LIBRARY_PATH={path} and the system's library folders (ldconfig -p)")
        }
        _ => "the system's library folders (ldconfig -p); LD_LIBRARY_PATH is not set".into(),
    }
}

impl SharedLibrary {
    /// Opens the first of `names` that is there. It stays open until the process ends.
    pub fn find(names: &'static [&'static str]) -> Self {
        open(&[], names).0
    }

    /// One that nobody has looked for, because what it belongs to is not there.
    pub(crate) fn not_looked_for(names: &'static [&'static str]) -> Self {
        Self {
            names,
            found: None,
            path: None,
            refusals: Vec::new(),
        }
    }

    /// The library that is missing, of those that the loader named: the one looked for, or one that it needs.
    pub(crate) fn missing(&self) -> Option<&str> {
        let refusal = self
            .refusals
            .iter()
            .find_map(|text| text.split_once(": cannot open shared object file"));
        refusal.map(|(name, _)| name.rsplit('/').next().unwrap_or(name).trim())
    }
}

impl fmt::Display for SharedLibrary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.path, self.found) {
            (Some(path), Some(_)) => write!(f, "{}", path.display()),
            (None, Some(name)) => f.write_str(name),
            (_, None) => write!(f, "no {}", self.names.join(", ")),
        }
    }
}

/// Opens the first of `names` that is there: in the first of `folders` that has it, or, without folders, where the
/// dynamic loader looks.
pub(crate) fn open(folders: &[PathBuf], names: &'static [&'static str]) -> (SharedLibrary, Option<&'static Library>) {
    let mut seen = SharedLibrary::not_looked_for(names);
    for &name in names {
        let places: Vec<PathBuf> = match folders {
            [] => vec![PathBuf::from(name)],
            _ => folders.iter().map(|folder| folder.join(name)).collect(),
        };
        for place in places {
            match load(&place) {
                Ok(library) => {
                    seen.found = Some(name);
                    seen.path = if place.is_absolute() {
                        Some(place)
                    } else {
                        mapped_file(name)
                    };
                    return (seen, Some(library));
                }
                Err(refusal) => seen.refusals.push(refusal),
            }
        }
    }
    (seen, None)
}

/// Opens one library, by name or path, until the process ends; or what the loader said.
pub(crate) fn load(place: &Path) -> Result<&'static Library, String> {
    // SAFETY: opening a library runs its initialisers. The names are of vendors' system libraries, made to be opened
    // at run time from any thread; they are never closed, so nothing runs at an unexpected time later.
    match unsafe { Library::new(place) } {
        Ok(library) => Ok(Box::leak(Box::new(library))),
        // What the dynamic loader said is the source of the error.
        Err(e) => Err(std::error::Error::source(&e).map_or_else(|| e.to_string(), ToString::to_string)),
    }
}

/// The file of an open library, from the process's memory map.
fn mapped_file(name: &str) -> Option<PathBuf> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let stem = name.split(".so").next().unwrap_or(name);
    maps.lines()
        .filter_map(|line| line.find('/').map(|at| PathBuf::from(&line[at..])))
        .find(|path| {
            let file = path.file_name().and_then(|f| f.to_str()).unwrap_or("");
            file.strip_prefix(stem).is_some_and(|rest| rest.starts_with(".so"))
        })
}

/// A function of an open library.
///
/// # Safety
/// `T` has to be the function pointer type of that symbol.
pub(crate) unsafe fn symbol<'a, T>(library: &'a Library, name: &str) -> Result<Symbol<'a, T>, String> {
    // SAFETY: passed on to the caller.
    unsafe { library.get(name.as_bytes()) }.map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_found_with_their_file_or_refused_with_a_reason() {
        let libc = SharedLibrary::find(&["libnot-there.so.9", "libc.so.6"]);
        assert_eq!(libc.found, Some("libc.so.6"));
        assert_eq!(libc.refusals.len(), 1);
        if cfg!(target_os = "linux") {
            assert!(libc.path.unwrap().to_string_lossy().contains("libc.so"));
        }
        let none = SharedLibrary::find(&["libnot-there.so.9"]);
        assert_eq!((none.found, none.refusals.len()), (None, 1));
        assert!(none.to_string().contains("libnot-there.so.9"));
        assert_eq!(none.missing(), Some("libnot-there.so.9"));
    }

    #[test]
    fn with_folders_nothing_is_looked_for_elsewhere() {
        let (libc, library) = open(&["/nowhere".into()], &["libc.so.6"]);
        assert!(library.is_none() && libc.found.is_none());
        assert!(libc.refusals[0].contains("/nowhere/libc.so.6"), "{:?}", libc.refusals);
        assert_eq!(libc.missing(), Some("libc.so.6"));
    }
}
