//! Model packs: four ONNX subnetworks and `model.toml`, in a folder or embedded in the library.

mod embedded;
mod manifest;
mod precision;

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::error::{Error, ErrorKind, Result};
pub use manifest::{Manifest, Schedule};
pub use precision::{Precision, Precisions};

/// One of the four networks of a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Subnetwork {
    /// I → P, Q.
    Decomposition,
    /// P, Q → R.
    Restoration,
    /// Q → L.
    Illumination,
    /// L, ratio → L'.
    Adjustment,
}

/// A tensor that a subnetwork takes or gives: its name in the ONNX file and its channels.
pub(crate) type Port = (&'static str, usize);

impl Subnetwork {
    /// All four, in the order of the network.
    pub const ALL: [Subnetwork; 4] = [
        Subnetwork::Decomposition,
        Subnetwork::Restoration,
        Subnetwork::Illumination,
        Subnetwork::Adjustment,
    ];

    /// The file stem in a pack.
    pub const fn name(self) -> &'static str {
        match self {
            Subnetwork::Decomposition => "decomposition",
            Subnetwork::Restoration => "restoration",
            Subnetwork::Illumination => "illumination",
            Subnetwork::Adjustment => "adjustment",
        }
    }

    /// The file name in a pack.
    pub fn file(self, precision: Precision) -> String {
        match precision {
            Precision::Fp32 => format!("{}.onnx", self.name()),
            Precision::Fp16 => format!("{}.fp16.onnx", self.name()),
        }
    }

    /// What it takes. All are `[1, channels, height, width]`, but `ratio`, which is `[1, 1, 1, 1]`.
    pub(crate) const fn inputs(self) -> &'static [Port] {
        match self {
            Subnetwork::Decomposition => &[("image", 3)],
            Subnetwork::Restoration => &[("p", 3), ("q", 1)],
            Subnetwork::Illumination => &[("q", 1)],
            Subnetwork::Adjustment => &[("l", 1), ("ratio", 1)],
        }
    }

    /// What it gives, `[1, channels, height, width]`.
    pub(crate) const fn outputs(self) -> &'static [Port] {
        match self {
            Subnetwork::Decomposition => &[("p", 3), ("q", 1)],
            Subnetwork::Restoration => &[("r", 3)],
            Subnetwork::Illumination => &[("l", 1)],
            Subnetwork::Adjustment => &[("l_adjusted", 1)],
        }
    }
}

/// The pack that `auto` stands for, on the processor and on a GPU alike: a hundredth of `full`'s cost, and pictures that
/// are at present nearly as good; see docs/quality.md.
const AUTO: &str = "lite";

/// Where a pack's files are.
#[derive(Debug, Clone)]
enum Source {
    Embedded(&'static [(&'static str, &'static [u8])]),
    Folder(PathBuf),
}

/// A model pack, checked against its manifest.
#[derive(Debug, Clone)]
pub struct Pack {
    manifest: Manifest,
    source: Source,
}

impl Pack {
    /// The names of the packs in the library.
    pub fn embedded() -> impl Iterator<Item = &'static str> {
        embedded::PACKS.iter().map(|(name, _)| *name)
    }

    /// The pack of that name in the library, or the pack in the folder of that path; `auto` is `lite`.
    ///
    /// Every file's SHA-256 is compared with the manifest's.
    ///
    /// # Errors
    /// [`ErrorKind::ModelNotFound`] if there is no such pack or it cannot be read, [`ErrorKind::ModelInvalid`] if its
    /// manifest or a file is damaged.
    pub fn open(name_or_path: &str) -> Result<Self> {
        let name_or_path = match name_or_path {
            "auto" | "" => AUTO,
            other => other,
        };
        match embedded::PACKS.iter().find(|(name, _)| *name == name_or_path) {
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
        let pack = Self { manifest, source };
        for precision in [Precision::Fp32, Precision::Fp16] {
            for subnetwork in Subnetwork::ALL {
                pack.verify(&subnetwork.file(precision))?;
            }
        }
        Ok(pack)
    }

    /// What `model.toml` says.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The bytes of a subnetwork's ONNX file.
    ///
    /// # Errors
    /// As [`Pack::open`].
    pub fn onnx(&self, subnetwork: Subnetwork, precision: Precision) -> Result<Cow<'static, [u8]>> {
        self.source.read(&subnetwork.file(precision))
    }

    /// The path of a subnetwork's ONNX file, for messages.
    pub fn describe(&self, subnetwork: Subnetwork, precision: Precision) -> String {
        self.source.path(&subnetwork.file(precision))
    }

    /// A digest of all the files of a precision and of the schedule, equal for equal packs.
    pub fn digest(&self, precision: Precision) -> String {
        let mut hash = Sha256::new();
        hash.update(format!("{:?}", self.manifest.schedule));
        for subnetwork in Subnetwork::ALL {
            hash.update(
                self.manifest
                    .sha256
                    .get(&subnetwork.file(precision))
                    .map_or("", String::as_str),
            );
        }
        hex(&hash.finalize())
    }

    fn verify(&self, file: &str) -> Result<()> {
        let expected = self.manifest.sha256.get(file).ok_or_else(|| {
            Error::new(
                ErrorKind::ModelInvalid,
                format!(
                    "{}: no SHA-256 of {file} under [sha256]; make the pack anew with engines/convert.py",
                    self.source.path("model.toml")
                ),
            )
        })?;
        let bytes = self.source.read(file)?;
        let path = self.source.path(file);
        if bytes.is_empty() {
            return Err(Error::new(
                ErrorKind::ModelInvalid,
                format!("{path} is empty; copy the file again or make the pack anew with engines/convert.py"),
            ));
        }
        let found = hex(&Sha256::digest(&bytes));
        if !found.eq_ignore_ascii_case(expected) {
            return Err(Error::new(
                ErrorKind::ModelInvalid,
                format!(
                    "{path} ({} bytes) is not the file that model.toml names: expected SHA-256 {expected}, found {found}; \
                     it is damaged, cut short or swapped: copy it again or make the pack anew with engines/convert.py",
                    bytes.len()
                ),
            ));
        }
        Ok(())
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
}

fn missing(path: &str) -> Error {
    Error::new(
        ErrorKind::ModelNotFound,
        format!("{path} is missing: a model pack holds model.toml and eight ONNX files (engines/README.md)"),
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

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
