//! Convolutions in bfloat16 by AMX, whose tiles are matrices of 16 rows of 64 bytes.
//!
//! ```text
//! C[pixel][output] += Σ_pair A[pixel][pair] · B[pair][output]     pairs of input channels, products and sums in FP32
//! ```
//! A is 16 neighbouring pixels of a unit, read where they lie; B the weights of a tap, a unit and 16 outputs; C the sums
//! of 16 pixels and 16 outputs. Four sums are made at once: 32 pixels × 32 outputs, or 64 × 16, over all taps and units.
//! They go through scratch memory to bias, residual, activation and gate.

#![allow(unsafe_code)]

use std::arch::asm;
use std::arch::x86_64::*;
use std::sync::OnceLock;

use half::bf16;

use super::avx512::Avx512;
use super::generic::sigmoid;
use super::matrices::{MatrixConv, MatrixKernel, PackedMatrices, Rounding};
use crate::cpu::capabilities::{Capabilities, Extensions};
use crate::cpu::memory::Floats;
use crate::error::Result;
use crate::network::{Filter, Gate, LANES, PAIRED_LANES};
use crate::pack::Precision;

/// Floats of a tile.
const TILE: usize = 16 * LANES;
/// Tiles of sums at once.
const SUMS: usize = 4;
/// Blocks of output channels at once, at most.
const GROUP: usize = 2;

/// The kernel for AMX with bfloat16.
pub struct AmxBf16(());

impl AmxBf16 {
    /// The kernel, if the processor has what it needs and the system lets the process use tiles.
    pub fn available(capabilities: Capabilities) -> Option<&'static dyn MatrixKernel> {
        let needs = Extensions::VECTORS_512
            .with(Extensions::AVX512BF16)
            .with(Extensions::AMX_TILE)
            .with(Extensions::AMX_BF16);
        (capabilities.has(needs) && permitted()).then_some(&Self(()) as _)
    }
}

/// Asks Linux once for the permission to use tiles, which it gives to the whole process: a thread that used them without
/// it would be ended by a signal.
fn permitted() -> bool {
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
struct Tiles;

impl Tiles {
    /// Configures the tiles of this thread.
    ///
    /// # Safety
    /// The processor has AMX, and the system permits its use.
    #[inline(always)]
    unsafe fn configure() -> Self {
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
struct Operands {
    /// The first of the pixels, at the tap in the middle, in the first unit.
    pixels: *const f32,
    /// Bytes from a pixel to the next.
    stride: usize,
    /// For each tap and unit, bytes from `pixels` to its first pixel.
    offsets: *const isize,
    /// Taps times units.
    count: usize,
    /// For each tap and unit, the tiles of weights of one group of blocks.
    weights: *const f32,
    /// Where the sums go.
    sums: *mut f32,
}

/// 32 pixels × 2 blocks; sums of the first block first.
///
/// # Safety
/// Tiles are configured, and the operands lie where they are said to, 32 pixels from each offset on.
#[inline(always)]
unsafe fn product_2x2(o: Operands) {
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
unsafe fn product_4x1(o: Operands) {
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

/// The lanes of a unit that hold channels, if `channels` are left from its first one on.
fn lanes(channels: usize) -> __mmask32 {
    if channels >= PAIRED_LANES {
        !0
    } else {
        (1 << channels) - 1
    }
}

// SAFETY: a value is made only where the extensions that the methods are compiled for are there, and tiles permitted.
unsafe impl MatrixKernel for AmxBf16 {
    fn name(&self) -> &'static str {
        "amx"
    }

    fn precision(&self) -> Precision {
        Precision::Bf16
    }

    /// For each group of one or two blocks `[tap][unit][block][pair of input channels][output channel][2]`.
    fn pack(&self, filter: &Filter) -> Result<PackedMatrices> {
        let taps = filter.kernel * filter.kernel;
        let (units, blocks) = (filter.inputs.div_ceil(PAIRED_LANES), filter.outputs.div_ceil(LANES));
        let weight = |tap: usize, i: usize, o: usize| {
            let there = i < filter.inputs && o < filter.outputs;
            let weight = there.then(|| filter.weights[(o * filter.inputs + i) * taps + tap]);
            bf16::from_f32(weight.unwrap_or(0.0)).to_bits()
        };
        let mut weights = Floats::try_zeroed(blocks * taps * units * TILE)?;
        let mut at = 0;
        for first in (0..blocks).step_by(GROUP) {
            for tap in 0..taps {
                for unit in 0..units {
                    for o in (first..blocks.min(first + GROUP)).map(|block| block * LANES) {
                        for pair in 0..PAIRED_LANES / 2 {
                            for lane in 0..LANES {
                                let [a, b] = [0, 1].map(|k| weight(tap, unit * PAIRED_LANES + 2 * pair + k, o + lane));
                                weights[at] = f32::from_bits(u32::from(a) | u32::from(b) << 16);
                                at += 1;
                            }
                        }
                    }
                }
            }
        }
        let mut bias = Floats::try_zeroed(blocks * LANES)?;
        bias[..filter.outputs].copy_from_slice(&filter.bias);
        Ok(PackedMatrices { weights, bias })
    }

    fn scratch_len(&self, side: usize, units: usize) -> usize {
        // Sums, and offsets of the size of two floats.
        SUMS * TILE + 2 * side * side * units
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma,f16c")]
    unsafe fn rows(&self, a: &MatrixConv<'_>, width: usize, y0: usize, y1: usize, scratch: *mut f32) {
        let blocks = a.channels.div_ceil(LANES);
        // SAFETY: the caller guarantees inputs, outputs and scratch memory; a value of this type, the rest.
        unsafe {
            let offsets = scratch.add(SUMS * TILE).cast::<isize>();
            let half = (a.kernel / 2) as isize;
            let mut count = 0;
            for ky in -half..=half {
                for kx in -half..=half {
                    for &input in a.inputs {
                        let tap = 4 * (ky * a.input.y as isize + kx * a.input.x as isize);
                        offsets
                            .add(count)
                            .write((input as isize).wrapping_sub(a.inputs[0] as isize) + tap);
                        count += 1;
                    }
                }
            }
            let _tiles = Tiles::configure();
            for y in y0..y1 {
                let mut weights = a.packed.weights.as_ptr();
                for first in (0..blocks).step_by(GROUP) {
                    let group = GROUP.min(blocks - first);
                    // Pixels at once.
                    let step = SUMS / group * LANES;
                    for x in (0..width).step_by(step) {
                        let operands = Operands {
                            pixels: a.inputs[0].add(y * a.input.y + x * a.input.x),
                            stride: 4 * a.input.x,
                            offsets,
                            count,
                            weights,
                            sums: scratch,
                        };
                        let valid = step.min(width - x);
                        if group == GROUP {
                            product_2x2(operands);
                        } else {
                            product_4x1(operands);
                        }
                        if a.planes.is_empty() {
                            finish_blocks(a, y, x, valid, first, scratch, step * LANES);
                        } else {
                            finish_planes(a, y, x, valid, scratch);
                        }
                    }
                    weights = weights.add(group * count * TILE);
                }
            }
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma,f16c")]
    unsafe fn round_rows(&self, a: &Rounding<'_>, width: usize, y0: usize, y1: usize) {
        // SAFETY: the caller guarantees the rows; a value of this type, the features.
        unsafe {
            for y in y0..y1 {
                for (u, &output) in a.outputs.iter().enumerate() {
                    let first = a.inputs[2 * u];
                    let second = a.inputs.get(2 * u + 1).copied().unwrap_or(first);
                    let there = lanes(a.channels - u * PAIRED_LANES);
                    let (from, to) = (y * a.input.y, output.add(y * a.output.y));
                    let (first, second) = (first.add(from), second.add(from));
                    let (mut f0, mut f1) = (_mm512_set1_ps(1.0), _mm512_set1_ps(1.0));
                    if !a.factors.is_null() {
                        f0 = _mm512_loadu_ps(a.factors.add(2 * u * LANES));
                        if 2 * u + 1 < a.inputs.len() {
                            f1 = _mm512_loadu_ps(a.factors.add((2 * u + 1) * LANES));
                        }
                    }
                    for x in 0..width {
                        let v0 = _mm512_mul_ps(_mm512_loadu_ps(first.add(x * a.input.x)), f0);
                        let v1 = _mm512_mul_ps(_mm512_loadu_ps(second.add(x * a.input.x)), f1);
                        store_unit(to.add(x * a.output.x), v0, v1, there);
                    }
                }
            }
        }
    }
}

/// Rounds two vectors to a unit's pixel; lanes that are not `there` become zeros, whatever they were.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma,f16c")]
unsafe fn store_unit(to: *mut f32, v0: __m512, v1: __m512, there: __mmask32) {
    // SAFETY: the caller guarantees room for 64 bytes. Both types are 512 bits of any content.
    unsafe {
        let rounded = std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(v1, v0));
        _mm512_storeu_si512(to.cast(), _mm512_maskz_mov_epi16(there, rounded));
    }
}

/// Bias, residual, activation and gate of the sums of one or two blocks from `first` on, `next` floats from one block's
/// sums to the other's, and the results to blocks and units.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma,f16c")]
unsafe fn finish_blocks(
    a: &MatrixConv<'_>,
    y: usize,
    x: usize,
    valid: usize,
    first: usize,
    sums: *const f32,
    next: usize,
) {
    // SAFETY: the caller guarantees images and sums.
    unsafe {
        let group = GROUP.min(a.channels.div_ceil(LANES) - first);
        let slope = _mm512_set1_ps(a.slope);
        let at = |images: &[*const f32], strides: super::generic::Strides| {
            let mut found = [std::ptr::null::<f32>(); GROUP];
            for (slot, image) in found.iter_mut().zip(images.get(first..).unwrap_or_default()) {
                *slot = image.add(y * strides.y + x * strides.x);
            }
            found
        };
        let residuals = at(a.residuals, a.residual);
        let gated = at(a.gated, a.gated_strides);
        let blocks = at(super::generic::constant(a.blocks), a.block);
        let unit = match a.units.get(first / GROUP) {
            Some(unit) => unit.add(y * a.unit.y + x * a.unit.x),
            None => std::ptr::null_mut(),
        };
        let there = lanes(a.channels - first * LANES);
        let mut bias = [_mm512_setzero_ps(); GROUP];
        for (n, slot) in bias.iter_mut().enumerate().take(group) {
            *slot = _mm512_loadu_ps(a.packed.bias.as_ptr().add((first + n) * LANES));
        }
        // Most results go to a whole unit and nowhere else: no pointer is looked at for every pixel.
        let alone = a.residuals.is_empty() && a.gated.is_empty() && a.blocks.is_empty();
        if alone && group == GROUP && !unit.is_null() && there == !0 {
            for p in 0..valid {
                let v0 = _mm512_add_ps(_mm512_load_ps(sums.add(p * LANES)), bias[0]);
                let v1 = _mm512_add_ps(_mm512_load_ps(sums.add(next + p * LANES)), bias[1]);
                let v0 = _mm512_max_ps(v0, _mm512_mul_ps(v0, slope));
                let v1 = _mm512_max_ps(v1, _mm512_mul_ps(v1, slope));
                let rounded = std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(v1, v0));
                _mm512_storeu_si512(unit.add(p * a.unit.x).cast(), rounded);
            }
            return;
        }
        for p in 0..valid {
            let mut values = [_mm512_setzero_ps(); GROUP];
            for n in 0..group {
                let mut v = _mm512_add_ps(_mm512_load_ps(sums.add(n * next + p * LANES)), bias[n]);
                if !residuals[n].is_null() {
                    v = _mm512_add_ps(v, _mm512_loadu_ps(residuals[n].add(p * a.residual.x)));
                }
                if gated[n].is_null() {
                    v = _mm512_max_ps(v, _mm512_mul_ps(v, slope));
                } else {
                    v = match a.gate {
                        Gate::Slope => _mm512_max_ps(v, _mm512_mul_ps(v, slope)),
                        Gate::Sigmoid => sigmoid::<Avx512>(v),
                        Gate::Clip(low, high) => {
                            _mm512_min_ps(_mm512_max_ps(v, _mm512_set1_ps(low)), _mm512_set1_ps(high))
                        }
                    };
                    v = _mm512_mul_ps(v, _mm512_loadu_ps(gated[n].add(p * a.gated_strides.x)));
                }
                if !blocks[n].is_null() {
                    _mm512_storeu_ps(blocks[n].add(p * a.block.x).cast_mut(), v);
                }
                values[n] = v;
            }
            if !unit.is_null() {
                store_unit(unit.add(p * a.unit.x), values[0], values[1], there);
            }
        }
    }
}

/// The same for the sums of one block, of which the first channels go to planes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma,f16c")]
unsafe fn finish_planes(a: &MatrixConv<'_>, y: usize, x: usize, valid: usize, sums: *const f32) {
    // SAFETY: the caller guarantees images and sums.
    unsafe {
        let slope = _mm512_set1_ps(a.slope);
        let pixels = _mm512_slli_epi32::<4>(_mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0));
        for (c, &plane) in a.planes.iter().enumerate() {
            let bias = _mm512_set1_ps(a.packed.bias[c]);
            for p in (0..valid).step_by(LANES) {
                let there = if valid - p >= LANES { !0 } else { (1 << (valid - p)) - 1 };
                let mut v = _mm512_add_ps(_mm512_i32gather_ps::<4>(pixels, sums.add(p * LANES + c)), bias);
                if let Some(residual) = a.residuals.get(c) {
                    v = _mm512_add_ps(v, _mm512_maskz_loadu_ps(there, residual.add(y * a.residual.y + x + p)));
                }
                let v = _mm512_max_ps(v, _mm512_mul_ps(v, slope));
                _mm512_mask_storeu_ps(plane.add(y * a.plane.y + x + p), there, v);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::engine::kernels::generic::{Strides, constant};
    use crate::cpu::engine::testing::noise;

    /// An image of units of 16 floats with a margin around it, filled with one number.
    struct Image {
        memory: Floats,
        unit: usize,
        first: usize,
        strides: Strides,
        units: usize,
    }

    const MARGIN: usize = 2;

    impl Image {
        fn new(units: usize, width: usize, height: usize, step: usize, fill: f32) -> Self {
            let strides = Strides {
                x: step * LANES,
                y: (width + 2 * MARGIN) * step * LANES,
            };
            let unit = (height + 2 * MARGIN) * strides.y;
            // The kernel reads up to 64 pixels behind the last row.
            let mut memory = Floats::try_zeroed(units * unit + 68 * strides.x).unwrap();
            memory.fill(fill);
            let first = MARGIN * (strides.x + strides.y);
            Self {
                memory,
                unit,
                first,
                strides,
                units,
            }
        }

        fn pointers(&mut self) -> Vec<*mut f32> {
            let at = |u| self.memory[u * self.unit + self.first..].as_mut_ptr();
            (0..self.units).map(at).collect()
        }

        fn index(&self, unit: usize, y: usize, x: usize) -> usize {
            unit * self.unit + self.first + y * self.strides.y + x * self.strides.x
        }

        /// The number of a channel in 16-bit floating point.
        fn rounded(&self, c: usize, y: usize, x: usize) -> f32 {
            let word = self.memory[self.index(c / PAIRED_LANES, y, x) + c % PAIRED_LANES / 2].to_bits();
            bf16::from_bits((word >> (16 * (c % 2))) as u16).to_f32()
        }
    }

    /// A convolution to compare.
    #[derive(Debug)]
    struct Case {
        side: usize,
        inputs: usize,
        outputs: usize,
        width: usize,
        height: usize,
        /// Distance of neighbouring pixels in the input, as in the view of a shuffled image.
        step: usize,
        factors: bool,
        residual: bool,
        gate: Option<Gate>,
        slope: f32,
        blocks: bool,
        units: bool,
    }

    /// Shapes at and beside the sizes of tiles, and random ones.
    fn cases() -> Vec<Case> {
        let mut state = 77u32;
        let mut random = |count: usize| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as usize % count
        };
        let mut cases = vec![];
        for i in 0..60 {
            let outputs = [1, 3, 4, 16, 17, 32, 33, 48, 64, 1 + random(100)][random(10)];
            let planes = outputs < 8;
            let gate = [
                None,
                Some(Gate::Slope),
                Some(Gate::Sigmoid),
                Some(Gate::Clip(-0.1, 0.2)),
            ][random(4)];
            let to = random(3);
            cases.push(Case {
                side: [1, 3, 5][i % 3],
                inputs: [8, 16, 31, 32, 33, 48, 64, 1 + random(130)][random(8)],
                outputs,
                width: [1, 15, 16, 17, 32, 33, 64, 65, 1 + random(80)][random(9)],
                height: 1 + random(4),
                step: 1 + random(2),
                factors: random(3) == 0,
                residual: random(2) == 0,
                gate: if planes { None } else { gate },
                slope: [0.0, 0.2, 1.0][random(3)],
                blocks: !planes && to != 1,
                units: !planes && to != 0,
            });
        }
        cases
    }

    #[test]
    fn convolutions_of_any_shape() {
        let Some(kernel) = AmxBf16::available(Capabilities::detected()) else {
            println!("skipped: this processor has no AMX with bfloat16, or the system does not permit it");
            return;
        };
        for case in cases() {
            check(kernel, &case);
        }
    }

    fn check(kernel: &dyn MatrixKernel, case: &Case) {
        let &Case {
            side,
            inputs,
            outputs,
            width,
            height,
            step,
            ..
        } = case;
        let blocks_of = |channels: usize| channels.div_ceil(LANES);
        let (weights, bias) = (noise(outputs * inputs * side * side, 3), noise(outputs, 5));
        let filter = Filter {
            kernel: side,
            inputs,
            outputs,
            weights,
            bias,
        };
        let packed = kernel.pack(&filter).unwrap();

        // What lies behind the last channel of a block is no number.
        let mut floats = Image::new(blocks_of(inputs), width, height, 1, f32::NAN);
        let numbers = noise(inputs * width * height, 9);
        let factors: Vec<f32> = noise(blocks_of(inputs) * LANES, 11);
        for (i, &v) in numbers.iter().enumerate() {
            let (c, y, x) = (i / (width * height), i / width % height, i % width);
            let at = floats.index(c / LANES, y, x) + c % LANES;
            floats.memory[at] = v;
        }
        let mut units = Image::new(inputs.div_ceil(PAIRED_LANES), width, height, step, 0.0);
        let (from, to) = (floats.pointers(), units.pointers());
        let rounding = Rounding {
            inputs: constant(&from),
            input: floats.strides,
            factors: if case.factors {
                factors.as_ptr()
            } else {
                std::ptr::null()
            },
            outputs: &to,
            output: units.strides,
            channels: inputs,
        };
        // SAFETY: the images have all rows.
        unsafe { kernel.round_rows(&rounding, width, 0, height) };
        for (i, &v) in numbers.iter().enumerate() {
            let (c, y, x) = (i / (width * height), i / width % height, i % width);
            let v = if case.factors { v * factors[c] } else { v };
            assert_eq!(
                units.rounded(c, y, x),
                bf16::from_f32(v).to_f32(),
                "{case:?}: channel {c} of {x},{y}"
            );
        }
        for c in inputs..units.units * PAIRED_LANES {
            assert_eq!(units.rounded(c, height - 1, width - 1), 0.0, "{case:?}: channel {c}");
        }

        // Numbers beside the image must not matter, and are not written.
        const UNTOUCHED: f32 = 1234.5;
        let planes = outputs < 8;
        let count = if planes { outputs } else { blocks_of(outputs) };
        let plane = |fill| {
            let mut image = Image::new(count, width, height, 1, fill);
            if planes {
                image.strides = Strides { x: 1, y: width + 2 };
            }
            image
        };
        let (mut out, mut residual, mut gated) = (plane(UNTOUCHED), plane(0.0), plane(0.0));
        let mut rounded = Image::new(outputs.div_ceil(PAIRED_LANES), width, height, 1, UNTOUCHED);
        for (image, seed) in [(&mut residual, 21), (&mut gated, 22)] {
            let numbers = noise(image.memory.len(), seed);
            image.memory.copy_from_slice(&numbers);
        }
        let (residuals, gates) = (residual.pointers(), gated.pointers());
        let (outs, units_out) = (out.pointers(), rounded.pointers());
        let pick = |wanted: bool, pointers: &[*mut f32]| if wanted { pointers.to_vec() } else { vec![] };
        let (blocks, made, planes_out) = (
            pick(case.blocks, &outs),
            pick(case.units, &units_out),
            pick(planes, &outs),
        );
        let args = MatrixConv {
            kernel: side,
            inputs: constant(&to),
            input: units.strides,
            packed: &packed,
            channels: outputs,
            blocks: &blocks,
            block: out.strides,
            units: &made,
            unit: rounded.strides,
            planes: &planes_out,
            plane: out.strides,
            residuals: if case.residual { constant(&residuals) } else { &[] },
            residual: residual.strides,
            slope: case.slope,
            gated: if case.gate.is_some() { constant(&gates) } else { &[] },
            gated_strides: gated.strides,
            gate: case.gate.unwrap_or(Gate::Slope),
        };
        let mut scratch = Floats::try_zeroed(kernel.scratch_len(side, to.len())).unwrap();
        // SAFETY: the images have all rows and their margins.
        unsafe { kernel.rows(&args, width, 0, height, scratch.as_mut_ptr()) };

        let lane = |image: &Image, c: usize, y: usize, x: usize| match planes {
            true => image.memory[image.index(c, y, x)],
            false => image.memory[image.index(c / LANES, y, x) + c % LANES],
        };
        let half = (side / 2) as isize;
        for o in 0..outputs {
            for y in 0..height {
                for x in 0..width {
                    let (mut sum, mut size) = (f64::from(filter.bias[o]), 1.0);
                    for i in 0..inputs {
                        for ky in -half..=half {
                            for kx in -half..=half {
                                let (sy, sx) = (y as isize + ky, x as isize + kx);
                                if !(0..height as isize).contains(&sy) || !(0..width as isize).contains(&sx) {
                                    continue;
                                }
                                let tap = ((ky + half) * side as isize + kx + half) as usize;
                                let weight = bf16::from_f32(filter.weights[(o * inputs + i) * side * side + tap]);
                                let product = f64::from(weight.to_f32() * units.rounded(i, sy as usize, sx as usize));
                                sum += product;
                                size += product.abs();
                            }
                        }
                    }
                    if case.residual {
                        sum += f64::from(lane(&residual, o, y, x));
                    }
                    let expected = match case.gate {
                        None => sum.max(sum * f64::from(case.slope)),
                        Some(gate) => {
                            let activated = match gate {
                                Gate::Slope => sum.max(sum * f64::from(case.slope)),
                                Gate::Sigmoid => 1.0 / (1.0 + (-sum).exp()),
                                Gate::Clip(low, high) => sum.clamp(low.into(), high.into()),
                            };
                            activated * f64::from(lane(&gated, o, y, x))
                        }
                    };
                    let place = format!("{case:?}: channel {o} of {x},{y}");
                    if case.blocks || planes {
                        let found = f64::from(lane(&out, o, y, x));
                        assert!(
                            (found - expected).abs() < 2e-6 * size,
                            "{place}: {found} for {expected}"
                        );
                    }
                    if case.units {
                        let found = f64::from(rounded.rounded(o, y, x));
                        let allowed = 2e-6 * size + expected.abs() / 256.0;
                        assert!((found - expected).abs() < allowed, "{place}: {found} for {expected}");
                    }
                }
            }
        }
        // Pixels behind the last one, and the rest of the last unit.
        if case.units {
            assert_eq!(
                rounded.memory[rounded.index(0, height - 1, width)],
                UNTOUCHED,
                "{case:?}"
            );
            for c in outputs..rounded.units * PAIRED_LANES {
                assert_eq!(rounded.rounded(c, 0, 0), 0.0, "{case:?}: channel {c}");
            }
        }
        if case.blocks || planes {
            assert_eq!(out.memory[out.index(0, height - 1, width)], UNTOUCHED, "{case:?}");
        }
    }
}
