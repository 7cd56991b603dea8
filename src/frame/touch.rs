//! What is done to a finished frame in system memory, whatever backend made it: colour taken out, parts of the frame that
//! came in put back.

use super::format::{ColourModel, Component, subsampled};
use super::{Frame, FrameMut, Range};

/// Pixels over which the result fades out beside a region.
pub const REGION_FADE: usize = 16;

/// A weight of all of it, in [`FrameMut::put_back`].
const WHOLE: u16 = 256;

/// A rectangle of a frame, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // The names are the documentation.
pub struct Region {
    pub x: usize,
    pub y: usize,
    pub width: usize,
    pub height: usize,
}

impl Region {
    /// The weights of the pixels of row `y`, where they are more than they were: all inside, fading out beside it.
    fn raise(&self, y: usize, weights: &mut [u16]) {
        if self.width == 0 || self.height == 0 {
            return;
        }
        let distance =
            |at: usize, from: usize, length: usize| from.saturating_sub(at).max(at.saturating_sub(from + length - 1));
        let dy = distance(y, self.y, self.height);
        if dy > REGION_FADE {
            return;
        }
        let (left, right) = (self.x.saturating_sub(REGION_FADE), self.x + self.width + REGION_FADE);
        let right = right.min(weights.len());
        for (x, weight) in weights.iter_mut().enumerate().take(right).skip(left) {
            let d = distance(x, self.x, self.width).max(dy);
            *weight = (*weight).max(WHOLE - (d * WHOLE as usize / (REGION_FADE + 1)) as u16);
        }
    }
}

/// Which part of a finished frame is shown as it came in.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Comparison {
    /// What is left of this share of the width; a line divides it from the rest.
    Split(f32),
    /// The left half shows the middle half of the frame that came in, the right half that of the result.
    SideBySide,
}

/// How many samples of a component a row has, and how many rows of them there are.
fn extent(component: &Component, width: usize, height: usize) -> (usize, usize) {
    (subsampled(width, component.sub_x), subsampled(height, component.sub_y))
}

impl FrameMut<'_> {
    /// Takes the colour out: colour differences become neutral, red, green and blue become luma.
    pub fn take_out_colour(&mut self) {
        let spec = *self.spec();
        let layout = spec.format.layout();
        match layout.model {
            ColourModel::Gray => {}
            ColourModel::Yuv => {
                let neutral = 1 << (layout.depth - 1);
                for component in &layout.colour[1..] {
                    let (width, height) = extent(component, spec.width, spec.height);
                    for y in 0..height {
                        let row = self.row_mut(component.plane, y);
                        for x in 0..width {
                            layout.write(row, component, x, neutral);
                        }
                    }
                }
            }
            ColourModel::Rgb => {
                let (kr, kb) = spec.colorimetry.matrix.weights();
                let [r, b] = [kr, kb].map(|k| (k * 65536.0).round() as u32);
                let weights = [r, 65536 - r - b, b];
                let mut luma = vec![0u32; spec.width];
                for y in 0..spec.height {
                    luma.fill(32768);
                    for (component, weight) in layout.colour.iter().zip(weights) {
                        let row = self.row_mut(component.plane, y);
                        for (x, luma) in luma.iter_mut().enumerate() {
                            *luma += weight * layout.read(row, component, x);
                        }
                    }
                    for component in layout.colour {
                        let row = self.row_mut(component.plane, y);
                        for (x, luma) in luma.iter().enumerate() {
                            layout.write(row, component, x, luma >> 16);
                        }
                    }
                }
            }
        }
    }

    /// Puts back what came in: inside `regions` or, if they are to be enhanced alone, outside them. Beside a region the
    /// two fade into one another. Both frames are of one kind; without regions the frame stays as it is.
    pub fn put_back(&mut self, input: &Frame<'_>, regions: &[Region], outside: bool) {
        let spec = *self.spec();
        if regions.is_empty() || spec != *input.spec() {
            return;
        }
        let mut kept = vec![0; spec.width];
        for y in 0..spec.height {
            kept.fill(0);
            regions.iter().for_each(|region| region.raise(y, &mut kept));
            if outside {
                kept.iter_mut().for_each(|weight| *weight = WHOLE - *weight);
            }
            self.mix_row(input, y, &kept);
        }
    }

    /// Mixes what came in into the pixels of row `y`, with weights from 0 to [`WHOLE`].
    fn mix_row(&mut self, input: &Frame<'_>, y: usize, kept: &[u16]) {
        let Some(first) = kept.iter().position(|&weight| weight > 0) else {
            return;
        };
        let end = kept.len() - kept.iter().rev().position(|&weight| weight > 0).unwrap_or(0);
        let spec = *self.spec();
        let layout = spec.format.layout();
        for component in layout.colour.iter().chain(&layout.carried) {
            // Samples that stand for several pixels go with the first of them.
            if y & ((1 << component.sub_y) - 1) != 0 {
                continue;
            }
            let from = input.row(component.plane, y >> component.sub_y);
            let to = self.row_mut(component.plane, y >> component.sub_y);
            for x in first.div_ceil(1 << component.sub_x)..end.div_ceil(1 << component.sub_x) {
                let weight = u32::from(kept[x << component.sub_x]);
                let (own, other) = (layout.read(to, component, x), layout.read(from, component, x));
                let mixed = (own * (u32::from(WHOLE) - weight) + other * weight + 128) >> 8;
                layout.write(to, component, x, mixed);
            }
        }
    }

    /// Shows part of the frame that came in, which is of the same kind, beside the result.
    pub fn compare(&mut self, input: &Frame<'_>, comparison: Comparison) {
        let spec = *self.spec();
        if spec != *input.spec() {
            return;
        }
        let format = spec.format;
        // Where all planes can be cut: at whole groups.
        let group = if format.shares_words() { 6 } else { 4 };
        let cut = |x: usize| x / group * group;
        let rows = (0..format.planes()).flat_map(|plane| (0..format.rows(plane, spec.height)).map(move |y| (plane, y)));
        match comparison {
            Comparison::Split(divider) => {
                let x = (divider.clamp(0.0, 1.0) * spec.width as f32).round() as usize;
                let x = if x < spec.width { cut(x) } else { x };
                if x == 0 {
                    return;
                }
                for (plane, y) in rows {
                    let bytes = format.row_bytes(plane, x).min(format.row_bytes(plane, spec.width));
                    self.row_mut(plane, y)[..bytes].copy_from_slice(&input.row(plane, y)[..bytes]);
                }
                if x + 4 <= spec.width {
                    self.draw_line(x);
                }
            }
            Comparison::SideBySide => {
                let (quarter, half) = (cut(spec.width / 4), cut(spec.width / 2));
                for (plane, y) in rows {
                    let [quarter, half] = [quarter, half].map(|x| format.row_bytes(plane, x));
                    let (from, to) = (input.row(plane, y), self.row_mut(plane, y));
                    let right = to.len() - half;
                    to.copy_within(quarter..quarter + right, half);
                    to[..half].copy_from_slice(&from[quarter..quarter + half]);
                }
                self.draw_line(half);
            }
        }
    }

    /// A white line, two pixels wide, from `x` on, which is even.
    fn draw_line(&mut self, x: usize) {
        let spec = *self.spec();
        let layout = spec.format.layout();
        let limited = layout.model != ColourModel::Rgb && spec.colorimetry.range == Range::Limited;
        let largest = match limited {
            true => 235 << (layout.depth - 8),
            false => (1 << layout.depth) - 1,
        };
        for (i, component) in layout.colour.iter().enumerate() {
            let code = match layout.model == ColourModel::Yuv && i > 0 {
                true => 1 << (layout.depth - 1),
                false => largest,
            };
            let (_, height) = extent(component, spec.width, spec.height);
            for y in 0..height {
                let row = self.row_mut(component.plane, y);
                for x in x >> component.sub_x..(x + 2) >> component.sub_x {
                    layout.write(row, component, x, code);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{PixelFormat, Plane, PlaneMut};
    use crate::testing::spec;

    /// The bytes of a frame's planes, each a row longer than it has to be.
    fn bytes(format: PixelFormat, size: (usize, usize), byte: impl Fn(usize) -> u8) -> Vec<Vec<u8>> {
        (0..format.planes())
            .map(|plane| {
                let count = format.row_bytes(plane, size.0) * format.rows(plane, size.1);
                (0..count).map(&byte).collect()
            })
            .collect()
    }

    fn stride(format: PixelFormat, plane: usize, width: usize) -> usize {
        format.row_bytes(plane, width)
    }

    /// Has `work` change a frame of `format` whose bytes are 7 and that came in with other ones.
    fn touched(
        format: PixelFormat,
        size: (usize, usize),
        work: impl Fn(&mut FrameMut<'_>, &Frame<'_>),
    ) -> [Vec<Vec<u8>>; 2] {
        // Samples at the top of a word: the low byte's lower bits are empty.
        let low = |i: usize| format.shift() > 0 && i.is_multiple_of(2);
        let before = bytes(format, size, |i| match low(i) {
            true => 1 << format.shift(),
            false => (i % 3) as u8,
        });
        let mut after = bytes(format, size, |i| match low(i) {
            true => 2 << format.shift(),
            false => 2 - (i % 2) as u8,
        });
        let spec = spec(format, size);
        let planes: Vec<_> = before
            .iter()
            .enumerate()
            .map(|(i, data)| Plane {
                data,
                stride: stride(format, i, size.0),
            })
            .collect();
        let input = Frame::new(spec, &planes).unwrap();
        let planes = after.iter_mut().enumerate().map(|(i, data)| PlaneMut {
            data,
            stride: stride(format, i, size.0),
        });
        work(&mut FrameMut::from_iter(spec, planes).unwrap(), &input);
        [before, after]
    }

    #[test]
    fn a_region_is_as_it_came_and_the_rest_as_it_was() {
        let size = (96, 64);
        let region = Region {
            x: 40,
            y: 24,
            width: 16,
            height: 12,
        };
        for format in PixelFormat::ALL {
            let [_, untouched] = touched(format, size, |_, _| {});
            for outside in [false, true] {
                let [before, after] = touched(format, size, |frame, input| frame.put_back(input, &[region], outside));
                let layout = format.layout();
                for c in layout.colour.iter().chain(&layout.carried) {
                    for (x, y) in [(40, 24), (54, 34), (46, 30), (2, 2), (94, 62), (46, 60), (4, 30)] {
                        let start = (y >> c.sub_y) * stride(format, c.plane, size.0);
                        let inside = (40..56).contains(&x) && (24..36).contains(&y);
                        let expected = if inside != outside { &before } else { &untouched };
                        let [found, expected] =
                            [&after, expected].map(|p| layout.read(&p[c.plane][start..], c, x >> c.sub_x));
                        assert_eq!(found, expected, "{format:?}, {x}, {y}, outside: {outside}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_region_fades_out_and_may_reach_over_the_edge() {
        let region = Region {
            x: 50,
            y: 0,
            width: 4000,
            height: 40,
        };
        let mut weights = vec![0; 64];
        region.raise(0, &mut weights);
        assert!(
            weights[..34].iter().all(|&w| w == 0) && weights[50..].iter().all(|&w| w == WHOLE),
            "{weights:?}"
        );
        assert!(
            weights[33..51].windows(2).all(|w| w[1] > w[0] && w[1] - w[0] <= 16),
            "{weights:?}"
        );
        let mut below = vec![0; 64];
        region.raise(57, &mut below);
        assert!(below.iter().all(|&w| w == 0));
        Region { width: 0, ..region }.raise(0, &mut below);
        assert!(below.iter().all(|&w| w == 0), "an empty region");
    }

    #[test]
    fn a_split_frame_is_what_came_in_on_the_left() {
        for format in PixelFormat::ALL {
            let size = (64, 32);
            let [_, untouched] = touched(format, size, |_, _| {});
            let middle = if format.shares_words() { 30 } else { 32 };
            for (divider, x) in [(0.0, 0), (0.5, middle), (1.0, 64)] {
                let [before, after] = touched(format, size, |frame, input| {
                    frame.compare(input, Comparison::Split(divider))
                });
                for plane in 0..format.planes() {
                    let bytes = |x| if x == 0 { 0 } else { format.row_bytes(plane, x) };
                    let (cut, line) = (bytes(x), bytes((x + 4).min(64)));
                    assert_eq!(after[plane][..cut], before[plane][..cut], "{format:?}");
                    let end = format.row_bytes(plane, 64);
                    let line = if x == 0 { 0 } else { line };
                    assert_eq!(
                        after[plane][line..end],
                        untouched[plane][line..end],
                        "{format:?} at {divider}"
                    );
                }
            }
        }
    }

    #[test]
    fn halves_show_the_same_part_of_both() {
        let size = (64, 32);
        let format = PixelFormat::I420;
        let [_, untouched] = touched(format, size, |_, _| {});
        let [before, after] = touched(format, size, |frame, input| {
            frame.compare(input, Comparison::SideBySide)
        });
        for y in 0..32 {
            let row = |planes: &[Vec<u8>]| planes[0][y * 64..(y + 1) * 64].to_vec();
            assert_eq!(row(&after)[..32], row(&before)[16..48]);
            assert_eq!(row(&after)[34..], row(&untouched)[18..48]);
            assert_eq!(row(&after)[32..34], [235, 235], "a white line");
        }
        // Sizes that halves do not go into.
        for format in PixelFormat::ALL {
            for size in [(17, 17), (19, 16), (130, 33)] {
                touched(format, size, |frame, input| {
                    frame.compare(input, Comparison::SideBySide)
                });
                touched(format, size, |frame, input| {
                    frame.compare(input, Comparison::Split(0.99))
                });
                let region = Region {
                    x: 3,
                    y: 5,
                    width: 9,
                    height: 9,
                };
                touched(format, size, |frame, input| frame.put_back(input, &[region], false));
                touched(format, size, |frame, _| frame.take_out_colour());
            }
        }
    }

    #[test]
    fn colour_is_taken_out_of_every_format() {
        for format in PixelFormat::ALL {
            let size = (34, 18);
            let layout = format.layout();
            let [_, untouched] = touched(format, size, |_, _| {});
            let [_, after] = touched(format, size, |frame, _| frame.take_out_colour());
            let sample = |planes: &[Vec<u8>], c: &Component, x: usize, y: usize| {
                let start = (y >> c.sub_y) * stride(format, c.plane, size.0);
                layout.read(&planes[c.plane][start..], c, x >> c.sub_x)
            };
            for (x, y) in [(0, 0), (33, 17), (8, 9)] {
                match (layout.model, layout.colour) {
                    (ColourModel::Gray, _) => assert_eq!(after, untouched),
                    (_, [luma, u, v]) if layout.model == ColourModel::Yuv => {
                        assert_eq!(
                            sample(&after, luma, x, y),
                            sample(&untouched, luma, x, y),
                            "{format:?}: luma"
                        );
                        for c in [u, v] {
                            assert_eq!(sample(&after, c, x, y), 1 << (layout.depth - 1), "{format:?}");
                        }
                    }
                    (_, colour) => {
                        let [found, before] =
                            [&after, &untouched].map(|planes| [0, 1, 2].map(|c| sample(planes, &colour[c], x, y)));
                        let between =
                            before.iter().min() <= found.iter().min() && found.iter().max() <= before.iter().max();
                        assert!(
                            found[0] == found[1] && found[1] == found[2] && between,
                            "{format:?}: {before:?} became {found:?}"
                        );
                    }
                }
            }
            if let Some(carried) = &layout.carried {
                assert_eq!(
                    sample(&after, carried, 5, 5),
                    sample(&untouched, carried, 5, 5),
                    "{format:?}"
                );
            }
        }
    }
}
