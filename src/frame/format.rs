//! The pixel formats and how each lies in memory: one table.

use PixelFormat::*;

/// A pixel format, named as GStreamer names it.
#[allow(missing_docs)] // The names are the documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PixelFormat {
    Rgb,
    Bgr,
    Rgba,
    Bgra,
    Argb,
    Abgr,
    Rgbx,
    Bgrx,
    Xrgb,
    Xbgr,
    Gbr,
    Nv12,
    Nv21,
    I420,
    Yv12,
    Y42b,
    Yuy2,
    Uyvy,
    Gray8,
    I420_10le,
    P010_10le,
    Y444,
    Nv16,
    Nv61,
    Nv24,
    Yvyu,
    Vyuy,
    Ayuv,
    Vuya,
    I422_10le,
    Y444_10le,
    Y210,
    Gbr10le,
    I420_12le,
    I422_12le,
    Y444_12le,
    P012le,
    Y212le,
    Y412le,
    Gbr12le,
    Y444_16le,
    P016le,
    Ayuv64,
    Argb64,
    Rgba64le,
    Gray16le,
    V210,
    A420,
    A422,
    A444,
    A420_10le,
    A422_10le,
    A444_10le,
    A444_12le,
    Gbra,
    Gbra10le,
    Gbra12le,
}

/// What the components of a format mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ColourModel {
    /// Red, green, blue.
    Rgb,
    /// Luma and two colour differences.
    Yuv,
    /// Luma alone.
    Gray,
}

/// Where the samples of one component are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Component {
    /// Index of the plane.
    pub plane: usize,
    /// Bytes from the start of a row to the first sample; samples, where they share words.
    pub offset: usize,
    /// Bytes from one sample to the next; samples, where they share words.
    pub step: usize,
    /// log2 of the horizontal subsampling.
    pub sub_x: u32,
    /// log2 of the vertical subsampling.
    pub sub_y: u32,
}

/// How a format lies in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    pub model: ColourModel,
    pub planes: usize,
    /// Significant bits of a sample; more than 8 means 16-bit little-endian words.
    pub depth: u32,
    /// Empty low bits of a word (P010 and Y210 keep their ten bits at the top).
    pub shift: u32,
    /// R, G, B or Y, U, V or Y alone.
    pub colour: &'static [Component],
    /// The sample that is carried over unchanged: alpha or padding, at full size.
    pub carried: Option<Component>,
    /// Three samples, the first in the lowest bits, share a 32-bit little-endian word (v210).
    pub shared: bool,
    /// Rows are whole groups of this many bytes (4:2:2 packed: 4, 8 or 16), for `group_width` pixels.
    pub group_bytes: usize,
    pub group_width: usize,
}

const fn at(plane: usize, offset: usize, step: usize, sub_x: u32, sub_y: u32) -> Component {
    Component {
        plane,
        offset,
        step,
        sub_x,
        sub_y,
    }
}

const fn layout(
    model: ColourModel,
    planes: usize,
    (depth, shift): (u32, u32),
    colour: &'static [Component],
    carried: Option<Component>,
) -> Layout {
    Layout {
        model,
        planes,
        depth,
        shift,
        colour,
        carried,
        shared: false,
        group_bytes: 0,
        group_width: 1,
    }
}

/// Bytes of a sample, and of the word that holds it.
const fn sample_bytes(depth: u32) -> usize {
    if depth > 8 { 2 } else { 1 }
}

/// One plane in which every pixel has all components: which of its samples each is, and which one is carried over.
macro_rules! packed {
    ($model:ident, $samples:literal of $depth:literal << $shift:literal: $a:literal $b:literal $c:literal
        $(, $carried:literal)?) => {{
        const SIZE: usize = sample_bytes($depth);
        const fn nth(sample: usize) -> Component {
            at(0, SIZE * sample, SIZE * $samples, 0, 0)
        }
        const C: &[Component] = &[nth($a), nth($b), nth($c)];
        const A: Option<Component> = [$(Some(nth($carried)),)? None][0];
        const L: Layout = layout(ColourModel::$model, 1, ($depth, $shift), C, A);
        &L
    }};
}

/// Components of one sample a step, in planes of their own; behind them one of full size that is carried over.
macro_rules! planar {
    ($model:ident, $depth:literal: $($plane:literal / $sub_x:literal $sub_y:literal),+ $(; $carried:literal)?) => {{
        const STEP: usize = sample_bytes($depth);
        const C: &[Component] = &[$(at($plane, 0, STEP, $sub_x, $sub_y)),+];
        const A: Option<Component> = [$(Some(at($carried, 0, STEP, 0, 0)),)? None][0];
        const L: Layout = layout(ColourModel::$model, C.len() + A.is_some() as usize, ($depth, 0), C, A);
        &L
    }};
}

/// Luma in one plane, pairs of colour differences in another: which of a pair is U, which V.
macro_rules! semi_planar {
    ($depth:literal << $shift:literal: $u:literal $v:literal / $sub_x:literal $sub_y:literal) => {{
        const SIZE: usize = sample_bytes($depth);
        const C: &[Component] = &[
            at(0, 0, SIZE, 0, 0),
            at(1, SIZE * $u, 2 * SIZE, $sub_x, $sub_y),
            at(1, SIZE * $v, 2 * SIZE, $sub_x, $sub_y),
        ];
        const L: Layout = layout(ColourModel::Yuv, 2, ($depth, $shift), C, None);
        &L
    }};
}

/// One plane of groups of four samples for two pixels: which is the first luma, U and V.
macro_rules! packed_422 {
    ($depth:literal << $shift:literal: $y:literal $u:literal $v:literal) => {{
        const SIZE: usize = sample_bytes($depth);
        const C: &[Component] = &[
            at(0, SIZE * $y, 2 * SIZE, 0, 0),
            at(0, SIZE * $u, 4 * SIZE, 1, 0),
            at(0, SIZE * $v, 4 * SIZE, 1, 0),
        ];
        const L: Layout = Layout {
            group_bytes: 4 * SIZE,
            group_width: 2,
            ..layout(ColourModel::Yuv, 1, ($depth, $shift), C, None)
        };
        &L
    }};
}

/// 4:2:2 of ten bits in groups of four words for six pixels: U Y V, Y U Y, V Y U, Y V Y.
const SHARED_422: Layout = Layout {
    shared: true,
    group_bytes: 16,
    group_width: 6,
    ..layout(
        ColourModel::Yuv,
        1,
        (10, 0),
        &[at(0, 1, 2, 0, 0), at(0, 0, 4, 1, 0), at(0, 2, 4, 1, 0)],
        None,
    )
};

impl PixelFormat {
    /// Every format, in the order in which the element prefers them.
    pub const ALL: [PixelFormat; 57] = [
        Nv12, I420, Rgb, Bgr, Rgba, Bgra, Argb, Abgr, Rgbx, Bgrx, Xrgb, Xbgr, Gbr, Nv21, Yv12, Y42b, Yuy2, Uyvy, Gray8,
        I420_10le, P010_10le, Y444, Nv16, Nv61, Nv24, Yvyu, Vyuy, Ayuv, Vuya, I422_10le, Y444_10le, Y210, Gbr10le,
        I420_12le, I422_12le, Y444_12le, P012le, Y212le, Y412le, Gbr12le, Y444_16le, P016le, Ayuv64, Argb64, Rgba64le,
        Gray16le, V210, A420, A422, A444, A420_10le, A422_10le, A444_10le, A444_12le, Gbra, Gbra10le, Gbra12le,
    ];

    /// The name that GStreamer uses in caps.
    pub const fn name(self) -> &'static str {
        match self {
            Rgb => "RGB",
            Bgr => "BGR",
            Rgba => "RGBA",
            Bgra => "BGRA",
            Argb => "ARGB",
            Abgr => "ABGR",
            Rgbx => "RGBx",
            Bgrx => "BGRx",
            Xrgb => "xRGB",
            Xbgr => "xBGR",
            Gbr => "GBR",
            Nv12 => "NV12",
            Nv21 => "NV21",
            I420 => "I420",
            Yv12 => "YV12",
            Y42b => "Y42B",
            Yuy2 => "YUY2",
            Uyvy => "UYVY",
            Gray8 => "GRAY8",
            I420_10le => "I420_10LE",
            P010_10le => "P010_10LE",
            Y444 => "Y444",
            Nv16 => "NV16",
            Nv61 => "NV61",
            Nv24 => "NV24",
            Yvyu => "YVYU",
            Vyuy => "VYUY",
            Ayuv => "AYUV",
            Vuya => "VUYA",
            I422_10le => "I422_10LE",
            Y444_10le => "Y444_10LE",
            Y210 => "Y210",
            Gbr10le => "GBR_10LE",
            I420_12le => "I420_12LE",
            I422_12le => "I422_12LE",
            Y444_12le => "Y444_12LE",
            P012le => "P012_LE",
            Y212le => "Y212_LE",
            Y412le => "Y412_LE",
            Gbr12le => "GBR_12LE",
            Y444_16le => "Y444_16LE",
            P016le => "P016_LE",
            Ayuv64 => "AYUV64",
            Argb64 => "ARGB64",
            Rgba64le => "RGBA64_LE",
            Gray16le => "GRAY16_LE",
            V210 => "v210",
            A420 => "A420",
            A422 => "A422",
            A444 => "A444",
            A420_10le => "A420_10LE",
            A422_10le => "A422_10LE",
            A444_10le => "A444_10LE",
            A444_12le => "A444_12LE",
            Gbra => "GBRA",
            Gbra10le => "GBRA_10LE",
            Gbra12le => "GBRA_12LE",
        }
    }

    /// The format of that GStreamer name, if it is one of ours.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|f| f.name() == name)
    }

    /// Significant bits of a sample. More than 8 lie in 16-bit words, in the byte order of little-endian machines, unless
    /// they share words ([`PixelFormat::shares_words`]).
    pub fn depth(self) -> u32 {
        self.layout().depth
    }

    /// Empty bits of a word below a sample.
    pub fn shift(self) -> u32 {
        self.layout().shift
    }

    /// Whether three samples share a 32-bit little-endian word, the first in its lowest bits.
    pub fn shares_words(self) -> bool {
        self.layout().shared
    }

    /// Number of planes in memory.
    pub fn planes(self) -> usize {
        self.layout().planes
    }

    /// The shortest row of `plane`, in bytes, for a frame of `width` pixels.
    pub fn row_bytes(self, plane: usize, width: usize) -> usize {
        let l = self.layout();
        if l.group_bytes > 0 {
            return width.div_ceil(l.group_width) * l.group_bytes;
        }
        let sample = l.sample_bytes();
        let all = l.colour.iter().chain(l.carried.as_ref());
        all.filter(|c| c.plane == plane)
            .map(|c| c.offset + (subsampled(width, c.sub_x) - 1) * c.step + sample)
            .max()
            .unwrap_or(0)
    }

    /// Rows of `plane` for a frame of `height` pixels.
    pub fn rows(self, plane: usize, height: usize) -> usize {
        let l = self.layout();
        let c = l.colour.iter().chain(&l.carried).find(|c| c.plane == plane);
        c.map_or(0, |c| subsampled(height, c.sub_y))
    }

    pub(crate) const fn layout(self) -> &'static Layout {
        match self {
            Rgb => packed!(Rgb, 3 of 8 << 0: 0 1 2),
            Bgr => packed!(Rgb, 3 of 8 << 0: 2 1 0),
            Rgba | Rgbx => packed!(Rgb, 4 of 8 << 0: 0 1 2, 3),
            Bgra | Bgrx => packed!(Rgb, 4 of 8 << 0: 2 1 0, 3),
            Argb | Xrgb => packed!(Rgb, 4 of 8 << 0: 1 2 3, 0),
            Abgr | Xbgr => packed!(Rgb, 4 of 8 << 0: 3 2 1, 0),
            Argb64 => packed!(Rgb, 4 of 16 << 0: 1 2 3, 0),
            Rgba64le => packed!(Rgb, 4 of 16 << 0: 0 1 2, 3),
            Gbr => planar!(Rgb, 8: 2 / 0 0, 0 / 0 0, 1 / 0 0),
            Gbr10le => planar!(Rgb, 10: 2 / 0 0, 0 / 0 0, 1 / 0 0),
            Gbr12le => planar!(Rgb, 12: 2 / 0 0, 0 / 0 0, 1 / 0 0),
            Gray8 => planar!(Gray, 8: 0 / 0 0),
            Gray16le => planar!(Gray, 16: 0 / 0 0),
            I420 => planar!(Yuv, 8: 0 / 0 0, 1 / 1 1, 2 / 1 1),
            Yv12 => planar!(Yuv, 8: 0 / 0 0, 2 / 1 1, 1 / 1 1),
            Y42b => planar!(Yuv, 8: 0 / 0 0, 1 / 1 0, 2 / 1 0),
            Y444 => planar!(Yuv, 8: 0 / 0 0, 1 / 0 0, 2 / 0 0),
            I420_10le => planar!(Yuv, 10: 0 / 0 0, 1 / 1 1, 2 / 1 1),
            I422_10le => planar!(Yuv, 10: 0 / 0 0, 1 / 1 0, 2 / 1 0),
            Y444_10le => planar!(Yuv, 10: 0 / 0 0, 1 / 0 0, 2 / 0 0),
            I420_12le => planar!(Yuv, 12: 0 / 0 0, 1 / 1 1, 2 / 1 1),
            I422_12le => planar!(Yuv, 12: 0 / 0 0, 1 / 1 0, 2 / 1 0),
            Y444_12le => planar!(Yuv, 12: 0 / 0 0, 1 / 0 0, 2 / 0 0),
            Y444_16le => planar!(Yuv, 16: 0 / 0 0, 1 / 0 0, 2 / 0 0),
            Nv12 => semi_planar!(8 << 0: 0 1 / 1 1),
            Nv21 => semi_planar!(8 << 0: 1 0 / 1 1),
            Nv16 => semi_planar!(8 << 0: 0 1 / 1 0),
            Nv61 => semi_planar!(8 << 0: 1 0 / 1 0),
            Nv24 => semi_planar!(8 << 0: 0 1 / 0 0),
            P010_10le => semi_planar!(10 << 6: 0 1 / 1 1),
            P012le => semi_planar!(12 << 4: 0 1 / 1 1),
            P016le => semi_planar!(16 << 0: 0 1 / 1 1),
            Yuy2 => packed_422!(8 << 0: 0 1 3),
            Yvyu => packed_422!(8 << 0: 0 3 1),
            Uyvy => packed_422!(8 << 0: 1 0 2),
            Vyuy => packed_422!(8 << 0: 1 2 0),
            Y210 => packed_422!(10 << 6: 0 1 3),
            Y212le => packed_422!(12 << 4: 0 1 3),
            Ayuv => packed!(Yuv, 4 of 8 << 0: 1 2 3, 0),
            Vuya => packed!(Yuv, 4 of 8 << 0: 2 1 0, 3),
            Y412le => packed!(Yuv, 4 of 12 << 4: 1 0 2, 3),
            Ayuv64 => packed!(Yuv, 4 of 16 << 0: 1 2 3, 0),
            V210 => &SHARED_422,
            A420 => planar!(Yuv, 8: 0 / 0 0, 1 / 1 1, 2 / 1 1; 3),
            A422 => planar!(Yuv, 8: 0 / 0 0, 1 / 1 0, 2 / 1 0; 3),
            A444 => planar!(Yuv, 8: 0 / 0 0, 1 / 0 0, 2 / 0 0; 3),
            A420_10le => planar!(Yuv, 10: 0 / 0 0, 1 / 1 1, 2 / 1 1; 3),
            A422_10le => planar!(Yuv, 10: 0 / 0 0, 1 / 1 0, 2 / 1 0; 3),
            A444_10le => planar!(Yuv, 10: 0 / 0 0, 1 / 0 0, 2 / 0 0; 3),
            A444_12le => planar!(Yuv, 12: 0 / 0 0, 1 / 0 0, 2 / 0 0; 3),
            Gbra => planar!(Rgb, 8: 2 / 0 0, 0 / 0 0, 1 / 0 0; 3),
            Gbra10le => planar!(Rgb, 10: 2 / 0 0, 0 / 0 0, 1 / 0 0; 3),
            Gbra12le => planar!(Rgb, 12: 2 / 0 0, 0 / 0 0, 1 / 0 0; 3),
        }
    }
}

impl Layout {
    /// Bytes of the word that holds a sample, or three.
    pub const fn sample_bytes(&self) -> usize {
        if self.shared { 4 } else { sample_bytes(self.depth) }
    }

    /// Whether samples have more than 8 bits.
    pub const fn is_wide(&self) -> bool {
        self.depth > 8
    }

    /// The code of sample `i` of a component's row.
    ///
    /// # Panics
    /// If the row has no such sample, as [`Layout::write`].
    pub fn read(&self, row: &[u8], c: &Component, i: usize) -> u32 {
        let n = c.offset + i * c.step;
        if self.shared {
            let place = Shared::of(n);
            return place.code(word(row, place.at));
        }
        match self.is_wide() {
            true => u32::from(u16::from_le_bytes([row[n], row[n + 1]])) >> self.shift,
            false => row[n].into(),
        }
    }

    /// Sets sample `i` of a component's row; `code` has no more than [`depth`](Self::depth) bits.
    pub fn write(&self, row: &mut [u8], c: &Component, i: usize, code: u32) {
        let n = c.offset + i * c.step;
        if self.shared {
            let place = Shared::of(n);
            let changed = place.with(word(row, place.at), code);
            row[place.at..place.at + 4].copy_from_slice(&changed.to_le_bytes());
            return;
        }
        match self.is_wide() {
            true => row[n..n + 2].copy_from_slice(&((code << self.shift) as u16).to_le_bytes()),
            false => row[n] = code as u8,
        }
    }

    /// log2 of the chroma subsampling, horizontal and vertical; 0 where there is none.
    pub fn subsampling(&self) -> (u32, u32) {
        let last = self.colour[self.colour.len() - 1];
        (last.sub_x, last.sub_y)
    }
}

/// Where a sample is in a row of words that three samples share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shared {
    /// The word's first byte.
    pub at: usize,
    /// Bits below the sample: 0, 10 or 20.
    shift: u32,
}

impl Shared {
    /// The place of sample `n` of a row.
    #[inline(always)]
    pub fn of(n: usize) -> Self {
        Self {
            at: n / 3 * 4,
            shift: n as u32 % 3 * 10,
        }
    }

    /// The place `samples` further on, at most two words and two samples.
    #[inline(always)]
    pub fn after(self, samples: usize) -> Self {
        let shift = self.shift + samples as u32 % 3 * 10;
        let carry = shift >= 30;
        Self {
            at: self.at + (samples / 3 + usize::from(carry)) * 4,
            shift: if carry { shift - 30 } else { shift },
        }
    }

    /// The sample's code in its word.
    #[inline(always)]
    pub fn code(self, word: u32) -> u32 {
        word >> self.shift & 0x3ff
    }

    /// The word with another code of ten bits in the sample's place. The two bits that belong to no sample become 0.
    #[inline(always)]
    pub fn with(self, word: u32, code: u32) -> u32 {
        (word & !(0x3ff << self.shift) | code << self.shift) & 0x3fff_ffff
    }
}

/// The little-endian word at byte `at`.
#[inline(always)]
pub(crate) fn word(row: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([row[at], row[at + 1], row[at + 2], row[at + 3]])
}

/// `size` divided by `2^log2`, rounded up: the samples of a subsampled component.
pub(crate) const fn subsampled(size: usize, log2: u32) -> usize {
    size.div_ceil(1 << log2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_formats_are_one_to_one() {
        for format in PixelFormat::ALL {
            assert_eq!(PixelFormat::from_name(format.name()), Some(format));
        }
        assert_eq!(PixelFormat::from_name("YUV9"), None);
    }

    #[test]
    fn rows_of_odd_sizes() {
        for (format, plane, width, height, bytes, rows) in [
            (Rgb, 0, 17, 5, 51, 5),
            (Bgrx, 0, 17, 5, 68, 5),
            (Gbr, 2, 17, 5, 17, 5),
            (Nv12, 0, 17, 5, 17, 5),
            (Nv12, 1, 17, 5, 18, 3),
            (I420, 2, 17, 5, 9, 3),
            (Y42b, 1, 17, 5, 9, 5),
            (Yuy2, 0, 17, 5, 36, 5),
            (Gray8, 0, 17, 5, 17, 5),
            (I420_10le, 1, 17, 5, 18, 3),
            (P010_10le, 0, 17, 5, 34, 5),
            (P010_10le, 1, 17, 5, 36, 3),
            (Y444, 1, 17, 5, 17, 5),
            (Nv24, 1, 17, 5, 34, 5),
            (Nv16, 1, 17, 5, 18, 5),
            (Vyuy, 0, 17, 5, 36, 5),
            (Y210, 0, 17, 5, 72, 5),
            (Ayuv, 0, 17, 5, 68, 5),
            (Y412le, 0, 17, 5, 136, 5),
            (Argb64, 0, 17, 5, 136, 5),
            (I422_12le, 2, 17, 5, 18, 5),
            (Gray16le, 0, 17, 5, 34, 5),
            (V210, 0, 16, 5, 48, 5),
            (V210, 0, 18, 5, 48, 5),
            (V210, 0, 19, 5, 64, 5),
            (A420, 2, 17, 5, 9, 3),
            (A420, 3, 17, 5, 17, 5),
            (A422_10le, 1, 17, 5, 18, 5),
            (A422_10le, 3, 17, 5, 34, 5),
            (Gbra12le, 3, 17, 5, 34, 5),
        ] {
            assert_eq!(format.row_bytes(plane, width), bytes, "{} plane {plane}", format.name());
            assert_eq!(format.rows(plane, height), rows, "{} plane {plane}", format.name());
        }
    }

    /// The first words of a line as the format's description gives them: U0 Y0 V0, Y1 U1 Y2, V1 Y3 U2, Y4 V2 Y5.
    #[test]
    fn samples_that_share_words_are_where_the_format_says() {
        let layout = V210.layout();
        let [y, u, v] = [0, 1, 2].map(|i| &layout.colour[i]);
        let order = [
            (u, 0),
            (y, 0),
            (v, 0),
            (y, 1),
            (u, 1),
            (y, 2),
            (v, 1),
            (y, 3),
            (u, 2),
            (y, 4),
            (v, 2),
            (y, 5),
        ];
        let mut row = vec![0xff; 32];
        for (n, (c, i)) in order.into_iter().enumerate() {
            for (i, n) in [(i, n), (i + order_of(c), n + 12)] {
                layout.write(&mut row, c, i, n as u32 + 1000);
                assert_eq!(Shared::of(n), Shared::of(n - n.min(c.step)).after(n.min(c.step)), "{n}");
            }
        }
        for (n, at) in (0..24).map(|n| (n, n / 3 * 4)) {
            let found = word(&row, at);
            assert_eq!(found >> (10 * (n % 3)) & 0x3ff, n as u32 + 1000, "sample {n}");
            assert_eq!(found >> 30, 0, "bits of no sample");
        }
        for (n, (c, i)) in order.into_iter().enumerate() {
            assert_eq!(layout.read(&row, c, i), n as u32 + 1000, "sample {n}");
        }
    }

    /// Samples of a component in a group of six pixels.
    fn order_of(c: &Component) -> usize {
        6 >> c.sub_x
    }
}
