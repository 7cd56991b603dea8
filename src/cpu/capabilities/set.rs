//! The extensions that kernels may use in this process.

use std::fmt;
use std::sync::OnceLock;

use super::extensions::{Extensions, detect};

/// Extensions of the instruction set that this processor has and that kernels may use.
///
/// A value never holds an extension that the processor lacks, so whoever has asked `has` may run the code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Capabilities(Extensions);

impl Capabilities {
    /// All that this processor has.
    pub fn detected() -> Self {
        static DETECTED: OnceLock<Extensions> = OnceLock::new();
        Self(*DETECTED.get_or_init(detect))
    }

    /// What kernels use: all that the processor has, or what is left of it at the [`Level`] that the environment
    /// variable `URETINEX_CPU` names. A name that the processor does not reach is ignored with a warning in the log.
    pub fn current() -> Self {
        static CURRENT: OnceLock<Capabilities> = OnceLock::new();
        *CURRENT.get_or_init(|| {
            let Ok(wanted) = std::env::var("URETINEX_CPU") else {
                return Self::detected();
            };
            match Level::available().iter().find(|l| l.name() == wanted) {
                Some(&level) => Self::at(level),
                None => {
                    let names: Vec<_> = Level::available().iter().map(|l| l.name()).collect();
                    log::warn!(
                        "URETINEX_CPU={wanted} is not a level of this processor, which has {}: it is ignored",
                        names.join(", ")
                    );
                    Self::detected()
                }
            }
        })
    }

    /// What is left of this processor's extensions at `level`.
    pub fn at(level: Level) -> Self {
        Self(Self::detected().0.common(level.allows()))
    }

    /// Whether all extensions that a kernel needs may be used.
    #[inline(always)]
    pub(crate) fn has(self, needed: Extensions) -> bool {
        self.0.contains(needed)
    }

    /// The highest level of which all extensions may be used.
    pub fn level(self) -> Level {
        let highest = Level::ALL.into_iter().rev().find(|l| self.has(l.needs()));
        highest.unwrap_or(Level::Portable)
    }

    /// The names of the extensions, as compilers spell them.
    pub fn names(self) -> Vec<&'static str> {
        self.0.names().collect()
    }
}

/// A limit to the extensions that kernels may use, for tests and comparisons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Level {
    /// What every processor of the architecture has (on aarch64 that includes NEON).
    Portable,
    /// Vectors of up to 256 bits: AVX2, FMA, F16C (x86-64-v3), and AVX-VNNI if the processor has it.
    Avx2,
    /// Everything, on a processor with AVX-512 F, BW, DQ and VL (x86-64-v4).
    Avx512,
}

impl Level {
    const ALL: [Self; 3] = [Level::Portable, Level::Avx2, Level::Avx512];

    /// The name that `URETINEX_CPU` takes.
    pub const fn name(self) -> &'static str {
        match self {
            Level::Portable => "portable",
            Level::Avx2 => "avx2",
            Level::Avx512 => "avx512",
        }
    }

    /// What a processor has that reaches the level.
    const fn needs(self) -> Extensions {
        match self {
            Level::Portable => Extensions::NONE,
            Level::Avx2 => Extensions::VECTORS_256,
            Level::Avx512 => Extensions::VECTORS_512,
        }
    }

    /// What may be used at the level.
    const fn allows(self) -> Extensions {
        match self {
            Level::Portable => Extensions::NEON,
            Level::Avx2 => Extensions::VECTORS_256.with(Extensions::AVXVNNI),
            Level::Avx512 => Extensions::ALL,
        }
    }

    /// The levels that this processor reaches, lowest first.
    pub fn available() -> &'static [Level] {
        let best = Capabilities::detected().level();
        let count = Self::ALL.iter().filter(|l| **l <= best).count();
        let all: &'static [Level] = &Self::ALL;
        &all[..count]
    }

    /// The level in use: the highest of which [`Capabilities::current`] has all extensions.
    pub fn current() -> Level {
        Capabilities::current().level()
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_limits_the_capabilities() {
        let all = Capabilities::detected();
        for &level in Level::available() {
            let limited = Capabilities::at(level);
            assert_eq!(limited.level(), level);
            assert!(all.has(limited.0), "{level}: {:?}", limited.names());
        }
        // The highest level takes nothing away on x86-64; on aarch64 there is one, and no level is the default.
        if let Some(Level::Avx512) = Level::available().last() {
            assert_eq!(Capabilities::at(Level::Avx512), all);
        }
        for (level, extension) in [
            (Level::Portable, Extensions::AVX2),
            (Level::Portable, Extensions::DOTPROD),
            (Level::Avx2, Extensions::AVX512F),
            (Level::Avx2, Extensions::AVX512VNNI),
            (Level::Avx2, Extensions::AMX_TILE),
        ] {
            assert!(!Capabilities::at(level).has(extension), "{level} {extension:?}");
        }
    }

    /// A level that the processor does not reach gives what the processor has, never more.
    #[test]
    fn capabilities_are_never_more_than_detected() {
        for level in Level::ALL {
            assert!(Capabilities::detected().has(Capabilities::at(level).0), "{level}");
        }
    }
}
