//! Sums of luma in integers, so that they do not depend on the order of strips.

/// Luma is summed in whole numbers of this fraction, as the kernels on a GPU do.
pub(crate) const LUMA_ONE: f32 = 65536.0;

/// Sum of `kr·r + kg·g + kb·b` over a row, in units of 1 / [`LUMA_ONE`].
#[inline(always)]
pub(crate) fn luma_sum(r: &[f32], g: &[f32], b: &[f32], (kr, kb): (f32, f32)) -> u64 {
    let kg = 1.0 - kr - kb;
    let (r, r_rest) = r.as_chunks::<16>();
    let (g, g_rest) = g.as_chunks::<16>();
    let (b, b_rest) = b.as_chunks::<16>();
    let mut lanes = [0f32; 16];
    for ((r, g), b) in r.iter().zip(g).zip(b) {
        for j in 0..16 {
            lanes[j] += kr * r[j] + kg * g[j] + kb * b[j];
        }
    }
    let rest = r_rest.iter().zip(g_rest).zip(b_rest);
    let sum = lanes.iter().sum::<f32>() + rest.map(|((r, g), b)| kr * r + kg * g + kb * b).sum::<f32>();
    // NaN counts as 0.
    (sum.max(0.0) * LUMA_ONE) as u64
}

/// Mean of `pixels` values summed by [`luma_sum`].
pub(crate) fn luma_mean(sum: u64, pixels: usize) -> f32 {
    (sum as f64 / LUMA_ONE as f64 / pixels as f64) as f32
}
