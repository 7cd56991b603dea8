//! Counts a frame's pixels by brightness.

use super::block::{BLOCK, Rgb};
use super::unpack::{LINES, Unpack};
use crate::frame::Frame;
use crate::temporal::Scene;

/// About so many rows are looked at.
const ROWS: usize = 64;
/// Of the blocks of a row one of so many is looked at, of the next row its neighbour.
const BLOCKS: usize = 4;
/// The largest difference from grey that is none, of a colour difference: four codes of 8 bits. Infrared pictures are off
/// by one or two, and by another one where they were converted.
const COLOUR: f32 = 4.6 / 255.0;

/// The brightness of a frame's pixels, by the greatest of R', G' and B', and how many have a colour, from pieces of rows
/// spread over the frame.
pub(crate) fn survey(frame: &Frame<'_>) -> Scene {
    let spec = frame.spec();
    let unpack = Unpack::new(spec);
    let (kr, kb) = spec.colorimetry.matrix.weights();
    // Differences of red and blue from luma, in units of Cr and Cb.
    let (cr, cb) = (0.5 / (1.0 - kr), 0.5 / (1.0 - kb));
    let step = spec.height.div_ceil(ROWS);
    let (mut lines, mut rgb): (_, Rgb) = (LINES, [[0.0; BLOCK + 4]; 3]);
    let mut scene = Scene::default();
    // A narrow frame is looked at whole.
    let apart = BLOCKS.min(spec.width.div_ceil(BLOCK) / 2).max(1);
    for (row, y) in (step / 2..spec.height).step_by(step).enumerate() {
        for x in (row % apart * BLOCK..spec.width).step_by(apart * BLOCK) {
            let n = BLOCK.min(spec.width - x);
            unpack.read(frame, y, x, n, &mut lines, &mut rgb);
            let [r, g, b] = &rgb;
            for i in 0..n {
                let luma = kr * r[i] + (1.0 - kr - kb) * g[i] + kb * b[i];
                let colour = ((r[i] - luma) * cr).abs().max(((b[i] - luma) * cb).abs());
                scene.add(r[i].max(g[i]).max(b[i]), colour > COLOUR);
            }
        }
    }
    scene
}
