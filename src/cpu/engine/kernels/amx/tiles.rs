//! The tiles of a processor with AMX: the permission to use them, their shape, and products of what lies in memory.

#![allow(unsafe_code)]

use std::arch::asm;
use std::sync::OnceLock;

/// Asks Linux once for the permission to use tiles, which it gives to the whole process: a thread that used them without
/// it would be ended by a signal.
pub(super) fn permitted() -> bool {
    static PERMITTED: OnceLock<bool> = OnceLock::new();
    *PERMITTED.get_or_init(|| {
        #[cfg(target_os = "linux")]
        {
            /// `ARCH_REQ_XCOMP_PERM` of asm/prctl.h, and the number of the state component of tile data.
            const REQUEST_PERMISSION: libc::c_ulong = 0x1023;
            const TILE_DATA: libc::c_ulong = 18;
            // SAFETY: this call of `arch_prctl` takes two numbers and touches no memory of the process.
            let refused = unsafe { libc::syscall(libc::SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) };
            if refused != 0 {
                let error = std::io::Error::last_os_error();
                log::info!("the system does not let this process use AMX: {error}");
            }
            refused == 0
        }
        #[cfg(not(target_os = "linux"))]
        false
    })
}

/// The shape of the eight tiles, as LDTILECFG reads it: palette 1, 16 rows of 64 bytes each.
#[repr(C, align(64))]
struct TileConfig([u8; 64]);

const CONFIG: TileConfig = {
    let mut config = [0; 64];
    config[0] = 1;
    let mut tile = 0;
    while tile < 8 {
        config[16 + 2 * tile] = 64;
        config[48 + tile] = 16;
        tile += 1;
    }
    TileConfig(config)
};

/// Tiles in use by this thread; released at the end, so that the system has nothing of them to save.
pub(super) struct Tiles;

impl Tiles {
    /// Configures the tiles of this thread.
    ///
    /// # Safety
    /// The processor has AMX, and the system permits its use.
    #[inline(always)]
    pub(super) unsafe fn configure() -> Self {
        // SAFETY: the configuration is 64 bytes of a valid form; the caller guarantees the rest.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &CONFIG, options(nostack, readonly, preserves_flags)) };
        Self
    }
}

impl Drop for Tiles {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: tiles have been configured, so the processor has AMX. The compiler keeps nothing in tiles.
        unsafe {
            asm!("tilerelease", out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _, out("tmm4") _,
                out("tmm5") _, out("tmm6") _, out("tmm7") _, options(nostack, nomem, preserves_flags));
        }
    }
}

/// Where the matrices of a product lie.
#[derive(Clone, Copy)]
pub(super) struct Operands {
    /// The first of the pixels, at the tap in the middle, in the first unit.
    pub pixels: *const f32,
    /// Bytes from a pixel to the next.
    pub stride: usize,
    /// For each tap and unit, bytes from `pixels` to its first pixel.
    pub offsets: *const isize,
    /// Taps times units.
    pub count: usize,
    /// For each tap and unit, the tiles of weights of one group of blocks.
    pub weights: *const f32,
    /// Where the sums go.
    pub sums: *mut f32,
}

/// 32 pixels × 2 blocks; sums of the first block first.
///
/// # Safety
/// Tiles are configured, and the operands lie where they are said to, 32 pixels from each offset on.
#[inline(always)]
pub(super) unsafe fn product_2x2(o: Operands) {
    // SAFETY: the caller guarantees the memory that the loads and stores touch.
    unsafe {
        asm!(
            "tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3",
            "2:",
            "mov {at}, [{offsets}]",
            "add {at}, {pixels}",
            "tileloadd tmm4, [{weights} + {line}*1]",
            "tileloadd tmm5, [{at} + {stride}*1]",
            "tdpbf16ps tmm0, tmm5, tmm4",
            "add {at}, {step}",
            "tileloadd tmm6, [{at} + {stride}*1]",
            "tdpbf16ps tmm1, tmm6, tmm4",
            "tileloadd tmm7, [{weights} + {line}*1 + 1024]",
            "tdpbf16ps tmm2, tmm5, tmm7",
            "tdpbf16ps tmm3, tmm6, tmm7",
            "add {weights}, 2048",
            "add {offsets}, 8",
            "dec {count}",
            "jnz 2b",
            "tilestored [{sums} + {line}*1], tmm0",
            "tilestored [{sums} + {line}*1 + 1024], tmm1",
            "tilestored [{sums} + {line}*1 + 2048], tmm2",
            "tilestored [{sums} + {line}*1 + 3072], tmm3",
            at = out(reg) _,
            pixels = in(reg) o.pixels,
            stride = in(reg) o.stride,
            step = in(reg) 16 * o.stride,
            line = in(reg) 64usize,
            offsets = inout(reg) o.offsets => _,
            count = inout(reg) o.count => _,
            weights = inout(reg) o.weights => _,
            sums = in(reg) o.sums,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}

/// 64 pixels × 1 block.
///
/// # Safety
/// As for [`product_2x2`], with 64 pixels.
#[inline(always)]
pub(super) unsafe fn product_4x1(o: Operands) {
    // SAFETY: as for `product_2x2`.
    unsafe {
        asm!(
            "tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3",
            "2:",
            "mov {at}, [{offsets}]",
            "add {at}, {pixels}",
            "tileloadd tmm4, [{weights} + {line}*1]",
            "tileloadd tmm5, [{at} + {stride}*1]",
            "tdpbf16ps tmm0, tmm5, tmm4",
            "add {at}, {step}",
            "tileloadd tmm6, [{at} + {stride}*1]",
            "tdpbf16ps tmm1, tmm6, tmm4",
            "add {at}, {step}",
            "tileloadd tmm7, [{at} + {stride}*1]",
            "tdpbf16ps tmm2, tmm7, tmm4",
            "add {at}, {step}",
            "tileloadd tmm5, [{at} + {stride}*1]",
            "tdpbf16ps tmm3, tmm5, tmm4",
            "add {weights}, 1024",
            "add {offsets}, 8",
            "dec {count}",
            "jnz 2b",
            "tilestored [{sums} + {line}*1], tmm0",
            "tilestored [{sums} + {line}*1 + 1024], tmm1",
            "tilestored [{sums} + {line}*1 + 2048], tmm2",
            "tilestored [{sums} + {line}*1 + 3072], tmm3",
            at = out(reg) _,
            pixels = in(reg) o.pixels,
            stride = in(reg) o.stride,
            step = in(reg) 16 * o.stride,
            line = in(reg) 64usize,
            offsets = inout(reg) o.offsets => _,
            count = inout(reg) o.count => _,
            weights = inout(reg) o.weights => _,
            sums = in(reg) o.sums,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}
