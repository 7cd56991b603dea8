//! A pack's files, read once and checked against its manifest.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::digest::sha256_hex;
use super::embedded::PACKS;
use super::manifest::{FileEntry, Manifest};
use super::subnetwork::Subnetwork;
use super::variant::Variant;
use crate::error::{Error, ErrorKind, Result};

/// The pack that `auto` stands for, on every backend: made for streams (docs/video.md), where most frames come from.
const AUTO: &str = "video";

/// Where a pack's files are.
#[derive(Debug, Clone)]
enum Source {
    Embedded(&'static [(&'static str, &'static [u8])]),
    Folder(PathBuf),
}

/// The contents of files.
type Files = BTreeMap<(Variant, Subnetwork), Cow<'static, [u8]>>;

/// A model pack. Its files have been read and compared with the manifest; clones share them.
#[derive(Debug, Clone)]
pub struct Pack {
    manifest: Arc<Manifest>,
    files: Arc<Files>,
    source: Source,
}

impl Pack {
    /// The names of the packs in the library.
    pub fn embedded() -> impl Iterator<Item = &'static str> {
        PACKS.iter().map(|(name, _)| *name)
    }

    /// The pack of that name in the library, or the pack in the folder of that path; `auto` is `video`.
    ///
    /// # Errors
    /// [`ErrorKind::ModelNotFound`] if there is no such pack or it cannot be read, [`ErrorKind::ModelInvalid`] if its
    /// manifest is damaged or a file is not the one that the manifest lists.
    pub fn open(name_or_path: &str) -> Result<Self> {
        let name_or_path = match name_or_path {
            "auto" | "" => AUTO,
            other => other,
        };
        match PACKS.iter().find(|(name, _)| *name == name_or_path) {
            Some((_, files)) => Self::load(Source::Embedded(files)),
            None => Self::load(Source::Folder(PathBuf::from(name_or_path))),
        }
    }

    fn load(source: Source) -> Result<Self> {
        if let Source::Folder(folder) = &source {
            check_folder(folder)?;
        }
        let text = source.read("model.toml")?;
        let manifest =
            Manifest::parse(&text).map_err(|e| Error::new(e.kind(), format!("{}: {e}", source.path("model.toml"))))?;
        let mut files = Files::new();
        for variant in manifest.variants() {
            for which in Subnetwork::ALL {
                if let Some(entry) = manifest.file(which, variant) {
                    files.insert((variant, which), source.read_checked(entry)?);
                }
            }
        }
        Ok(Self {
            manifest: Arc::new(manifest),
            files: Arc::new(files),
            source,
        })
    }

    /// The contents of `model.toml`.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The bytes of a subnetwork's ONNX file.
    ///
    /// # Errors
    /// [`ErrorKind::ModelInvalid`] if the pack does not have the variant.
    pub fn onnx(&self, which: Subnetwork, variant: Variant) -> Result<&[u8]> {
        self.files.get(&(variant, which)).map(|bytes| &**bytes).ok_or_else(|| {
            let names: Vec<_> = self.manifest.variants().map(Variant::name).collect();
            Error::new(
                ErrorKind::ModelInvalid,
                format!(
                    "model pack '{}' has no {} files, only {}: take precision={}, or make the pack again with \
                     training/convert.py",
                    self.manifest.name,
                    variant.name(),
                    names.join(", "),
                    names[0]
                ),
            )
        })
    }

    /// The path of a subnetwork's ONNX file, for messages.
    pub fn describe(&self, which: Subnetwork, variant: Variant) -> String {
        let file = self
            .manifest
            .file(which, variant)
            .map_or("", |entry| entry.file.as_str());
        self.source.path(file)
    }

    /// A digest of the schedule and of the files of a variant, equal for equal packs.
    pub fn digest(&self, variant: Variant) -> String {
        let schedule = format!("{:?}", self.manifest.schedule);
        let entry = |which| {
            self.manifest
                .file(which, variant)
                .map_or("", |entry| entry.sha256.as_str())
        };
        let digests = Subnetwork::ALL.map(entry);
        sha256_hex([schedule.as_str()].into_iter().chain(digests))
    }
}

impl Source {
    fn path(&self, file: &str) -> String {
        match self {
            Source::Embedded(_) => format!("embedded {file}"),
            Source::Folder(folder) => folder.join(file).display().to_string(),
        }
    }

    fn read(&self, file: &str) -> Result<Cow<'static, [u8]>> {
        match self {
            Source::Embedded(files) => match files.iter().find(|(name, _)| *name == file) {
                Some((_, bytes)) => Ok(Cow::Borrowed(bytes)),
                None => Err(missing(&self.path(file))),
            },
            Source::Folder(folder) => match std::fs::read(folder.join(file)) {
                Ok(bytes) => Ok(Cow::Owned(bytes)),
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => Err(missing(&self.path(file))),
                Err(e) => Err(unreadable(&self.path(file), e)),
            },
        }
    }

    /// Reads a file and compares it with its digest.
    fn read_checked(&self, entry: &FileEntry) -> Result<Cow<'static, [u8]>> {
        let (bytes, path) = (self.read(&entry.file)?, self.path(&entry.file));
        let invalid = |message| Err(Error::new(ErrorKind::ModelInvalid, message));
        if bytes.is_empty() {
            return invalid(format!(
                "{path} is empty; copy the file again or make the pack again with training/convert.py"
            ));
        }
        let (expected, found) = (&entry.sha256, sha256_hex([&bytes]));
        if !found.eq_ignore_ascii_case(expected) {
            return invalid(format!(
                "{path} ({} bytes) is not the file that model.toml lists: expected SHA-256 {expected}, found {found}; it is \
                 damaged, cut short or swapped: copy it again or make the pack again with training/convert.py",
                bytes.len()
            ));
        }
        Ok(bytes)
    }
}

fn missing(path: &str) -> Error {
    Error::new(
        ErrorKind::ModelNotFound,
        format!(
            "{path} is missing: a model pack holds model.toml and the ONNX files that it lists (engines/README.md)"
        ),
    )
}

fn unreadable(path: &str, e: std::io::Error) -> Error {
    Error::new(
        ErrorKind::ModelNotFound,
        format!("{path} cannot be read: give the user who runs the pipeline read permission"),
    )
    .with_source(e)
}

fn check_folder(folder: &Path) -> Result<()> {
    match std::fs::read_dir(folder) {
        Ok(_) => Ok(()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            let names: Vec<_> = Pack::embedded().collect();
            Err(Error::new(
                ErrorKind::ModelNotFound,
                format!(
                    "no model pack '{}': it is neither one of {} nor a folder",
                    folder.display(),
                    names.join(", ")
                ),
            ))
        }
        Err(e) => Err(unreadable(&folder.display().to_string(), e)),
    }
}
