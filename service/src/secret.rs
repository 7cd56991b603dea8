//! Passwords and tokens: read from a file or the environment, never shown.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// The longest secret that is read, in bytes.
const LONGEST: u64 = 4096;

/// A password or token. It has no way to text but [`expose`](Self::expose).
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The secret itself, for the library that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether `other` is the same, in a time that depends on the lengths alone.
    pub fn is(&self, other: &str) -> bool {
        let (own, other) = (self.0.as_bytes(), other.as_bytes());
        let differences = own.iter().zip(other).fold(0, |sum, (a, b)| sum | (a ^ b));
        std::hint::black_box(differences) == 0 && own.len() == other.len()
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// Where a secret is, as the configuration says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// The first line of a file, without the line's end. A relative path starts at the configuration's folder.
    File(PathBuf),
    /// The value of an environment variable.
    Environment(String),
}

impl SecretSource {
    /// At most one of the two keys; `what` names the secret in messages.
    ///
    /// # Errors
    /// Both are given.
    pub fn of(what: &str, file: Option<PathBuf>, variable: Option<String>) -> Result<Option<Self>, String> {
        match (file, variable) {
            (Some(_), Some(_)) => Err(format!("{what}-file and {what}-env are both given: keep one of them")),
            (Some(file), None) => Ok(Some(Self::File(file))),
            (None, Some(variable)) => Ok(Some(Self::Environment(variable))),
            (None, None) => Ok(None),
        }
    }

    /// Reads the secret; relative paths start at `folder`.
    ///
    /// # Errors
    /// The file or variable is not there, is empty or is no text. The message names it, not what is in it.
    pub fn read(&self, folder: &Path) -> Result<Secret, String> {
        let text = match self {
            Self::File(path) => {
                let path = folder.join(path);
                let named = |e: std::io::Error| format!("{}: {e}", path.display());
                let length = fs::metadata(&path).map_err(named)?.len();
                if length > LONGEST {
                    return Err(format!("{}: {length} bytes are no password or token", path.display()));
                }
                let text = fs::read_to_string(&path).map_err(named)?;
                text.lines().next().unwrap_or_default().to_owned()
            }
            Self::Environment(name) => match std::env::var(name) {
                Ok(text) => text,
                Err(_) => return Err(format!("the environment variable {name} is not set, or is not UTF-8")),
            },
        };
        match text.is_empty() {
            true => Err(match self {
                Self::File(path) => format!("{}: the first line is empty", folder.join(path).display()),
                Self::Environment(name) => format!("the environment variable {name} is empty"),
            }),
            false => Ok(Secret(text)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_compared_and_not_shown() {
        let secret = Secret::from("p@ss".to_owned());
        for (other, same) in [
            ("p@ss", true),
            ("p@sS", false),
            ("p@s", false),
            ("p@sss", false),
            ("", false),
        ] {
            assert_eq!(secret.is(other), same, "{other}");
        }
        assert_eq!(format!("{secret:?}"), "(secret)");
    }

    #[test]
    fn messages_name_the_place_and_not_the_secret() {
        let folder = std::env::temp_dir();
        for (source, expected) in [
            (
                SecretSource::File("uretinex-no-such-file".into()),
                "uretinex-no-such-file: ",
            ),
            (
                SecretSource::Environment("URETINEX_NO_SUCH".into()),
                "URETINEX_NO_SUCH is not set",
            ),
        ] {
            let error = source.read(&folder).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
