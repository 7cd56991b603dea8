//! `model.toml`: what a pack says of itself.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::error::{Error, ErrorKind, Result};

/// The rounds of the unfolding and their weights.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub struct Schedule {
    /// T, 1 to 16.
    pub rounds: u32,
    gamma: f32,
    gamma_step: f32,
    lambda: f32,
    lambda_step: f32,
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
    /// The SHA-256 of each ONNX file, in hexadecimal.
    pub sha256: BTreeMap<String, String>,
}

fn one() -> usize {
    1
}

impl Manifest {
    /// Reads and checks the text of a `model.toml`. The error does not name the file; the caller does.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self> {
        let invalid = |message: String| Error::new(ErrorKind::ModelInvalid, message);
        let text = std::str::from_utf8(bytes).map_err(|_| invalid("the file is not UTF-8 text".into()))?;
        let manifest: Manifest = toml::from_str(text).map_err(|e| invalid(e.to_string().trim_end().to_string()))?;
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
                        "{what} of round {t} is {value}: it has to be above 0, or the update divides by 0"
                    )));
                }
            }
        }
        Ok(manifest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "name = 'x'\nversion = '1'\nrounds = 3\ngamma = 0.1\ngamma_step = 0.05\nlambda = 0.5\n\
                        lambda_step = 0.05\nmac_per_pixel = 1\n[sha256]\n'a.onnx' = '00'\n";

    #[test]
    fn reads_a_schedule() {
        let m = Manifest::parse(GOOD.as_bytes()).unwrap();
        assert_eq!(m.multiple, 1);
        assert_eq!(m.schedule.gamma(2), 0.2);
        assert_eq!(m.schedule.lambda(1), 0.55);
    }

    #[test]
    fn names_what_is_wrong() {
        for (from, to, part) in [
            ("rounds = 3", "rounds = 0", "rounds = 0"),
            ("rounds = 3", "rounds = 17", "rounds = 17"),
            ("rounds = 3", "", "rounds"),
            ("gamma = 0.1", "gamma = -1.0", "gamma of round 1"),
            ("lambda = 0.5", "lambda = nan", "lambda of round 1"),
            ("name = 'x'", "name = 7", "name"),
            ("[sha256]", "[sha256", "sha256"),
        ] {
            let e = Manifest::parse(GOOD.replace(from, to).as_bytes()).unwrap_err();
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
