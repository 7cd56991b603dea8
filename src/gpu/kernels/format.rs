//! A frame's format as the kernels see it (`kernels/format.cuh`): where samples lie and what codes mean, from the
//! same table and constants as on the processor.
#![allow(unsafe_code)]

use crate::backend::Geometry;
use crate::cpu::{Store, Unpack};
use crate::frame::{self, ColourModel, FrameSpec};
use crate::gpu::kernels::launch::Plain;

/// Where the samples of one component are.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Component {
    pub plane: u32,
    /// Bytes from the start of a row to the first sample.
    pub offset: u32,
    /// Bytes from one sample to the next.
    pub step: u32,
}

impl From<&frame::Component> for Component {
    fn from(c: &frame::Component) -> Self {
        Self {
            plane: c.plane as u32,
            offset: c.offset as u32,
            step: c.step as u32,
        }
    }
}

/// Everything about a frame but where it is.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Format {
    pub width: u32,
    pub height: u32,
    /// 0 RGB, 1 luma and colour differences, 2 luma alone.
    pub model: u32,
    /// 0: samples are bytes. 1: 16-bit words. 2: three share a word of 32 bits, as [`frame::Shared`] says.
    pub wide: u32,
    /// Empty low bits of a word.
    pub shift: u32,
    /// The greatest code.
    pub maximum: u32,
    /// log2 of the chroma subsampling.
    pub sub_x: u32,
    pub sub_y: u32,
    pub cosited_x: u32,
    pub cosited_y: u32,
    /// 1: `fourth` is carried over from the input.
    pub carried: u32,
    pub colour: [Component; 3],
    pub fourth: Component,
    /// Weights of luma.
    pub kr: f32,
    pub kg: f32,
    pub kb: f32,
    /// Codes to numbers: black and the reciprocal of the span, of words as they lie.
    pub black: f32,
    pub scale: f32,
    pub middle: f32,
    pub rv: f32,
    pub gu: f32,
    pub gv: f32,
    pub bu: f32,
    /// Numbers to codes, before the shift.
    pub code_black: f32,
    pub code_span: f32,
    pub code_middle: f32,
    pub code_u: f32,
    pub code_v: f32,
}

// SAFETY: 38 numbers of 4 bytes.
unsafe impl Plain for Format {}

impl Format {
    pub fn new(spec: &FrameSpec) -> Self {
        let layout = spec.format.layout();
        let (unpack, store) = (Unpack::new(spec), Store::new(spec));
        let mut colour = [Component::default(); 3];
        for (to, from) in colour.iter_mut().zip(layout.colour) {
            *to = from.into();
        }
        let [rv, gu, gv, bu] = unpack.chroma;
        let (kr, kb) = store.weights;
        let (sub_x, sub_y) = layout.subsampling();
        Self {
            width: spec.width as u32,
            height: spec.height as u32,
            model: match layout.model {
                ColourModel::Rgb => 0,
                ColourModel::Yuv => 1,
                ColourModel::Gray => 2,
            },
            wide: layout.is_wide() as u32 + layout.shared as u32,
            shift: layout.shift,
            maximum: (1 << layout.depth) - 1,
            sub_x,
            sub_y,
            cosited_x: unpack.cosited_x as u32,
            cosited_y: unpack.cosited_y as u32,
            carried: layout.carried.is_some() as u32,
            colour,
            fourth: layout.carried.as_ref().map(Component::from).unwrap_or_default(),
            kr,
            kg: 1.0 - kr - kb,
            kb,
            black: unpack.luma.0,
            scale: unpack.luma.1,
            middle: unpack.middle,
            rv,
            gu,
            gv,
            bu,
            code_black: store.luma.0,
            code_span: store.luma.1,
            code_middle: store.middle,
            code_u: store.chroma.0,
            code_v: store.chroma.1,
        }
    }
}

/// Formats that have kernels of their own, which take four pixels at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Four {
    /// Luma, and pairs of colour differences for 2 × 2 or 2 × 1 pixels, in bytes: NV12, NV21, NV16, NV61.
    Semi8,
    /// The same in 16-bit words: P010, P012, P016.
    Semi10,
    /// Luma and colour differences for 2 × 2 or 2 × 1 pixels in a plane each, in bytes: I420, YV12, Y42B.
    Planar8,
    /// The same in 16-bit words: 4:2:0 and 4:2:2 of 10 and 12 bits.
    Planar10,
    /// Red, green, blue and a fourth byte a pixel.
    Packed,
}

impl Four {
    /// The kind of a geometry's frames, if rows are whole groups of four and `alignment` (of all addresses and
    /// strides, in bytes) lets a group be read at once.
    pub fn of(geometry: &Geometry, alignment: u32) -> Option<Self> {
        let layout = geometry.spec.format.layout();
        let first = &layout.colour[0];
        let halved = layout.subsampling().0 == 1;
        let (kind, needed) = match (layout.model, layout.planes, layout.is_wide()) {
            (ColourModel::Yuv, 2, false) if halved => (Four::Semi8, 4),
            (ColourModel::Yuv, 2, true) if halved => (Four::Semi10, 8),
            (ColourModel::Yuv, 3, false) if halved => (Four::Planar8, 4),
            (ColourModel::Yuv, 3, true) if halved => (Four::Planar10, 8),
            (ColourModel::Rgb, 1, false) if first.step == 4 => (Four::Packed, 16),
            _ => return None,
        };
        let whole = [geometry.spec.width, geometry.padded.0]
            .iter()
            .all(|w| w.is_multiple_of(4));
        (whole && !geometry.is_reduced() && alignment >= needed).then_some(kind)
    }
}
