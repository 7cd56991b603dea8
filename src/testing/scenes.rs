//! What a moving camera sees, for tests of what follows motion.

use crate::cpu::Planes;

/// A dark picture of `size` (width, height) with structure of several sizes, three channels from 0 to 1, as it is seen
/// `offset` pixels away.
pub(crate) fn scene(size: (usize, usize), offset: (f32, f32)) -> Planes {
    let mut planes = Planes::new(3, size).unwrap();
    for c in 0..3 {
        for y in 0..size.1 {
            for x in 0..size.0 {
                let (u, v) = (x as f32 + offset.0, y as f32 + offset.1);
                let value = 0.2
                    + 0.05 * (u * 0.11 + c as f32).sin() * (v * 0.13).cos()
                    + 0.04 * (u * 0.31 + v * 0.23).sin()
                    + 0.03 * (u * 0.7 - v * 0.45 + c as f32).sin();
                planes.data[(c * size.1 + y) * size.0 + x] = value;
            }
        }
    }
    planes
}
