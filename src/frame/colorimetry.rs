//! How samples stand for colours: matrix, range and chroma siting (ITU-R BT.601, BT.709, BT.2020, BT.2100).

/// The luma weights, and with them the YCbCr matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Matrix {
    /// ITU-R BT.601.
    Bt601,
    /// ITU-R BT.709.
    #[default]
    Bt709,
    /// ITU-R BT.2020, non-constant luminance.
    Bt2020,
}

impl Matrix {
    /// Weights of red and blue in luma, K_R and K_B; green has the rest.
    pub const fn weights(self) -> (f32, f32) {
        match self {
            Matrix::Bt601 => (0.299, 0.114),
            Matrix::Bt709 => (0.2126, 0.0722),
            Matrix::Bt2020 => (0.2627, 0.0593),
        }
    }
}

/// The codes that mean black and white.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Range {
    /// Black is 0 and white is the largest code.
    Full,
    /// Of 8 bits: luma and RGB 16 to 235, colour differences 16 to 240.
    #[default]
    Limited,
}

/// Where a subsampled chroma sample lies among its luma samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChromaSite {
    /// On the left luma sample of the pair (MPEG-2, H.264) rather than between the two (JPEG).
    pub cosited_x: bool,
    /// On the upper luma sample of the pair (BT.2020) rather than between the two.
    pub cosited_y: bool,
}

impl Default for ChromaSite {
    /// MPEG-2, H.264 and H.265 unless they say otherwise: left, between the rows.
    fn default() -> Self {
        Self {
            cosited_x: true,
            cosited_y: false,
        }
    }
}

/// Everything needed to read a frame's codes as R'G'B' between 0 and 1.
///
/// The transfer function is left alone: the networks work on gamma-coded values, as they were trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Colorimetry {
    /// The YCbCr matrix; without meaning for RGB formats.
    pub matrix: Matrix,
    /// The codes of black and white.
    pub range: Range,
    /// Where chroma samples lie; without meaning where chroma is not subsampled.
    pub site: ChromaSite,
}

impl Colorimetry {
    /// Full-range RGB or grey, as in PNG and JPEG files.
    pub const FULL: Colorimetry = Colorimetry {
        matrix: Matrix::Bt601,
        range: Range::Full,
        site: ChromaSite {
            cosited_x: true,
            cosited_y: false,
        },
    };

    /// Code of black and the span from black to white, for luma (and RGB), at `depth` bits.
    pub(crate) fn luma_codes(&self, depth: u32) -> (f32, f32) {
        match self.range {
            Range::Full => (0.0, ((1u32 << depth) - 1) as f32),
            Range::Limited => ((16u32 << (depth - 8)) as f32, (219u32 << (depth - 8)) as f32),
        }
    }

    /// Code of no colour and the span of a colour difference from its least to its greatest, at `depth` bits.
    pub(crate) fn chroma_codes(&self, depth: u32) -> (f32, f32) {
        let middle = (1u32 << (depth - 1)) as f32;
        match self.range {
            Range::Full => (middle, ((1u32 << depth) - 1) as f32),
            Range::Limited => (middle, (224u32 << (depth - 8)) as f32),
        }
    }
}
