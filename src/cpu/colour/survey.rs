//! Counts a frame's pixels by brightness.

use super::block::{BLOCK, Rgb};
use super::unpack::{LINES, Unpack};
use crate::frame::Frame;
use crate::temporal::Scene;

/// About so many rows are looked at.
const ROWS: usize = 64;
/// The largest difference from grey that is none: three codes of 8 bits of a colour difference. Infrared pictures are off
/// by one or two.
const COLOUR: f32 = 3.0 / 255.0;

/// The brightness of a frame's pixels, by the greatest of R', G' and B', and how many have a colour, from rows spread over
/// the frame.
pub(crate) fn survey(frame: &Frame<'_>) -> Scene {
    let spec = frame.spec();
    let unpack = Unpack::new(spec);
    let (kr, kb) = spec.colorimetry.matrix.weights();
    // Differences of red and blue from luma, in units of Cr and Cb.
    let (cr, cb) = (0.5 / (1.0 - kr), 0.5 / (1.0 - kb));
    let step = spec.height.div_ceil(ROWS);
    let (mut lines, mut rgb): (_, Rgb) = (LINES, [[0.0; BLOCK + 4]; 3]);
    let mut scene = Scene::default();
    for y in (step / 2..spec.height).step_by(step) {
        for x in (0..spec.width).step_by(BLOCK) {
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
