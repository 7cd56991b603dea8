//! Composes the output frame: `input + strength · (clamp(L'·R, 0, 1) − input)`, in the input's format.

use std::sync::atomic::{AtomicU64, Ordering};

use super::block::{BLOCK, Block, Rgb, clamp};
use super::guided::{Between, Guide};
use super::luma::{luma_mean, luma_sum};
use super::planes::Planes;
use super::store::{Rows, Store};
use super::unpack::{LINES, Lines, Unpack};
use crate::cpu::capabilities::{Capabilities, vectorised};
use crate::cpu::threads::{Disjoint, Pool};
use crate::frame::{ColourModel, Frame, FrameMut, FrameSpec};

/// Rows that one task takes; even, so that no chroma row is shared.
const STRIP: usize = 16;

/// Where the enhanced picture comes from.
pub(crate) enum Relit<'a> {
    /// R at the frame's own size, and L'; without L' the picture is R itself.
    Native(&'a Planes, Option<&'a Planes>),
    /// A linear map from the frame's own pixels, fitted at the working size.
    Guided(&'a Guide),
}

struct Task<'a> {
    input: &'a Frame<'a>,
    unpack: Unpack,
    store: Store,
    relit: Relit<'a>,
    strength: f32,
    rows: Rows<'a>,
    spec: FrameSpec,
}

/// Buffers of one strip.
struct Scratch {
    input: Rgb,
    lines: Lines,
    between: Between,
}

/// Writes `output`, which is of `input`'s format and size; returns its mean luma.
pub(crate) fn compose(
    pool: &Pool,
    capabilities: Capabilities,
    input: &Frame<'_>,
    relit: Relit<'_>,
    strength: f32,
    output: &mut FrameMut<'_>,
) -> f32 {
    let spec = *input.spec();
    let strides = output.planes_mut().each_ref().map(|p| p.stride);
    let task = Task {
        input,
        unpack: Unpack::new(&spec),
        store: Store::new(&spec),
        relit,
        strength,
        rows: Rows {
            planes: output.planes_mut().each_mut().map(|p| Disjoint::new(p.data)),
            strides,
            spec,
        },
        spec,
    };
    let sum = AtomicU64::new(0);
    pool.run(spec.height.div_ceil(STRIP), &|i| {
        let luma = strip(capabilities, &task, i * STRIP, spec.height.min((i + 1) * STRIP));
        sum.fetch_add(luma, Ordering::Relaxed);
    });
    luma_mean(sum.into_inner(), spec.width * spec.height)
}

vectorised! {
    fn strip(task: &Task<'_>, from: usize, to: usize) -> u64 = strip_rows
}

#[inline(always)]
#[allow(unsafe_code)]
fn strip_rows(task: &Task<'_>, from: usize, to: usize) -> u64 {
    let (store, width) = (&task.store, task.spec.width);
    let weights = task.spec.colorimetry.matrix.weights();
    let mut sum = 0;
    let mut rgb: Rgb = [[0.0; BLOCK + 4]; 3];
    let mut scratch = Scratch {
        input: rgb,
        lines: LINES,
        between: Between::NONE,
    };
    if store.layout.model != ColourModel::Yuv {
        for x in (0..width).step_by(BLOCK) {
            for y in from..to {
                let n = BLOCK.min(width - x);
                task.pixels(y, x, n, &mut scratch, &mut rgb);
                let rgb = [&rgb[0][..n], &rgb[1][..n], &rgb[2][..n]];
                sum += luma_sum(rgb[0], rgb[1], rgb[2], weights);
                // SAFETY: each task writes its own rows.
                unsafe { store.write_rgb(&task.rows, task.input, y, x, rgb) };
            }
        }
        return sum;
    }
    let halves = store.halves_rows();
    let height = if halves { 2 } else { 1 };
    let last = task.spec.height - 1;
    // Down first: what is between two rows of the working size serves the next row, too.
    for x in (0..width).step_by(BLOCK) {
        for top in (from..to).step_by(height) {
            let n = BLOCK.min(width - x);
            // Two more pixels on the left keep blocks even; past the edge a neighbour is the edge pixel.
            let lead = 2 * (x > 0) as usize;
            let total = lead + (n + 2).min(width - x);
            let (mut u, mut v): (Block, Block) = ([0.0; BLOCK + 4], [0.0; BLOCK + 4]);
            let shift = 2 - lead;
            // The rows that a chroma row is made of: row, weight, and whether its luma is written here.
            let (above, below) = (top.saturating_sub(1), (top + 1).min(last));
            let group = match (halves, store.cosited_y) {
                (false, _) => [(top, 1.0, true), (top, 0.0, false), (top, 0.0, false)],
                (true, false) => [(top, 0.5, true), (below, 0.5, below != top), (top, 0.0, false)],
                (true, true) => [(above, 0.25, false), (top, 0.5, true), (below, 0.25, below != top)],
            };
            for (y, weight, own) in group {
                if weight == 0.0 {
                    continue;
                }
                task.pixels(y, x - lead, total, &mut scratch, &mut rgb);
                let all = [&rgb[0][..total], &rgb[1][..total], &rgb[2][..total]];
                store.add_chroma(weight, all, &mut u[shift..shift + total], &mut v[shift..shift + total]);
                if own {
                    let inner = [
                        &all[0][lead..lead + n],
                        &all[1][lead..lead + n],
                        &all[2][lead..lead + n],
                    ];
                    sum += luma_sum(inner[0], inner[1], inner[2], weights);
                    // SAFETY: each task writes its own rows.
                    unsafe { store.write_luma(&task.rows, task.input, y, x, inner) };
                }
            }
            for d in [&mut u, &mut v] {
                let (left, right) = (d[shift], d[shift + total - 1]);
                d[..shift].fill(left);
                d[shift + total..].fill(right);
            }
            // SAFETY: strips begin at even rows, so a chroma row belongs to one task.
            unsafe { store.write_chroma(&task.rows, top / height, x, n, &u, &v) };
        }
    }
    sum
}

impl Task<'_> {
    /// Pixels `x..x + n` of row `y` as they go out. `x` is even.
    #[inline(always)]
    fn pixels(&self, y: usize, x: usize, n: usize, scratch: &mut Scratch, out: &mut Rgb) {
        let Scratch { input, lines, between } = scratch;
        let guided = matches!(self.relit, Relit::Guided(_));
        if guided || self.strength < 1.0 {
            self.unpack.read(self.input, y, x, n, lines, input);
        }
        match &self.relit {
            Relit::Native(r, Some(l)) => {
                let l = &l.row(0, y)[x..x + n];
                for (c, out) in out.iter_mut().enumerate() {
                    for ((out, r), l) in out[..n].iter_mut().zip(&r.row(c, y)[x..x + n]).zip(l) {
                        *out = clamp(r * l);
                    }
                }
            }
            Relit::Native(r, None) => {
                for (c, out) in out.iter_mut().enumerate() {
                    for (out, r) in out[..n].iter_mut().zip(&r.row(c, y)[x..x + n]) {
                        *out = clamp(*r);
                    }
                }
            }
            Relit::Guided(guide) => guide.apply(y, x, n, between, input, out),
        }
        if self.strength < 1.0 {
            for (out, input) in out.iter_mut().zip(input.iter()) {
                for (out, i) in out[..n].iter_mut().zip(&input[..n]) {
                    *out = i + self.strength * (*out - i);
                }
            }
        }
    }
}
