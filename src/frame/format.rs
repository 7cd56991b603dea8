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
}

/// What the components of a format mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ColourModel {
    /// Red, green, blue, and a fourth byte (alpha or padding) that is carried over.
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
    /// Bytes from the start of a row to the first sample.
    pub offset: usize,
    /// Bytes from one sample to the next.
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
    /// Empty low bits of a word (P010 keeps its ten bits at the top).
    pub shift: u32,
    /// R, G, B or Y, U, V or Y alone.
    pub colour: &'static [Component],
    /// The byte that is carried over unchanged: alpha or padding.
    pub carried: Option<Component>,
    /// Rows are whole groups of this many bytes (4:2:2 packed: 4), for `group_width` pixels.
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

const fn packed(colour: &'static [Component], carried: Option<Component>) -> Layout {
    Layout {
        model: ColourModel::Rgb,
        planes: 1,
        depth: 8,
        shift: 0,
        colour,
        carried,
        group_bytes: 0,
        group_width: 1,
    }
}

const fn yuv(planes: usize, depth: u32, shift: u32, colour: &'static [Component]) -> Layout {
    Layout {
        model: ColourModel::Yuv,
        planes,
        depth,
        shift,
        colour,
        carried: None,
        group_bytes: 0,
        group_width: 1,
    }
}

macro_rules! rgb {
    ($step:literal: $r:literal $g:literal $b:literal $(, $carried:literal)?) => {{
        const C: &[Component] = &[at(0, $r, $step, 0, 0), at(0, $g, $step, 0, 0), at(0, $b, $step, 0, 0)];
        const A: Option<Component> = [$(Some(at(0, $carried, $step, 0, 0)),)? None][0];
        const L: Layout = packed(C, A);
        &L
    }};
}

macro_rules! yuv {
    ($planes:literal planes, $depth:literal << $shift:literal: $($c:expr),+) => {{
        const C: &[Component] = &[$($c),+];
        const L: Layout = yuv($planes, $depth, $shift, C);
        &L
    }};
}

macro_rules! yuv422_packed {
    ($y:literal $u:literal $v:literal) => {{
        const C: &[Component] = &[at(0, $y, 2, 0, 0), at(0, $u, 4, 1, 0), at(0, $v, 4, 1, 0)];
        const L: Layout = Layout {
            group_bytes: 4,
            group_width: 2,
            ..yuv(1, 8, 0, C)
        };
        &L
    }};
}

impl PixelFormat {
    /// Every format, in the order in which the element prefers them.
    pub const ALL: [PixelFormat; 21] = [
        Nv12, I420, Rgb, Bgr, Rgba, Bgra, Argb, Abgr, Rgbx, Bgrx, Xrgb, Xbgr, Gbr, Nv21, Yv12, Y42b, Yuy2, Uyvy, Gray8,
        I420_10le, P010_10le,
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
        }
    }

    /// The format of that GStreamer name, if it is one of ours.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|f| f.name() == name)
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
        let sample = if l.depth > 8 { 2 } else { 1 };
        let all = l.colour.iter().chain(l.carried.as_ref());
        all.filter(|c| c.plane == plane)
            .map(|c| c.offset + (subsampled(width, c.sub_x) - 1) * c.step + sample)
            .max()
            .unwrap_or(0)
    }

    /// Rows of `plane` for a frame of `height` pixels.
    pub fn rows(self, plane: usize, height: usize) -> usize {
        let l = self.layout();
        let c = l.colour.iter().find(|c| c.plane == plane);
        c.map_or(0, |c| subsampled(height, c.sub_y))
    }

    pub(crate) const fn layout(self) -> &'static Layout {
        match self {
            Rgb => rgb!(3: 0 1 2),
            Bgr => rgb!(3: 2 1 0),
            Rgba | Rgbx => rgb!(4: 0 1 2, 3),
            Bgra | Bgrx => rgb!(4: 2 1 0, 3),
            Argb | Xrgb => rgb!(4: 1 2 3, 0),
            Abgr | Xbgr => rgb!(4: 3 2 1, 0),
            Gbr => {
                const C: &[Component] = &[at(2, 0, 1, 0, 0), at(0, 0, 1, 0, 0), at(1, 0, 1, 0, 0)];
                const L: Layout = Layout {
                    planes: 3,
                    ..packed(C, None)
                };
                &L
            }
            Nv12 => yuv!(2 planes, 8 << 0: at(0, 0, 1, 0, 0), at(1, 0, 2, 1, 1), at(1, 1, 2, 1, 1)),
            Nv21 => yuv!(2 planes, 8 << 0: at(0, 0, 1, 0, 0), at(1, 1, 2, 1, 1), at(1, 0, 2, 1, 1)),
            I420 => yuv!(3 planes, 8 << 0: at(0, 0, 1, 0, 0), at(1, 0, 1, 1, 1), at(2, 0, 1, 1, 1)),
            Yv12 => yuv!(3 planes, 8 << 0: at(0, 0, 1, 0, 0), at(2, 0, 1, 1, 1), at(1, 0, 1, 1, 1)),
            Y42b => yuv!(3 planes, 8 << 0: at(0, 0, 1, 0, 0), at(1, 0, 1, 1, 0), at(2, 0, 1, 1, 0)),
            Yuy2 => yuv422_packed!(0 1 3),
            Uyvy => yuv422_packed!(1 0 2),
            Gray8 => {
                const C: &[Component] = &[at(0, 0, 1, 0, 0)];
                const L: Layout = Layout {
                    model: ColourModel::Gray,
                    ..yuv(1, 8, 0, C)
                };
                &L
            }
            I420_10le => yuv!(3 planes, 10 << 0: at(0, 0, 2, 0, 0), at(1, 0, 2, 1, 1), at(2, 0, 2, 1, 1)),
            P010_10le => yuv!(2 planes, 10 << 6: at(0, 0, 2, 0, 0), at(1, 0, 4, 1, 1), at(1, 2, 4, 1, 1)),
        }
    }
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
        ] {
            assert_eq!(format.row_bytes(plane, width), bytes, "{} plane {plane}", format.name());
            assert_eq!(format.rows(plane, height), rows, "{} plane {plane}", format.name());
        }
    }
}
