//! Extensions of the processor's instruction set.

/// A set of extensions: what a processor has, or what a kernel needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Extensions(u32);

/// The extensions: bit, name, architecture, and whether processor and operating system offer it.
macro_rules! extensions {
    ($($constant:ident = $bit:literal $name:literal on $arch:literal if $present:expr;)+) => {
        impl Extensions {
            $(pub const $constant: Self = Self(1 << $bit);)+
        }

        const NAMES: &[(Extensions, &str)] = &[$((Extensions::$constant, $name)),+];

        /// Those that this processor has.
        pub(super) fn detect() -> Extensions {
            // Of other architectures no extension is known.
            let offered: &[(bool, Extensions)] = &[$(
                #[cfg(target_arch = $arch)]
                ($present, Extensions::$constant)
            ),+];
            let present = offered.iter().filter(|(present, _)| *present);
            present.fold(Extensions::NONE, |all, (_, extension)| all.with(*extension))
        }
    };
}

extensions! {
    AVX2 = 0 "avx2" on "x86_64" if std::arch::is_x86_feature_detected!("avx2");
    FMA = 1 "fma" on "x86_64" if std::arch::is_x86_feature_detected!("fma");
    F16C = 2 "f16c" on "x86_64" if std::arch::is_x86_feature_detected!("f16c");
    AVX512F = 3 "avx512f" on "x86_64" if std::arch::is_x86_feature_detected!("avx512f");
    AVX512BW = 4 "avx512bw" on "x86_64" if std::arch::is_x86_feature_detected!("avx512bw");
    AVX512DQ = 5 "avx512dq" on "x86_64" if std::arch::is_x86_feature_detected!("avx512dq");
    AVX512VL = 6 "avx512vl" on "x86_64" if std::arch::is_x86_feature_detected!("avx512vl");
    AVX512VNNI = 7 "avx512vnni" on "x86_64" if std::arch::is_x86_feature_detected!("avx512vnni");
    AVX512BF16 = 8 "avx512bf16" on "x86_64" if std::arch::is_x86_feature_detected!("avx512bf16");
    AVX512FP16 = 9 "avx512fp16" on "x86_64" if std::arch::is_x86_feature_detected!("avx512fp16");
    AVXVNNI = 10 "avxvnni" on "x86_64" if std::arch::is_x86_feature_detected!("avxvnni");
    AMX_TILE = 11 "amx-tile" on "x86_64" if amx(24);
    AMX_BF16 = 12 "amx-bf16" on "x86_64" if amx(22);
    AMX_INT8 = 13 "amx-int8" on "x86_64" if amx(25);
    NEON = 16 "neon" on "aarch64" if std::arch::is_aarch64_feature_detected!("neon");
    FP16 = 17 "fp16" on "aarch64" if std::arch::is_aarch64_feature_detected!("fp16");
    DOTPROD = 18 "dotprod" on "aarch64" if std::arch::is_aarch64_feature_detected!("dotprod");
    I8MM = 19 "i8mm" on "aarch64" if std::arch::is_aarch64_feature_detected!("i8mm");
    BF16 = 20 "bf16" on "aarch64" if std::arch::is_aarch64_feature_detected!("bf16");
}

impl Extensions {
    /// The empty set.
    pub const NONE: Self = Self(0);
    /// All extensions of the table.
    pub const ALL: Self = Self(u32::MAX);
    /// Vectors of 256 bits with fused multiplication and addition (x86-64-v3).
    pub const VECTORS_256: Self = Self::AVX2.with(Self::FMA).with(Self::F16C);
    /// Vectors of 512 bits (x86-64-v4).
    pub const VECTORS_512: Self = Self::VECTORS_256
        .with(Self::AVX512F)
        .with(Self::AVX512BW)
        .with(Self::AVX512DQ)
        .with(Self::AVX512VL);

    /// The extensions of both sets.
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The extensions that are in both sets.
    pub const fn common(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether all extensions of `other` are in this set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The names of the extensions in this set.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        NAMES
            .iter()
            .filter(move |(e, _)| self.contains(*e))
            .map(|(_, name)| *name)
    }
}

/// Whether the processor has the part of AMX that `bit` of CPUID's leaf 7, register EDX, stands for, and the operating
/// system saves tiles. A kernel that uses tiles has to ask Linux for permission besides (`arch_prctl`).
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code, unused_unsafe)]
fn amx(bit: u32) -> bool {
    use std::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};

    /// Tile configuration and tile data in the extended control register.
    const TILES: u64 = 0b11 << 17;

    #[target_feature(enable = "xsave")]
    fn saved_by_the_system() -> u64 {
        // SAFETY: register 0 exists wherever `xsave` does.
        unsafe { _xgetbv(0) }
    }

    // SAFETY: every x86-64 processor has CPUID; leaf 7 is asked for only if it exists.
    let has_bit = unsafe { __cpuid(0).eax >= 7 && __cpuid_count(7, 0).edx & (1 << bit) != 0 };
    // SAFETY: the processor and the system have `xsave`.
    let saves = || unsafe { saved_by_the_system() } & TILES == TILES;
    has_bit && std::arch::is_x86_feature_detected!("xsave") && saves()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_extension_has_a_bit_of_its_own() {
        let mut all = Extensions::NONE;
        for &(extension, name) in NAMES {
            assert_eq!(extension.0.count_ones(), 1, "{name}");
            assert_eq!(all.common(extension), Extensions::NONE, "{name}");
            assert_eq!(extension.names().collect::<Vec<_>>(), [name]);
            all = all.with(extension);
        }
        assert!(Extensions::ALL.contains(all));
        assert!(!Extensions::VECTORS_256.contains(Extensions::VECTORS_512));
    }

    /// Whatever Linux lists of the table is detected. (Old versions of Linux do not list everything.)
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    #[test]
    fn detection_agrees_with_linux() {
        let Ok(text) = std::fs::read_to_string("/proc/cpuinfo") else {
            println!("skipped: no /proc/cpuinfo");
            return;
        };
        let flags = text.lines().find(|line| line.starts_with("flags")).unwrap_or_default();
        let flags: Vec<String> = flags.split_whitespace().map(|f| f.replace(['_', '-'], "")).collect();
        for &(extension, name) in NAMES.iter().filter(|(e, _)| e.0 < Extensions::NEON.0) {
            let listed = flags.contains(&name.replace('-', ""));
            assert!(!listed || detect().contains(extension), "{name}");
        }
    }
}
