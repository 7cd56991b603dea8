//! The closed-form updates of a round (URetinex-Net, CVPR 2022, section 3: solutions for P and Q).
//!
//! ```text
//! P = (I·Q + γ·R) / (Q·Q + γ)
//! Q = (Σ_c I_c·P_c + λ·L) / (Σ_c P_c·P_c + λ)      with the new P
//! ```

use crate::cpu::capabilities::{Capabilities, vectorised};
use crate::cpu::colour::Planes;
use crate::cpu::threads::{Disjoint, Pool};

/// Pixels that one task takes.
const STRIP: usize = 16 * 1024;

/// Updates P and Q in place, in one pass over memory. γ and λ are above 0.
#[allow(clippy::too_many_arguments, unsafe_code)]
pub(crate) fn update(
    pool: &Pool,
    capabilities: Capabilities,
    gamma: f32,
    lambda: f32,
    image: &Planes,
    r: &Planes,
    l: &Planes,
    p: &mut Planes,
    q: &mut Planes,
) {
    let n = image.plane_len();
    let (p, q) = (Disjoint::new(&mut p.data), Disjoint::new(&mut q.data));
    pool.run(n.div_ceil(STRIP), &|task| {
        let (from, to) = (task * STRIP, n.min((task + 1) * STRIP));
        let image = [0, 1, 2].map(|c| &image.data[c * n + from..c * n + to]);
        let r = [0, 1, 2].map(|c| &r.data[c * n + from..c * n + to]);
        // SAFETY: each task has its own pixels, and the three channels lie apart.
        let (p, q) = unsafe { ([0, 1, 2].map(|c| p.part(c * n + from..c * n + to)), q.part(from..to)) };
        strip(capabilities, gamma, lambda, image, r, &l.data[from..to], p, q);
    });
}

vectorised! {
    fn strip(gamma: f32, lambda: f32, image: [&[f32]; 3], r: [&[f32]; 3], l: &[f32], p: [&mut [f32]; 3], q: &mut [f32])
        = strip_body
}

#[inline(always)]
fn strip_body(
    gamma: f32,
    lambda: f32,
    image: [&[f32]; 3],
    r: [&[f32]; 3],
    l: &[f32],
    p: [&mut [f32]; 3],
    q: &mut [f32],
) {
    let n = q.len();
    // No closures: the features that are enabled do not reach into them.
    let ([i0, i1, i2], [r0, r1, r2], [p0, p1, p2]) = (image, r, p);
    let (i0, i1, i2) = (&i0[..n], &i1[..n], &i2[..n]);
    let (r0, r1, r2, l) = (&r0[..n], &r1[..n], &r2[..n], &l[..n]);
    let (p0, p1, p2) = (&mut p0[..n], &mut p1[..n], &mut p2[..n]);
    for i in 0..n {
        let old = q[i];
        let share = 1.0 / (old * old + gamma);
        let a = (i0[i] * old + gamma * r0[i]) * share;
        let b = (i1[i] * old + gamma * r1[i]) * share;
        let c = (i2[i] * old + gamma * r2[i]) * share;
        let above = i0[i] * a + i1[i] * b + i2[i] * c;
        let below = a * a + b * b + c * c;
        q[i] = (above + lambda * l[i]) / (below + lambda);
        p0[i] = a;
        p1[i] = b;
        p2[i] = c;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::capabilities::Level;

    /// At a fixed point of the model, I = R·L, the updates change nothing.
    #[test]
    fn a_consistent_decomposition_stays() {
        let planes = |channels| Planes::new(channels, (37, 1001)).unwrap();
        let (mut r, mut l, mut image) = (planes(3), planes(1), planes(3));
        let n = l.plane_len();
        for i in 0..n {
            l.data[i] = 0.02 + (i % 50) as f32 / 60.0;
            for c in 0..3 {
                r.data[c * n + i] = 0.1 + ((i * 31 + c * 7) % 83) as f32 / 90.0;
                image.data[c * n + i] = r.data[c * n + i] * l.data[i];
            }
        }
        for &level in Level::available() {
            let (mut p, mut q) = (planes(3), planes(1));
            q.data.copy_from_slice(&l.data);
            let capabilities = Capabilities::at(level);
            update(&Pool::new(0), capabilities, 0.15, 0.55, &image, &r, &l, &mut p, &mut q);
            let worst = |a: &Planes, b: &Planes| {
                a.data
                    .iter()
                    .zip(b.data.iter())
                    .map(|(a, b)| (a - b).abs())
                    .fold(0.0, f32::max)
            };
            assert!(
                worst(&p, &r) < 1e-5 && worst(&q, &l) < 1e-5,
                "{level}: {} {}",
                worst(&p, &r),
                worst(&q, &l)
            );
        }
    }
}
