//! One source per kernel, compiled once for each level of the processor's vector units.

use std::fmt;
use std::sync::OnceLock;

/// A set of instructions that kernels are compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Level {
    /// What every processor of the architecture has (on aarch64 that includes NEON).
    Portable,
    /// AVX2, FMA and F16C (x86-64-v3).
    Avx2,
    /// AVX-512 F, BW, DQ, VL (x86-64-v4).
    Avx512,
}

impl Level {
    /// The name that `URETINEX_CPU` takes.
    pub const fn name(self) -> &'static str {
        match self {
            Level::Portable => "portable",
            Level::Avx2 => "avx2",
            Level::Avx512 => "avx512",
        }
    }

    /// The levels that this machine has, lowest first.
    pub fn available() -> &'static [Level] {
        static AVAILABLE: OnceLock<Vec<Level>> = OnceLock::new();
        AVAILABLE.get_or_init(|| {
            #[cfg_attr(not(target_arch = "x86_64"), expect(unused_mut))]
            let mut levels = vec![Level::Portable];
            #[cfg(target_arch = "x86_64")]
            {
                use std::arch::is_x86_feature_detected as has;
                if has!("avx2") && has!("fma") && has!("f16c") {
                    levels.push(Level::Avx2);
                    if has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl") {
                        levels.push(Level::Avx512);
                    }
                }
            }
            levels
        })
    }

    /// Whether the processor also multiplies and adds pairs of 16-bit integers at this level (AVX-512 VNNI).
    pub fn has_fixed_point(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        {
            self == Level::Avx512 && std::arch::is_x86_feature_detected!("avx512vnni")
        }
        #[cfg(not(target_arch = "x86_64"))]
        false
    }

    /// The level in use: the highest that the machine has, or the one that the environment variable `URETINEX_CPU`
    /// names. A name that the machine does not have is ignored with a warning in the log.
    pub fn current() -> Level {
        static CURRENT: OnceLock<Level> = OnceLock::new();
        *CURRENT.get_or_init(|| {
            let available = Self::available();
            let best = available.last().copied().unwrap_or(Level::Portable);
            let Ok(wanted) = std::env::var("URETINEX_CPU") else {
                return best;
            };
            let found = available.iter().copied().find(|l| l.name() == wanted);
            if found.is_none() {
                let names: Vec<_> = available.iter().map(|l| l.name()).collect();
                log::warn!("URETINEX_CPU={wanted} is none of {names:?} that this machine has; using {best}");
            }
            found.unwrap_or(best)
        })
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Makes `$name(level, …)` call `$body(…)`, an `#[inline(always)]` function, compiled for that level.
macro_rules! per_level {
    ($(#[$doc:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? = $body:path) => {
        $(#[$doc])*
        #[allow(unsafe_code, clippy::too_many_arguments)]
        $vis fn $name(level: $crate::simd::Level, $($arg: $ty),*) $(-> $ret)? {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
                fn avx512($($arg: $ty),*) $(-> $ret)? {
                    $body($($arg),*)
                }
                #[target_feature(enable = "avx2,fma,f16c")]
                fn avx2($($arg: $ty),*) $(-> $ret)? {
                    $body($($arg),*)
                }
                match level {
                    // SAFETY: `Level::available` lists a level only if the processor has its features.
                    $crate::simd::Level::Avx512 => return unsafe { avx512($($arg),*) },
                    // SAFETY: as above.
                    $crate::simd::Level::Avx2 => return unsafe { avx2($($arg),*) },
                    $crate::simd::Level::Portable => {}
                }
            }
            let _ = level;
            $body($($arg),*)
        }
    };
}
pub(crate) use per_level;
