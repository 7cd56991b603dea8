//! Conversion of R'G'B' to a frame's samples (ITU-R BT.601, BT.709, BT.2020).
//!
//! ```text
//! Y'  = K_R·R' + K_G·G' + K_B·B'
//! C_B = (B' − Y') / 2(1 − K_B)      C_R = (R' − Y') / 2(1 − K_R)
//! ```
//! Subsampled chroma is the weighted mean of the pixels around the sample, according to the chroma siting. Alpha and
//! padding are carried over from the frame that came in.

use super::block::BLOCK;
use crate::cpu::threads::Disjoint;
use crate::frame::{ColourModel, Component, Frame, FrameSpec, Layout, Shared, word};

/// The conversion from R'G'B' to codes of one frame specification.
pub(crate) struct Store {
    pub layout: &'static Layout,
    /// Code of black and span.
    pub luma: (f32, f32),
    pub middle: f32,
    /// K_R, K_B.
    pub weights: (f32, f32),
    /// s_c / 2(1−K_B), s_c / 2(1−K_R).
    pub chroma: (f32, f32),
    cosited_x: bool,
    pub cosited_y: bool,
    /// The greatest code.
    greatest: f32,
}

/// The rows of the frame that is being written.
pub(crate) struct Rows<'a> {
    pub planes: [Disjoint<'a, u8>; crate::frame::MAX_PLANES],
    pub strides: [usize; crate::frame::MAX_PLANES],
    pub spec: FrameSpec,
}

impl Rows<'_> {
    /// Row `y` of `plane`.
    ///
    /// # Safety
    /// No other part of the same row is alive.
    #[allow(unsafe_code, clippy::mut_from_ref)]
    #[inline(always)]
    unsafe fn row(&self, plane: usize, y: usize) -> &mut [u8] {
        let start = y * self.strides[plane];
        let bytes = self.spec.format.row_bytes(plane, self.spec.width);
        // SAFETY: guaranteed by the caller.
        unsafe { self.planes[plane].part(start..start + bytes) }
    }
}

impl Store {
    pub fn new(spec: &FrameSpec) -> Self {
        let layout = spec.format.layout();
        let (black, span) = spec.colorimetry.luma_codes(layout.depth);
        let (middle, chroma) = spec.colorimetry.chroma_codes(layout.depth);
        let weights = spec.colorimetry.matrix.weights();
        Self {
            layout,
            luma: (black, span),
            middle,
            weights,
            chroma: (chroma / (2.0 * (1.0 - weights.1)), chroma / (2.0 * (1.0 - weights.0))),
            cosited_x: spec.colorimetry.site.cosited_x,
            cosited_y: spec.colorimetry.site.cosited_y,
            greatest: ((1u32 << layout.depth) - 1) as f32,
        }
    }

    /// Whether chroma rows are made of two or three pixel rows.
    pub(crate) fn halves_rows(&self) -> bool {
        self.layout.subsampling().1 > 0
    }

    /// Writes pixels `x..` of row `y` of an RGB or grey frame; what is carried over comes from `input`.
    ///
    /// # Safety
    /// The caller alone writes row `y`.
    #[allow(unsafe_code)]
    #[inline(always)]
    pub(crate) unsafe fn write_rgb(&self, rows: &Rows<'_>, input: &Frame<'_>, y: usize, x: usize, rgb: [&[f32]; 3]) {
        let l = self.layout;
        if l.model == ColourModel::Gray {
            // SAFETY: guaranteed by the caller.
            return unsafe { self.write_luma(rows, input, y, x, rgb) };
        }
        let n = rgb[0].len();
        let (black, span) = self.luma;
        if l.planes > 1 || l.is_wide() {
            let mut codes = [0u16; BLOCK];
            for (c, values) in l.colour.iter().zip(rgb) {
                for (code, v) in codes.iter_mut().zip(values) {
                    *code = self.round(black + span * v);
                }
                // SAFETY: guaranteed by the caller.
                let row = unsafe { rows.row(c.plane, y) };
                self.put(c, row, x, &codes[..n]);
            }
            // SAFETY: guaranteed by the caller.
            return unsafe { self.carry(rows, input, y, x, n) };
        }
        let mut codes = [[0u8; BLOCK]; 4];
        for (codes, values) in codes.iter_mut().zip(rgb) {
            for (code, v) in codes.iter_mut().zip(values) {
                *code = self.round(black + span * v) as u8;
            }
        }
        // SAFETY: guaranteed by the caller.
        let row = unsafe { rows.row(0, y) };
        let step = l.colour[0].step;
        let pixels = &mut row[x * step..(x + n) * step];
        // Codes in the order of their bytes.
        let mut order = [0usize; 4];
        for (i, c) in l.colour.iter().enumerate() {
            order[c.offset] = i;
        }
        if let Some(c) = l.carried {
            order[c.offset] = 3;
            let source = &input.row(0, y)[x * step..(x + n) * step];
            for (code, pixel) in codes[3].iter_mut().zip(source.as_chunks::<4>().0) {
                *code = pixel[c.offset];
            }
        }
        let [a, b, c, d] = order.map(|i| &codes[i][..n]);
        let codes = a.iter().zip(b).zip(c).zip(d);
        if step == 3 {
            for (pixel, (((a, b), c), _)) in pixels.as_chunks_mut::<3>().0.iter_mut().zip(codes) {
                *pixel = [*a, *b, *c];
            }
        } else {
            for (pixel, (((a, b), c), d)) in pixels.as_chunks_mut::<4>().0.iter_mut().zip(codes) {
                *pixel = [*a, *b, *c, *d];
            }
        }
    }

    /// Writes the luma of pixels `x..` of row `y`; what is carried over comes from `input`.
    ///
    /// # Safety
    /// The caller alone writes row `y`.
    #[allow(unsafe_code)]
    #[inline(always)]
    pub(crate) unsafe fn write_luma(&self, rows: &Rows<'_>, input: &Frame<'_>, y: usize, x: usize, rgb: [&[f32]; 3]) {
        let c = &self.layout.colour[0];
        let n = rgb[0].len();
        let mut codes = [0u16; BLOCK];
        self.luma_codes(rgb, &mut codes[..n]);
        // SAFETY: guaranteed by the caller.
        unsafe {
            self.put(c, rows.row(c.plane, y), x, &codes[..n]);
            self.carry(rows, input, y, x, n);
        }
    }

    /// Carries over alpha or padding of pixels `x..x + n` of row `y`.
    ///
    /// # Safety
    /// The caller alone writes row `y`.
    #[allow(unsafe_code)]
    #[inline(always)]
    unsafe fn carry(&self, rows: &Rows<'_>, input: &Frame<'_>, y: usize, x: usize, n: usize) {
        let (Some(c), size) = (&self.layout.carried, self.layout.sample_bytes()) else {
            return;
        };
        // SAFETY: guaranteed by the caller.
        let to = &mut unsafe { rows.row(c.plane, y) }[c.offset + x * c.step..];
        let from = &input.row(c.plane, y)[c.offset + x * c.step..];
        if c.step == size {
            return to[..n * size].copy_from_slice(&from[..n * size]);
        }
        for (to, from) in to.chunks_mut(c.step).zip(from.chunks(c.step)).take(n) {
            to[..size].copy_from_slice(&from[..size]);
        }
    }

    /// Adds `weight` times the colour differences of a row of pixels to `u` and `v`.
    #[inline(always)]
    pub(crate) fn add_chroma(&self, weight: f32, rgb: [&[f32]; 3], u: &mut [f32], v: &mut [f32]) {
        let (kr, kb) = self.weights;
        let kg = 1.0 - kr - kb;
        let (cu, cv) = (weight * self.chroma.0, weight * self.chroma.1);
        let pixels = rgb[0].iter().zip(rgb[1]).zip(rgb[2]);
        for ((u, v), ((r, g), b)) in u.iter_mut().zip(v).zip(pixels) {
            let luma = kr * r + kg * g + kb * b;
            *u += cu * (b - luma);
            *v += cv * (r - luma);
        }
    }

    /// Writes chroma row `j` for the pixels from `x` (even) on. `u` and `v` hold the differences of these pixels from
    /// index 2 on, and of two neighbours on either side.
    ///
    /// # Safety
    /// The caller alone writes chroma row `j`.
    #[allow(unsafe_code)]
    #[inline(always)]
    pub(crate) unsafe fn write_chroma(&self, rows: &Rows<'_>, j: usize, x: usize, n: usize, u: &[f32], v: &[f32]) {
        let mut codes = [[0u16; BLOCK]; 2];
        let [cu, cv] = [&self.layout.colour[1], &self.layout.colour[2]];
        let (first, count) = (x >> cu.sub_x, n.div_ceil(1 << cu.sub_x));
        let [left, own, right] = if self.cosited_x {
            [0.25, 0.5, 0.25]
        } else {
            [0.0, 0.5, 0.5]
        };
        for (codes, d) in codes.iter_mut().zip([u, v]) {
            if cu.sub_x == 0 {
                for (code, own) in codes[..count].iter_mut().zip(&d[2..]) {
                    *code = self.round(self.middle + own);
                }
                continue;
            }
            // Neighbour and own difference, and the one after the own.
            let (pairs, after) = (d[1..].as_chunks::<2>().0, d[3..].as_chunks::<2>().0);
            for ((code, pair), after) in codes[..count].iter_mut().zip(pairs).zip(after) {
                let mean = left * pair[0] + own * pair[1] + right * after[0];
                *code = self.round(self.middle + mean);
            }
        }
        if cu.plane == cv.plane && cu.step == 2 && !self.layout.is_wide() {
            // SAFETY: guaranteed by the caller.
            let row = unsafe { rows.row(cu.plane, j) };
            let pairs = row[2 * first..2 * (first + count)].as_chunks_mut::<2>().0;
            let [first, second] = if cu.offset == 0 { [0, 1] } else { [1, 0] };
            for ((pair, first), second) in pairs.iter_mut().zip(&codes[first]).zip(&codes[second]) {
                *pair = [*first as u8, *second as u8];
            }
            return;
        }
        for (c, codes) in [cu, cv].into_iter().zip(&codes) {
            // SAFETY: guaranteed by the caller.
            let row = unsafe { rows.row(c.plane, j) };
            self.put(c, row, first, &codes[..count]);
        }
    }

    #[inline(always)]
    fn luma_codes(&self, rgb: [&[f32]; 3], codes: &mut [u16]) {
        let (kr, kb) = self.weights;
        let kg = 1.0 - kr - kb;
        let (black, span) = self.luma;
        let pixels = rgb[0].iter().zip(rgb[1]).zip(rgb[2]);
        for (code, ((r, g), b)) in codes.iter_mut().zip(pixels) {
            *code = self.round(black + span * (kr * r + kg * g + kb * b));
        }
    }

    #[inline(always)]
    fn round(&self, v: f32) -> u16 {
        round(v, self.greatest)
    }

    /// Samples `first..` of a component's row.
    #[inline(always)]
    fn put(&self, c: &Component, row: &mut [u8], first: usize, codes: &[u16]) {
        if self.layout.shared {
            let mut place = Shared::of(c.offset + first * c.step);
            for code in codes {
                let changed = place.with(word(row, place.at), (*code).into());
                row[place.at..place.at + 4].copy_from_slice(&changed.to_le_bytes());
                place = place.after(c.step);
            }
            return;
        }
        let row = &mut row[c.offset + first * c.step..];
        match (self.layout.is_wide(), c.step) {
            (false, 1) => {
                for (byte, code) in row.iter_mut().zip(codes) {
                    *byte = *code as u8;
                }
            }
            (false, step) => {
                for (bytes, code) in row.chunks_mut(step).zip(codes) {
                    bytes[0] = *code as u8;
                }
            }
            (true, 2) => {
                for (bytes, code) in row.as_chunks_mut::<2>().0.iter_mut().zip(codes) {
                    *bytes = (code << self.layout.shift).to_le_bytes();
                }
            }
            (true, step) => {
                for (bytes, code) in row.chunks_mut(step).zip(codes) {
                    bytes[..2].copy_from_slice(&(code << self.layout.shift).to_le_bytes());
                }
            }
        }
    }
}

/// The nearest code of a value; anything below 0, and NaN, is 0, anything above `greatest`, at most 65535, is that.
#[inline(always)]
fn round(v: f32, greatest: f32) -> u16 {
    // 2^23 is the float from which on neighbours are 1 apart: the addition rounds.
    const ONES: f32 = 8_388_608.0;
    let v = v.max(0.0);
    ((if v < greatest { v } else { greatest }) + ONES).to_bits() as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_to_the_nearest_and_never_wraps() {
        for (v, greatest, code) in [
            (-3.0, 255.0, 0),
            (0.0, 255.0, 0),
            (0.49, 255.0, 0),
            (0.51, 255.0, 1),
            (254.6, 255.0, 255),
            (255.5, 255.0, 255),
            (1022.7, 1023.0, 1023),
            (65535.0, 65535.0, 65535),
            (65536.0, 65535.0, 65535),
            (f32::NAN, 65535.0, 0),
        ] {
            assert_eq!(round(v, greatest), code, "{v}");
        }
    }
}
