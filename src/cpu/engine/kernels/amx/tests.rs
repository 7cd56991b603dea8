//! Convolutions against a plain reference.

use super::*;
use crate::cpu::engine::kernels::generic::{Strides, constant};
use crate::cpu::engine::testing::noise;

/// An image of units of 16 floats with a margin around it, filled with one number.
struct Image {
    memory: Floats,
    unit: usize,
    first: usize,
    strides: Strides,
    units: usize,
}

const MARGIN: usize = 2;

impl Image {
    fn new(units: usize, width: usize, height: usize, step: usize, fill: f32) -> Self {
        let strides = Strides {
            x: step * LANES,
            y: (width + 2 * MARGIN) * step * LANES,
        };
        let unit = (height + 2 * MARGIN) * strides.y;
        // The kernel reads up to 64 pixels behind the last row.
        let mut memory = Floats::try_zeroed(units * unit + 68 * strides.x).unwrap();
        memory.fill(fill);
        let first = MARGIN * (strides.x + strides.y);
        Self {
            memory,
            unit,
            first,
            strides,
            units,
        }
    }

    fn pointers(&mut self) -> Vec<*mut f32> {
        let at = |u| self.memory[u * self.unit + self.first..].as_mut_ptr();
        (0..self.units).map(at).collect()
    }

    fn index(&self, unit: usize, y: usize, x: usize) -> usize {
        unit * self.unit + self.first + y * self.strides.y + x * self.strides.x
    }

    /// The number of a channel in 16-bit floating point.
    fn rounded(&self, c: usize, y: usize, x: usize) -> f32 {
        let word = self.memory[self.index(c / PAIRED_LANES, y, x) + c % PAIRED_LANES / 2].to_bits();
        bf16::from_bits((word >> (16 * (c % 2))) as u16).to_f32()
    }
}

/// A convolution to compare.
#[derive(Debug)]
struct Case {
    side: usize,
    inputs: usize,
    outputs: usize,
    width: usize,
    height: usize,
    /// Distance of neighbouring pixels in the input, as in the view of a shuffled image.
    step: usize,
    factors: bool,
    residual: bool,
    gate: Option<Gate>,
    slope: f32,
    blocks: bool,
    units: bool,
}

/// Shapes at and beside the sizes of tiles, and random ones.
fn cases() -> Vec<Case> {
    let mut state = 77u32;
    let mut random = |count: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as usize % count
    };
    let mut cases = vec![];
    for i in 0..60 {
        let outputs = [1, 3, 4, 16, 17, 32, 33, 48, 64, 1 + random(100)][random(10)];
        let planes = outputs < 8;
        let gate = [
            None,
            Some(Gate::Slope),
            Some(Gate::Sigmoid),
            Some(Gate::Clip(-0.1, 0.2)),
        ][random(4)];
        let to = random(3);
        cases.push(Case {
            side: [1, 3, 5][i % 3],
            inputs: [8, 16, 31, 32, 33, 48, 64, 1 + random(130)][random(8)],
            outputs,
            width: [1, 15, 16, 17, 32, 33, 64, 65, 1 + random(80)][random(9)],
            height: 1 + random(4),
            step: 1 + random(2),
            factors: random(3) == 0,
            residual: random(2) == 0,
            gate: if planes { None } else { gate },
            slope: [0.0, 0.2, 1.0][random(3)],
            blocks: !planes && to != 1,
            units: !planes && to != 0,
        });
    }
    cases
}

#[test]
fn convolutions_of_any_shape() {
    let Some(kernel) = AmxBf16::available(Capabilities::detected()) else {
        println!("skipped: this processor has no AMX with bfloat16, or the system does not permit it");
        return;
    };
    for case in cases() {
        check(kernel, &case);
    }
}

fn check(kernel: &dyn MatrixKernel, case: &Case) {
    let &Case {
        side,
        inputs,
        outputs,
        width,
        height,
        step,
        ..
    } = case;
    let blocks_of = |channels: usize| channels.div_ceil(LANES);
    let (weights, bias) = (noise(outputs * inputs * side * side, 3), noise(outputs, 5));
    let filter = Filter {
        kernel: side,
        inputs,
        outputs,
        weights,
        bias,
    };
    let packed = kernel.pack(&filter).unwrap();

    // What lies behind the last channel of a block is no number.
    let mut floats = Image::new(blocks_of(inputs), width, height, 1, f32::NAN);
    let numbers = noise(inputs * width * height, 9);
    let factors: Vec<f32> = noise(blocks_of(inputs) * LANES, 11);
    for (i, &v) in numbers.iter().enumerate() {
        let (c, y, x) = (i / (width * height), i / width % height, i % width);
        let at = floats.index(c / LANES, y, x) + c % LANES;
        floats.memory[at] = v;
    }
    let mut units = Image::new(inputs.div_ceil(PAIRED_LANES), width, height, step, 0.0);
    let (from, to) = (floats.pointers(), units.pointers());
    let rounding = Rounding {
        inputs: constant(&from),
        input: floats.strides,
        factors: if case.factors {
            factors.as_ptr()
        } else {
            std::ptr::null()
        },
        outputs: &to,
        output: units.strides,
        channels: inputs,
    };
    // SAFETY: the images have all rows.
    unsafe { kernel.round_rows(&rounding, width, 0, height) };
    for (i, &v) in numbers.iter().enumerate() {
        let (c, y, x) = (i / (width * height), i / width % height, i % width);
        let v = if case.factors { v * factors[c] } else { v };
        assert_eq!(
            units.rounded(c, y, x),
            bf16::from_f32(v).to_f32(),
            "{case:?}: channel {c} of {x},{y}"
        );
    }
    for c in inputs..units.units * PAIRED_LANES {
        assert_eq!(units.rounded(c, height - 1, width - 1), 0.0, "{case:?}: channel {c}");
    }

    // Numbers beside the image must not matter, and are not written.
    const UNTOUCHED: f32 = 1234.5;
    let planes = outputs < 8;
    let count = if planes { outputs } else { blocks_of(outputs) };
    let plane = |fill| {
        let mut image = Image::new(count, width, height, 1, fill);
        if planes {
            image.strides = Strides { x: 1, y: width + 2 };
        }
        image
    };
    let (mut out, mut residual, mut gated) = (plane(UNTOUCHED), plane(0.0), plane(0.0));
    let mut rounded = Image::new(outputs.div_ceil(PAIRED_LANES), width, height, 1, UNTOUCHED);
    for (image, seed) in [(&mut residual, 21), (&mut gated, 22)] {
        let numbers = noise(image.memory.len(), seed);
        image.memory.copy_from_slice(&numbers);
    }
    let (residuals, gates) = (residual.pointers(), gated.pointers());
    let (outs, units_out) = (out.pointers(), rounded.pointers());
    let pick = |wanted: bool, pointers: &[*mut f32]| if wanted { pointers.to_vec() } else { vec![] };
    let (blocks, made, planes_out) = (
        pick(case.blocks, &outs),
        pick(case.units, &units_out),
        pick(planes, &outs),
    );
    let args = MatrixConv {
        kernel: side,
        inputs: constant(&to),
        input: units.strides,
        packed: &packed,
        channels: outputs,
        blocks: &blocks,
        block: out.strides,
        units: &made,
        unit: rounded.strides,
        planes: &planes_out,
        plane: out.strides,
        residuals: if case.residual { constant(&residuals) } else { &[] },
        residual: residual.strides,
        slope: case.slope,
        gated: if case.gate.is_some() { constant(&gates) } else { &[] },
        gated_strides: gated.strides,
        gate: case.gate.unwrap_or(Gate::Slope),
    };
    let mut scratch = Floats::try_zeroed(kernel.scratch_len(side, to.len())).unwrap();
    // SAFETY: the images have all rows and their margins.
    unsafe { kernel.rows(&args, width, 0, height, scratch.as_mut_ptr()) };

    let lane = |image: &Image, c: usize, y: usize, x: usize| match planes {
        true => image.memory[image.index(c, y, x)],
        false => image.memory[image.index(c / LANES, y, x) + c % LANES],
    };
    let half = (side / 2) as isize;
    for o in 0..outputs {
        for y in 0..height {
            for x in 0..width {
                let (mut sum, mut size) = (f64::from(filter.bias[o]), 1.0);
                for i in 0..inputs {
                    for ky in -half..=half {
                        for kx in -half..=half {
                            let (sy, sx) = (y as isize + ky, x as isize + kx);
                            if !(0..height as isize).contains(&sy) || !(0..width as isize).contains(&sx) {
                                continue;
                            }
                            let tap = ((ky + half) * side as isize + kx + half) as usize;
                            let weight = bf16::from_f32(filter.weights[(o * inputs + i) * side * side + tap]);
                            let product = f64::from(weight.to_f32() * units.rounded(i, sy as usize, sx as usize));
                            sum += product;
                            size += product.abs();
                        }
                    }
                }
                if case.residual {
                    sum += f64::from(lane(&residual, o, y, x));
                }
                let expected = match case.gate {
                    None => sum.max(sum * f64::from(case.slope)),
                    Some(gate) => {
                        let activated = match gate {
                            Gate::Slope => sum.max(sum * f64::from(case.slope)),
                            Gate::Sigmoid => 1.0 / (1.0 + (-sum).exp()),
                            Gate::Clip(low, high) => sum.clamp(low.into(), high.into()),
                        };
                        activated * f64::from(lane(&gated, o, y, x))
                    }
                };
                let place = format!("{case:?}: channel {o} of {x},{y}");
                if case.blocks || planes {
                    let found = f64::from(lane(&out, o, y, x));
                    assert!(
                        (found - expected).abs() < 2e-6 * size,
                        "{place}: {found} for {expected}"
                    );
                }
                if case.units {
                    let found = f64::from(rounded.rounded(o, y, x));
                    let allowed = 2e-6 * size + expected.abs() / 256.0;
                    assert!((found - expected).abs() < allowed, "{place}: {found} for {expected}");
                }
            }
        }
    }
    // Pixels behind the last one, and the rest of the last unit.
    if case.units {
        assert_eq!(
            rounded.memory[rounded.index(0, height - 1, width)],
            UNTOUCHED,
            "{case:?}"
        );
        for c in outputs..rounded.units * PAIRED_LANES {
            assert_eq!(rounded.rounded(c, 0, 0), 0.0, "{case:?}: channel {c}");
        }
    }
    if case.blocks || planes {
        assert_eq!(out.memory[out.index(0, height - 1, width)], UNTOUCHED, "{case:?}");
    }
}
