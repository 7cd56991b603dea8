//! Conversion of a frame's pixels to R'G'B' (ITU-R BT.601, BT.709, BT.2020: inverse of the YCbCr equations).
//!
//! ```text
//! Y' = (y − y₀) / s_y      C_B = (u − c₀) / s_c      C_R = (v − c₀) / s_c
//! R' = Y' + 2(1 − K_R)·C_R
//! B' = Y' + 2(1 − K_B)·C_B
//! G' = (Y' − K_R·R' − K_B·B') / K_G
//! ```
//! Chroma between two samples is interpolated linearly, according to the chroma siting.

use super::block::{BLOCK, Block, Rgb};
use crate::frame::{ColourModel, Component, Frame, Layout, Shared, subsampled, word};

/// Room for two chroma rows of a block. A caller that reads many blocks keeps it.
pub(crate) type Lines = [Block; 2];

/// Empty [`Lines`].
pub(crate) const LINES: Lines = [[0.0; BLOCK + 4]; 2];

/// The conversion from codes of one frame specification to R'G'B'.
pub(crate) struct Unpack {
    layout: &'static Layout,
    width: usize,
    height: usize,
    pub cosited_x: bool,
    pub cosited_y: bool,
    /// The code of black and the reciprocal of the span, in the samples' own unit.
    pub luma: (f32, f32),
    /// 2(1−K_R)/s_c; K_B·2(1−K_B)/(K_G·s_c); K_R·2(1−K_R)/(K_G·s_c); 2(1−K_B)/s_c.
    pub chroma: [f32; 4],
    pub middle: f32,
}

impl Unpack {
    pub fn new(spec: &crate::frame::FrameSpec) -> Self {
        let layout = spec.format.layout();
        let unit = (1u32 << layout.shift) as f32;
        let (black, span) = spec.colorimetry.luma_codes(layout.depth);
        let (middle, chroma_span) = spec.colorimetry.chroma_codes(layout.depth);
        let (kr, kb) = spec.colorimetry.matrix.weights();
        let kg = 1.0 - kr - kb;
        let scale = 1.0 / (chroma_span * unit);
        let (cr, cb) = (2.0 * (1.0 - kr) * scale, 2.0 * (1.0 - kb) * scale);
        Self {
            layout,
            width: spec.width,
            height: spec.height,
            cosited_x: spec.colorimetry.site.cosited_x,
            cosited_y: spec.colorimetry.site.cosited_y,
            luma: (black * unit, 1.0 / (span * unit)),
            chroma: [cr, kb / kg * cb, kr / kg * cr, cb],
            middle: middle * unit,
        }
    }

    /// Pixels `x0..x0 + n` of row `y` to `out[_][..n]`, between 0 and 1. `x0` is even, `n` at most `BLOCK + 4`.
    #[inline(always)]
    pub(crate) fn read(&self, frame: &Frame<'_>, y: usize, x0: usize, n: usize, lines: &mut Lines, out: &mut Rgb) {
        let l = self.layout;
        let (black, scale) = self.luma;
        match l.model {
            ColourModel::Rgb => {
                for (component, out) in l.colour.iter().zip(out) {
                    load(frame.row(component.plane, y), component, l, x0, &mut out[..n]);
                    out[..n]
                        .iter_mut()
                        .for_each(|v| *v = ((*v - black) * scale).clamp(0.0, 1.0));
                }
            }
            ColourModel::Gray => {
                let [r, g, b] = out;
                load(frame.row(0, y), &l.colour[0], l, x0, &mut r[..n]);
                for ((r, g), b) in r[..n].iter_mut().zip(&mut g[..n]).zip(&mut b[..n]) {
                    *r = ((*r - black) * scale).clamp(0.0, 1.0);
                    *g = *r;
                    *b = *r;
                }
            }
            ColourModel::Yuv => {
                let [r, g, b] = out;
                load(frame.row(l.colour[0].plane, y), &l.colour[0], l, x0, &mut g[..n]);
                self.chroma(frame, y, &l.colour[1], x0, lines, &mut b[..n]);
                self.chroma(frame, y, &l.colour[2], x0, lines, &mut r[..n]);
                let [rv, gu, gv, bu] = self.chroma;
                for ((r, g), b) in r[..n].iter_mut().zip(&mut g[..n]).zip(&mut b[..n]) {
                    let (luma, u, v) = ((*g - black) * scale, *b - self.middle, *r - self.middle);
                    *r = (luma + rv * v).clamp(0.0, 1.0);
                    *g = (luma - gu * u - gv * v).clamp(0.0, 1.0);
                    *b = (luma + bu * u).clamp(0.0, 1.0);
                }
            }
        }
    }

    /// One chroma component at every pixel of a block.
    #[inline(always)]
    fn chroma(&self, frame: &Frame<'_>, y: usize, c: &Component, x0: usize, lines: &mut Lines, out: &mut [f32]) {
        let [line, other] = lines;
        self.chroma_line(frame, c, y >> c.sub_y, x0, out.len(), line);
        if c.sub_y > 0 {
            let (near, last) = (y / 2, subsampled(self.height, 1) - 1);
            let (far, weight) = match (self.cosited_y, y % 2) {
                (true, 0) => (near, 0.0),
                (true, _) => ((near + 1).min(last), 0.5),
                (false, 0) => (near.saturating_sub(1), 0.25),
                (false, _) => ((near + 1).min(last), 0.25),
            };
            if far != near {
                self.chroma_line(frame, c, far, x0, out.len(), other);
                let count = out.len() / 2 + 3;
                for (a, b) in line[..count].iter_mut().zip(&other[..count]) {
                    *a += weight * (*b - *a);
                }
            }
        }
        if c.sub_x == 0 {
            return out.copy_from_slice(&line[..out.len()]);
        }
        // line[k] is sample x0/2 − 1 + k; weights of the sample before and of the own one at even pixels, of the own
        // one and the next at odd ones.
        let [e0, e1, o0, o1] = if self.cosited_x {
            [0.0, 1.0, 0.5, 0.5]
        } else {
            [0.25, 0.75, 0.75, 0.25]
        };
        let (pairs, odd) = out.as_chunks_mut::<2>();
        let n = pairs.len();
        let (before, own, next) = (&line[..n + 1], &line[1..n + 2], &line[2..n + 2]);
        for (((pair, before), own), next) in pairs.iter_mut().zip(before).zip(own).zip(next) {
            *pair = [e0 * before + e1 * own, o0 * own + o1 * next];
        }
        if let [last] = odd {
            *last = e0 * before[n] + e1 * own[n];
        }
    }

    /// The samples of chroma row `j` under pixels `x0..x0 + n`, and one neighbour on either side where chroma is
    /// subsampled, repeated at the frame's edges.
    #[inline(always)]
    fn chroma_line(&self, frame: &Frame<'_>, c: &Component, j: usize, x0: usize, n: usize, line: &mut Block) {
        let layout = self.layout;
        let row = frame.row(c.plane, j);
        if c.sub_x == 0 {
            return load(row, c, layout, x0, &mut line[..n]);
        }
        let columns = subsampled(self.width, 1);
        let count = n.div_ceil(2) + 2;
        let lead = (x0 == 0) as usize;
        let first = x0 / 2 + lead - 1;
        let held = (count - lead).min(columns - first);
        load(row, c, layout, first, &mut line[lead..lead + held]);
        line[0] = if lead > 0 { line[lead] } else { line[0] };
        let last = line[lead + held - 1];
        line[lead + held..count].fill(last);
    }
}

/// Samples `first..` of a component's row, as numbers.
#[inline(always)]
fn load(row: &[u8], c: &Component, layout: &Layout, first: usize, out: &mut [f32]) {
    if layout.shared {
        return shared(row, c, first, out);
    }
    let row = &row[c.offset + first * c.step..];
    match (layout.is_wide(), c.step) {
        (false, 1) => strided::<1>(row, out),
        (false, 2) => strided::<2>(row, out),
        (false, 3) => strided::<3>(row, out),
        (false, _) => strided::<4>(row, out),
        (true, 2) => strided_words::<2>(row, out),
        (true, 4) => strided_words::<4>(row, out),
        (true, _) => strided_words::<8>(row, out),
    }
}

#[inline(always)]
fn strided<const STEP: usize>(row: &[u8], out: &mut [f32]) {
    let (whole, last) = out.split_at_mut(out.len() - 1);
    for (out, sample) in whole.iter_mut().zip(row.as_chunks::<STEP>().0) {
        *out = sample[0] as f32;
    }
    last[0] = row[whole.len() * STEP] as f32;
}

#[inline(always)]
fn strided_words<const STEP: usize>(row: &[u8], out: &mut [f32]) {
    let (whole, last) = out.split_at_mut(out.len() - 1);
    for (out, sample) in whole.iter_mut().zip(row.as_chunks::<STEP>().0) {
        *out = u16::from_le_bytes([sample[0], sample[1]]) as f32;
    }
    let at = whole.len() * STEP;
    last[0] = u16::from_le_bytes([row[at], row[at + 1]]) as f32;
}

#[inline(always)]
fn shared(row: &[u8], c: &Component, first: usize, out: &mut [f32]) {
    let mut place = Shared::of(c.offset + first * c.step);
    for out in out {
        *out = place.code(word(row, place.at)) as f32;
        place = place.after(c.step);
    }
}
