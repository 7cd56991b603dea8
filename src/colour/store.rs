//! A frame's samples from R'G'B' (ITU-R BT.601, BT.709, BT.2020).
//!
//! ```text
//! Y'  = K_R·R' + K_G·G' + K_B·B'
//! C_B = (B' − Y') / 2(1 − K_B)      C_R = (R' − Y') / 2(1 − K_R)
//! ```
//! Subsampled chroma is the mean over the pixels around the sample, weighted by where it lies.

use super::BLOCK;
use crate::disjoint::Disjoint;
use crate::frame::{ColourModel, Component, Frame, FrameSpec, Layout};

/// What turns R'G'B' into a frame's codes.
pub(super) struct Store {
    pub layout: &'static Layout,
    /// Code of black and span, at the word's scale.
    luma: (f32, f32),
    middle: f32,
    /// K_R, K_B.
    weights: (f32, f32),
    /// s_c / 2(1−K_B), s_c / 2(1−K_R).
    chroma: (f32, f32),
    cosited_x: bool,
    pub cosited_y: bool,
}

/// A row of the frame that is being written.
pub(super) struct Rows<'a> {
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
        // SAFETY: the caller's word.
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
        }
    }

    /// Whether chroma rows are made of two or three pixel rows.
    pub fn halves_rows(&self) -> bool {
        self.layout.colour.iter().any(|c| c.sub_y > 0)
    }

    /// Writes pixels `x..` of row `y` of an RGB or grey frame; the fourth byte comes from `input`.
    ///
    /// # Safety
    /// The caller alone writes row `y`.
    #[allow(unsafe_code)]
    #[inline(always)]
    pub unsafe fn write_rgb(&self, rows: &Rows<'_>, input: &Frame<'_>, y: usize, x: usize, rgb: [&[f32]; 3]) {
        let l = self.layout;
        let n = rgb[0].len();
        let mut codes = [[0u8; BLOCK]; 4];
        if l.model == ColourModel::Gray {
            // SAFETY: the caller's word.
            let row = unsafe { rows.row(0, y) };
            for (i, code) in row[x..x + n].iter_mut().enumerate() {
                *code = self.luma_code(rgb, i) as u8;
            }
            return;
        }
        let (black, span) = self.luma;
        for (codes, values) in codes.iter_mut().zip(rgb) {
            for (code, v) in codes.iter_mut().zip(values) {
                *code = round(black + span * v) as u8;
            }
        }
        if l.planes > 1 {
            for (c, codes) in l.colour.iter().zip(&codes) {
                // SAFETY: the caller's word.
                let row = unsafe { rows.row(c.plane, y) };
                row[x..x + n].copy_from_slice(&codes[..n]);
            }
            return;
        }
        // SAFETY: the caller's word.
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
            for (code, pixel) in codes[3].iter_mut().zip(source.chunks_exact(4)) {
                *code = pixel[c.offset];
            }
        }
        let [a, b, c, d] = order.map(|i| &codes[i][..n]);
        if step == 3 {
            for (i, pixel) in pixels.chunks_exact_mut(3).enumerate() {
                pixel.copy_from_slice(&[a[i], b[i], c[i]]);
            }
        } else {
            for (i, pixel) in pixels.chunks_exact_mut(4).enumerate() {
                pixel.copy_from_slice(&[a[i], b[i], c[i], d[i]]);
            }
        }
    }

    /// Writes the luma of pixels `x..` of row `y`.
    ///
    /// # Safety
    /// The caller alone writes row `y`.
    #[allow(unsafe_code)]
    #[inline(always)]
    pub unsafe fn write_luma(&self, rows: &Rows<'_>, y: usize, x: usize, rgb: [&[f32]; 3]) {
        let c = &self.layout.colour[0];
        let n = rgb[0].len();
        // SAFETY: the caller's word.
        let row = unsafe { rows.row(c.plane, y) };
        let mut codes = [0u16; BLOCK];
        for (i, code) in codes[..n].iter_mut().enumerate() {
            *code = self.luma_code(rgb, i);
        }
        self.put(c, row, x, &codes[..n]);
    }

    /// Adds `weight` times the colour differences of a row of pixels to `u` and `v`.
    #[inline(always)]
    pub fn add_chroma(&self, weight: f32, rgb: [&[f32]; 3], u: &mut [f32], v: &mut [f32]) {
        let (kr, kb) = self.weights;
        let kg = 1.0 - kr - kb;
        let (cu, cv) = (weight * self.chroma.0, weight * self.chroma.1);
        for (i, (u, v)) in u.iter_mut().zip(v).enumerate() {
            let (r, g, b) = (rgb[0][i], rgb[1][i], rgb[2][i]);
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
    pub unsafe fn write_chroma(&self, rows: &Rows<'_>, j: usize, x: usize, n: usize, u: &[f32], v: &[f32]) {
        let mut codes = [[0u16; BLOCK]; 2];
        let count = n.div_ceil(2);
        for (codes, d) in codes.iter_mut().zip([u, v]) {
            let d = &d[..2 * count + 2];
            for (k, code) in codes[..count].iter_mut().enumerate() {
                let at = 2 * k + 2;
                let mean = if self.cosited_x {
                    0.25 * d[at - 1] + 0.5 * d[at] + 0.25 * d[at + 1]
                } else {
                    0.5 * (d[at] + d[at + 1])
                };
                *code = self.limit(round(self.middle + mean));
            }
        }
        let [cu, cv] = [&self.layout.colour[1], &self.layout.colour[2]];
        if cu.plane == cv.plane && cu.step == 2 && !self.wide() {
            // SAFETY: the caller's word.
            let row = unsafe { rows.row(cu.plane, j) };
            let [first, second] = if cu.offset == 0 { [0, 1] } else { [1, 0] };
            let (first, second) = (&codes[first][..count], &codes[second][..count]);
            for (i, pair) in row[x..x + 2 * count].chunks_exact_mut(2).enumerate() {
                pair.copy_from_slice(&[first[i] as u8, second[i] as u8]);
            }
            return;
        }
        for (c, codes) in [cu, cv].into_iter().zip(&codes) {
            // SAFETY: the caller's word.
            let row = unsafe { rows.row(c.plane, j) };
            self.put(c, row, x / 2, &codes[..count]);
        }
    }

    #[inline(always)]
    fn luma_code(&self, rgb: [&[f32]; 3], i: usize) -> u16 {
        let (kr, kb) = self.weights;
        let luma = kr * rgb[0][i] + (1.0 - kr - kb) * rgb[1][i] + kb * rgb[2][i];
        self.limit(round(self.luma.0 + self.luma.1 * luma))
    }

    #[inline(always)]
    fn limit(&self, code: u16) -> u16 {
        code.min(((1u32 << self.layout.depth) - 1) as u16)
    }

    fn wide(&self) -> bool {
        self.layout.depth > 8
    }

    /// Samples `first..` of a component's row.
    #[inline(always)]
    fn put(&self, c: &Component, row: &mut [u8], first: usize, codes: &[u16]) {
        let row = &mut row[c.offset + first * c.step..];
        match (self.wide(), c.step) {
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
            (true, step) => {
                for (bytes, code) in row.chunks_mut(step).zip(codes) {
                    bytes[..2].copy_from_slice(&(code << self.layout.shift).to_le_bytes());
                }
            }
        }
    }
}

/// The nearest whole number of a value between 0 and 65535; anything below, and NaN, is 0.
#[inline(always)]
fn round(v: f32) -> u16 {
    // 2^23 is the float from which on neighbours are 1 apart: the addition rounds.
    const ONES: f32 = 8_388_608.0;
    (v.max(0.0) + ONES).to_bits() as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_to_the_nearest_and_never_wraps() {
        for (v, code) in [
            (-3.0, 0),
            (0.0, 0),
            (0.49, 0),
            (0.51, 1),
            (254.6, 255),
            (1022.7, 1023),
            (f32::NAN, 0),
        ] {
            assert_eq!(round(v), code, "{v}");
        }
    }
}
