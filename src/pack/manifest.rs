//! `model.toml`: what a pack says of itself.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::subnetwork::Subnetwork;
use super::variant::Variant;
use crate::error::{Error, ErrorKind, Result};

/// The rounds of the unfolding and their weights.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub struct Schedule {
    /// T, 1 to 16.
    pub rounds: u32,
    pub(crate) gamma: f32,
    pub(crate) gamma_step: f32,
    pub(crate) lambda: f32,
    pub(crate) lambda_step: f32,
}

impl Schedule {
    /// γ_t, the weight of R in the update of P of round `t` ≥ 1.
    pub fn gamma(&self, t: u32) -> f32 {
        self.gamma + t as f32 * self.gamma_step
    }

    /// λ_t, the weight of L in the update of Q of round `t` ≥ 1.
    pub fn lambda(&self, t: u32) -> f32 {
        self.lambda + t as f32 * self.lambda_step
    }
}

/// A file of a pack.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct FileEntry {
    /// Its name in the pack's folder.
    pub file: String,
    /// Its SHA-256, in hexadecimal.
    pub sha256: String,
}

/// The contents of `model.toml`.
#[derive(Debug, Clone, Deserialize)]
pub struct Manifest {
    /// The name that users see.
    pub name: String,
    /// The version of the weights.
    pub version: String,
    /// One line on what the pack is for.
    #[serde(default)]
    pub description: String,
    /// Rounds, γ and λ.
    #[serde(flatten)]
    pub schedule: Schedule,
    /// Frame sides are padded to whole multiples of this, 1 to 64.
    #[serde(default = "one")]
    pub multiple: usize,
    /// Multiplications of the convolutions for each pixel, all rounds together.
    pub mac_per_pixel: f64,
    /// The licence of the weights.
    #[serde(default)]
    pub licence: String,
    /// Data, machine and date of the training, role of other networks.
    #[serde(default)]
    pub provenance: String,
    /// The files of each variant, by variant and subnetwork.
    #[serde(default)]
    variants: BTreeMap<String, BTreeMap<String, FileEntry>>,
    /// The SHA-256 of each file: the form that packs had before they listed variants.
    #[serde(default, rename = "sha256")]
    digests: BTreeMap<String, String>,
}

fn one() -> usize {
    1
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::ModelInvalid, message)
}

impl Manifest {
    /// Reads and checks the text of a `model.toml`. The error does not name the file; the caller does.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self> {
        let text = std::str::from_utf8(bytes).map_err(|_| invalid("the file is not UTF-8 text".into()))?;
        let mut manifest: Manifest = toml::from_str(text).map_err(|e| invalid(e.to_string().trim_end().to_string()))?;
        manifest.list_digests();
        let s = &manifest.schedule;
        if !(1..=16).contains(&s.rounds) {
            return Err(invalid(format!("rounds = {} is outside 1 to 16", s.rounds)));
        }
        if !(1..=64).contains(&manifest.multiple) {
            return Err(invalid(format!("multiple = {} is outside 1 to 64", manifest.multiple)));
        }
        for t in 1..s.rounds {
            for (what, value) in [("gamma", s.gamma(t)), ("lambda", s.lambda(t))] {
                if !(value.is_finite() && value > 0.0) {
                    return Err(invalid(format!(
                        "{what} of round {t} is {value}: it must be above 0, or the update divides by 0"
                    )));
                }
            }
        }
        manifest.check_files()?;
        Ok(manifest)
    }

    /// The variants of which the pack lists files.
    pub fn variants(&self) -> impl Iterator<Item = Variant> {
        Variant::ALL
            .into_iter()
            .filter(|v| self.variants.contains_key(v.name()))
    }

    /// The file of a subnetwork, if the pack has the variant.
    pub(crate) fn file(&self, which: Subnetwork, variant: Variant) -> Option<&FileEntry> {
        self.variants.get(variant.name())?.get(which.name())
    }

    /// Turns `[sha256]` into variants, by the file names that packs had then.
    fn list_digests(&mut self) {
        if !self.variants.is_empty() {
            return;
        }
        for variant in Variant::ALL {
            let entries = Subnetwork::ALL.into_iter().filter_map(|which| {
                let file = format!("{}{}.onnx", which.name(), variant.infix());
                let sha256 = self.digests.get(&file)?.clone();
                Some((which.name().to_string(), FileEntry { file, sha256 }))
            });
            let entries: BTreeMap<_, _> = entries.collect();
            if !entries.is_empty() {
                self.variants.insert(variant.name().to_string(), entries);
            }
        }
    }

    /// Every variant that is there has the files of all subnetworks, and FP32 is there.
    fn check_files(&self) -> Result<()> {
        let fp32 = Variant::Fp32.name();
        if !self.variants.contains_key(fp32) {
            return Err(invalid(format!(
                "no files are listed under [variants.{fp32}], which every pack has; make the pack again with \
                 training/convert.py"
            )));
        }
        for variant in self.variants() {
            for which in Subnetwork::ALL {
                let (variant_name, which_name) = (variant.name(), which.name());
                let entry = self.file(which, variant).ok_or_else(|| {
                    invalid(format!(
                        "variant {variant_name} lists no file and SHA-256 for {which_name}; make the pack again with \
                         training/convert.py"
                    ))
                })?;
                // A name of its own folder: a manifest must not reach outside.
                if entry.file.is_empty() || entry.file.contains(['/', '\\', '\0']) || entry.file.starts_with('.') {
                    return Err(invalid(format!(
                        "variant {variant_name} names the file {:?} for {which_name}: a plain name without a folder is \
                         expected",
                        entry.file
                    )));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "name = 'x'\nversion = '1'\nrounds = 3\ngamma = 0.1\ngamma_step = 0.05\nlambda = 0.5\n\
                        lambda_step = 0.05\nmac_per_pixel = 1\n";

    fn variant(name: &str) -> String {
        let entry = |w: Subnetwork| format!("{0} = {{ file = '{0}.{name}', sha256 = '00' }}\n", w.name());
        format!("[variants.{name}]\n{}", Subnetwork::ALL.map(entry).concat())
    }

    #[test]
    fn reads_a_schedule_and_variants() {
        let text = format!("{HEAD}{}{}", variant("fp32"), variant("int4"));
        let m = Manifest::parse(text.as_bytes()).unwrap();
        assert_eq!(m.multiple, 1);
        assert_eq!(m.schedule.gamma(2), 0.2);
        assert_eq!(m.schedule.lambda(1), 0.55);
        // Variants of a later version are ignored.
        assert_eq!(m.variants().collect::<Vec<_>>(), [Variant::Fp32]);
        let entry = m.file(Subnetwork::Restoration, Variant::Fp32).unwrap();
        assert_eq!(entry.file, "restoration.fp32");
        assert_eq!(m.file(Subnetwork::Restoration, Variant::Fp16), None);
    }

    #[test]
    fn reads_the_form_before_variants() {
        let digests = |infix: &str| {
            Subnetwork::ALL
                .map(|w| format!("'{}{infix}.onnx' = '0{}'\n", w.name(), infix.len()))
                .concat()
        };
        let text = format!("{HEAD}[sha256]\n{}{}", digests(""), digests(".fp16"));
        let m = Manifest::parse(text.as_bytes()).unwrap();
        assert_eq!(m.variants().collect::<Vec<_>>(), Variant::ALL);
        let entry = m.file(Subnetwork::Adjustment, Variant::Fp16).unwrap();
        assert_eq!(
            (entry.file.as_str(), entry.sha256.as_str()),
            ("adjustment.fp16.onnx", "05")
        );
        let only_fp32 = format!("{HEAD}[sha256]\n{}", digests(""));
        let m = Manifest::parse(only_fp32.as_bytes()).unwrap();
        assert_eq!(m.variants().collect::<Vec<_>>(), [Variant::Fp32]);
    }

    #[test]
    fn names_what_is_wrong() {
        let good = format!("{HEAD}{}{}", variant("fp32"), variant("fp16"));
        for (from, to, part) in [
            ("rounds = 3", "rounds = 0", "rounds = 0"),
            ("rounds = 3", "rounds = 17", "rounds = 17"),
            ("rounds = 3", "", "rounds"),
            ("gamma = 0.1", "gamma = -1.0", "gamma of round 1"),
            ("lambda = 0.5", "lambda = nan", "lambda of round 1"),
            ("name = 'x'", "name = 7", "name"),
            ("[variants.fp32]", "[variants.fp32", "variants"),
            ("[variants.fp32]", "[variants.fp31]", "[variants.fp32]"),
            ("'illumination.fp16'", "'../illumination'", "../illumination"),
            ("'illumination.fp16'", "''", "illumination"),
            (
                "adjustment = { file = 'adjustment.fp16', sha256 = '00' }",
                "",
                "variant fp16 lists no file",
            ),
        ] {
            let e = Manifest::parse(good.replace(from, to).as_bytes()).unwrap_err();
            assert_eq!(e.kind(), ErrorKind::ModelInvalid, "{to}");
            assert!(e.to_string().contains(part), "{to}: {e}");
        }
        assert!(
            Manifest::parse(&[0xff, 0xfe])
                .unwrap_err()
                .to_string()
                .contains("UTF-8")
        );
    }
}
