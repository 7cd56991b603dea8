//! One step of a plan: how it is divided into tasks, and what a task does.

#![allow(unsafe_code)]

use super::schedule::Extent;
use super::units::UnitAddress;
use crate::cpu::engine::kernels::{
    Kernels, MatrixConv, Operand, PIECE, Product, Rounding, Strides, TILE, Tail, WINOGRAD_STRIP, Winograd, constant,
    move_rows, winograd_scratch_len,
};
use crate::cpu::engine::packing::{Conv, Kernel, Step};
use crate::cpu::memory::prefetch;
use crate::network::{Channel, Gate, Image, Kind, LANES, Program, Ref};

/// The approximate number of floats that a task of whole rows reads and writes.
const TASK: usize = 64 * 1024;

/// A step with everything that its tasks need. Pointers stay valid for as long as tasks run.
#[derive(Clone, Copy)]
pub struct BoundStep<'a> {
    /// The step.
    pub step: &'a Step,
    /// The addresses of its units, in the order of [`Step::units`].
    pub units: &'a [UnitAddress],
    /// The same as pointers.
    pub pointers: &'a [*mut f32],
    /// The pooled values.
    pub pooled: &'a [f32],
    /// Weights multiplied by scales, for all convolutions that have some.
    pub scaled: *const f32,
    /// Sums of rows for means.
    pub sums: *mut f64,
    /// The kernels that compute it.
    pub kernels: Kernels,
    /// Size of the frame.
    pub frame: (usize, usize),
}

/// Floats of scratch memory that a step needs for each thread.
pub fn scratch_len(step: &Step) -> usize {
    match step {
        Step::Conv(c) if c.kernel.is_tiled() => winograd_scratch_len(c.side, c.input.units.len(), c.output.units.len()),
        Step::Conv(c) => match &c.kernel {
            Kernel::Matrices { kernel, .. } => kernel.scratch_len(c.side, c.input.units.len()),
            _ => 0,
        },
        // Registers, and copies of operands at the end of a row.
        Step::Program(p) => (p.registers + 3 + p.planes.len()) * PIECE + p.lanes.len() * LANES,
        _ => 0,
    }
}

/// How a step is divided into tasks on a frame of `width` × `height`; none if it works on pooled values alone.
pub fn extent(step: &Step, width: usize, height: usize) -> Option<Extent> {
    let by_rows = |down: usize, lanes: usize, reach: usize| Extent {
        across: 1,
        items: height / down,
        per_task: (TASK / (width / down * lanes).max(1)).max(1),
        tall: down,
        reach: reach.max(down),
    };
    Some(match step {
        Step::Conv(c) => {
            let (down, reach) = (c.input.down, c.side / 2 * c.input.down);
            if c.kernel.is_tiled() {
                let across = (width / down).div_ceil(TILE);
                return Some(Extent {
                    across,
                    items: across * (height / down).div_ceil(TILE),
                    per_task: WINOGRAD_STRIP,
                    tall: TILE * down,
                    reach: reach.max(down),
                });
            }
            let lanes = floats_of_pixel;
            by_rows(down, lanes(&c.input) + lanes(&c.output), reach)
        }
        Step::Program(p) => {
            let units = p.units.len() + p.planes.len() + p.shuffled.len();
            by_rows(p.class.down, units * p.class.kind.lanes(), 0)
        }
        Step::Shuffle { down, .. } => by_rows(*down, 32, 0),
        Step::Move { channels, down } => by_rows(*down, 2 * channels.len(), 0),
        Step::Round { input, output, .. } => by_rows(input.down, floats_of_pixel(input) + floats_of_pixel(output), 0),
        Step::Mean { input, .. } => by_rows(input.down, floats_of_pixel(input), 0),
        Step::Pooled(_) => return None,
    })
}

/// Floats that the units of an image have room for in a pixel.
fn floats_of_pixel(image: &Image) -> usize {
    image.units.len() * image.kind.memory().lanes()
}

impl BoundStep<'_> {
    /// Executes a task.
    ///
    /// # Safety
    /// Pointers are those of the units; the units and `scratch` have the room that the plan asks for; no other thread
    /// writes what the task reads, or touches what it writes.
    pub unsafe fn run(&self, extent: &Extent, task: usize, scratch: *mut f32) {
        let (y0, y1) = (task * extent.per_task, extent.items.min((task + 1) * extent.per_task));
        // SAFETY: guaranteed by the caller.
        unsafe {
            match self.step {
                Step::Conv(conv) => self.conv(conv, task, y0, y1, scratch),
                Step::Program(program) => self.program(program, y0, y1, scratch),
                Step::Shuffle { down, back, .. } => {
                    let (plane, block) = (self.units[0].strides, self.units[1].strides);
                    let width = self.frame.0 / down;
                    self.kernels.floats.shuffle_rows(
                        self.pointers[0],
                        plane,
                        self.pointers[1],
                        block,
                        width,
                        y0,
                        y1,
                        *back,
                    )
                }
                Step::Move { channels, down } => self.moves(channels, *down, y0, y1),
                Step::Round { input, scale, .. } => self.round(input, *scale, y0, y1),
                Step::Mean { input, .. } => self.row_sums(input, y0, y1),
                Step::Pooled(_) => {}
            }
        }
    }

    unsafe fn conv(&self, conv: &Conv, task: usize, y0: usize, y1: usize, scratch: *mut f32) {
        let (inputs, rest) = self.pointers.split_at(conv.input.units.len());
        let (outputs, rest) = rest.split_at(conv.output.units.len());
        let (rounded, rest) = rest.split_at(conv.rounded.as_ref().map_or(0, |r| r.units.len()));
        let (residuals, gated) = rest.split_at(conv.residual.as_ref().map_or(0, |r| r.units.len()));
        let (input, rest) = self.units.split_at(inputs.len());
        let (output, rest) = rest.split_at(outputs.len());
        let (rounded_units, rest) = rest.split_at(rounded.len());
        let (residual, gated_units) = rest.split_at(residuals.len());
        let strides = |units: &[UnitAddress]| units.first().map_or(Strides { x: 0, y: 0 }, |u| u.strides);
        let (width, height) = (self.frame.0 / conv.input.down, self.frame.1 / conv.input.down);
        let (inputs, residuals, gated) = (constant(inputs), constant(residuals), constant(gated));
        fn part(all: &[*const f32], first: usize, count: usize) -> &[*const f32] {
            if all.is_empty() {
                all
            } else {
                &all[first..first + count]
            }
        }
        let weights = |own: *const f32| match conv.scale {
            None => own,
            // SAFETY: inside the scaled weights by the plan.
            Some((_, at)) => unsafe { self.scaled.add(at) },
        };
        let product = |weights: *const f32, bias: *const f32| Product {
            inputs,
            input: strides(input),
            lanes: conv.input.kind.lanes(),
            last_lanes: conv.input.channels - (inputs.len() - 1) * conv.input.kind.lanes(),
            weights,
            kernel: conv.side,
            bias,
            outputs: &[],
            output: strides(output),
            residuals: &[],
            residual: strides(residual),
            slope: conv.slope,
            gated: &[],
            gated_strides: strides(gated_units),
            gate: conv.gated.as_ref().map_or(Gate::Slope, |g| g.gate),
        };
        let tiled = |weights, chunks, bias| Winograd {
            kernel: conv.side,
            inputs,
            input: strides(input),
            weights,
            chunks,
            bias,
            outputs,
            output: strides(output),
            residuals,
            residual: strides(residual),
            slope: conv.slope,
            width,
            height,
        };
        let floats = self.kernels.floats;
        // SAFETY: guaranteed by the caller and by the packing of the weights.
        unsafe {
            match &conv.kernel {
                Kernel::Winograd(packed) => {
                    let weights = weights(packed.weights.as_ptr());
                    let args = tiled(weights, &packed.chunks, packed.bias.as_ptr());
                    floats.strip(&args, task, scratch);
                }
                Kernel::Products { kernel, packed } => {
                    let args = tiled(std::ptr::null(), &packed.chunks, packed.bias.as_ptr());
                    let factors = conv
                        .scale
                        .map_or(std::ptr::null(), |(from, _)| self.pooled[from..].as_ptr());
                    kernel.strip(&args, packed, factors, task, scratch);
                }
                Kernel::Matrices { kernel, packed } => {
                    // The results lie in one image, or in two.
                    let of = |kind: Kind| match conv.output.kind == kind {
                        true => (outputs, strides(output)),
                        false => (&[][..], strides(&[])),
                    };
                    let ((blocks, block), (planes, plane)) = (of(Kind::Block), of(Kind::Plane));
                    let (units, unit) = match &conv.rounded {
                        Some(_) => (rounded, strides(rounded_units)),
                        None => of(Kind::Paired),
                    };
                    let args = MatrixConv {
                        kernel: conv.side,
                        inputs,
                        input: strides(input),
                        packed,
                        channels: conv.output.channels,
                        blocks,
                        block,
                        units,
                        unit,
                        planes,
                        plane,
                        residuals,
                        residual: strides(residual),
                        slope: conv.slope,
                        gated,
                        gated_strides: strides(gated_units),
                        gate: conv.gated.as_ref().map_or(Gate::Slope, |g| g.gate),
                    };
                    kernel.rows(&args, width, y0, y1, scratch);
                }
                Kernel::Direct(packed) => {
                    for (at, first, chunk) in packed.layout() {
                        let weights = weights(packed.weights.as_ptr()).add(at);
                        let args = Product {
                            outputs: &outputs[first..first + chunk],
                            residuals: part(residuals, first, chunk),
                            gated: part(gated, first, chunk),
                            ..product(weights, packed.bias.as_ptr().add(first * LANES))
                        };
                        floats.rows(&args, width, y0, y1);
                    }
                }
                Kernel::Planes(packed) => {
                    let args = product(weights(packed.weights.as_ptr()), packed.bias.as_ptr());
                    let (to, from) = (args.output, args.residual);
                    // Fewer than 16 planes come from one block.
                    floats.rows_to_planes(&args, outputs, to, residuals, from, width, y0, y1);
                }
                Kernel::Tail(parts) => {
                    let mut first = 0;
                    for tail in parts {
                        let count = tail.bias.len();
                        let args = Tail {
                            inputs,
                            input: strides(input),
                            weights: tail.weights.as_ptr(),
                            kernel: conv.side,
                            bias: tail.bias.as_ptr(),
                            outputs: &outputs[first..first + count],
                            output: strides(output),
                            residuals: part(residuals, first, count),
                            residual: strides(residual),
                            slope: conv.slope,
                        };
                        floats.tail_rows(&args, width, y0, y1);
                        first += count;
                    }
                }
            }
        }
    }

    unsafe fn round(&self, input: &Image, scale: Option<usize>, y0: usize, y1: usize) {
        let Some(kernel) = self.kernels.matrices else { return };
        let (inputs, outputs) = self.pointers.split_at(input.units.len());
        let (from, to) = self.units.split_at(inputs.len());
        let args = Rounding {
            inputs: constant(inputs),
            input: from[0].strides,
            factors: scale.map_or(std::ptr::null(), |at| self.pooled[at..].as_ptr()),
            outputs,
            output: to[0].strides,
            channels: input.channels,
        };
        // SAFETY: guaranteed by the caller; pooled values come in whole groups of 16.
        unsafe { kernel.round_rows(&args, self.frame.0 / input.down, y0, y1) }
    }

    unsafe fn program(&self, program: &Program, y0: usize, y1: usize, scratch: *mut f32) {
        let floats = self.kernels.floats;
        // Floats of a row, which end in the middle of a group for planes only.
        let width = self.frame.0 / program.class.down;
        let (row, step) = match program.class.kind {
            Kind::Plane => (width, 1),
            _ => (width * LANES, LANES),
        };
        // SAFETY: the scratch memory has room for all four.
        let (registers, planes, spare, lanes) = unsafe {
            (
                scratch,
                scratch.add(program.registers * PIECE),
                scratch.add((program.registers + program.planes.len()) * PIECE),
                scratch.add((program.registers + program.planes.len() + 3) * PIECE),
            )
        };
        // Planes that are read as blocks, and those that blocks become, come behind the units.
        let (strides, pointers) = (
            &self.units[program.units.len()..],
            &self.pointers[program.units.len()..],
        );
        let shuffle = |i: usize, piece: *mut f32, y: usize, x: usize, groups: usize, back: bool| {
            let rows = strides[i].strides;
            let block = Strides { x: LANES, y: 0 };
            // SAFETY: a piece is in the scratch memory; planes cover the rows.
            unsafe {
                let plane = pointers[i].add(4 * y * rows.y + x / LANES * 4);
                floats.shuffle_rows(plane, rows, piece, block, groups, 0, 1, back);
            }
        };
        for (i, &(at, repeated)) in program.lanes.iter().enumerate() {
            for lane in 0..LANES {
                // SAFETY: as above.
                unsafe { *lanes.add(i * LANES + lane) = self.pooled[if repeated { at } else { at + lane }] };
            }
        }
        for y in y0..y1 {
            for x in (0..row).step_by(PIECE) {
                let len = PIECE.min(row - x);
                let groups = len / LANES;
                // The next piece is on its way while this one is computed.
                let (next_y, next_x) = if x + PIECE < row { (y, x + PIECE) } else { (y + 1, 0) };
                for (pointer, unit) in self.pointers.iter().zip(self.units).take(program.units.len()) {
                    let at = pointer.wrapping_add(next_y * unit.strides.y + next_x / step * unit.strides.x);
                    for i in 0..PIECE / LANES {
                        prefetch(at.wrapping_add(i * (LANES / step * unit.strides.x)));
                    }
                }
                for (pointer, unit) in pointers.iter().zip(strides) {
                    for line in 0..PIECE / LANES {
                        let (dy, dx) = (line % 4, line / 4 * LANES);
                        prefetch(pointer.wrapping_add((4 * next_y + dy) * unit.strides.y + next_x / 4 + dx));
                    }
                }
                // SAFETY: units cover the rows; what lies behind the last whole group is copied.
                unsafe {
                    let find = |r: Ref, x: usize| match r {
                        Ref::Register(i) => Operand {
                            at: registers.add(i * PIECE + x % PIECE),
                            step: LANES,
                        },
                        Ref::Lanes(i) => Operand {
                            at: lanes.add(i * LANES),
                            step: 0,
                        },
                        Ref::Plane(i) => Operand {
                            at: planes.add(i * PIECE + x % PIECE),
                            step: LANES,
                        },
                        Ref::Unit(i) => {
                            let strides = self.units[i].strides;
                            Operand {
                                at: self.pointers[i].add(y * strides.y + x / step * strides.x),
                                step: LANES / step * strides.x,
                            }
                        }
                    };
                    for i in 0..program.planes.len() {
                        shuffle(i, planes.add(i * PIECE), y, x, groups, false);
                    }
                    for i in &program.instructions {
                        if groups > 0 {
                            floats.apply(i.code, find(i.out, x), find(i.a, x), find(i.b, x), groups);
                        }
                        let left = len % LANES;
                        if left > 0 {
                            let x = x + groups * LANES;
                            let bring = |r: Ref, k: usize| match r {
                                Ref::Unit(_) => {
                                    let to = spare.add(k * LANES);
                                    std::ptr::copy_nonoverlapping(find(r, x).at, to, left);
                                    Operand { at: to, step: LANES }
                                }
                                _ => find(r, x),
                            };
                            let (a, b) = (bring(i.a, 0), bring(i.b, 1));
                            let out = match i.out {
                                Ref::Unit(_) => Operand {
                                    at: spare.add(2 * LANES),
                                    step: LANES,
                                },
                                other => find(other, x),
                            };
                            floats.apply(i.code, out, a, b, 1);
                            if let Ref::Unit(_) = i.out {
                                std::ptr::copy_nonoverlapping(out.at, find(i.out, x).at, left);
                            }
                        }
                    }
                    for (i, &(register, _)) in program.shuffled.iter().enumerate() {
                        shuffle(
                            program.planes.len() + i,
                            registers.add(register * PIECE),
                            y,
                            x,
                            groups,
                            true,
                        );
                    }
                }
            }
        }
    }

    unsafe fn moves(&self, channels: &[(Channel, Channel)], down: usize, y0: usize, y1: usize) {
        let width = self.frame.0 / down;
        let units = self.units.chunks_exact(2).zip(self.pointers.chunks_exact(2));
        for ((from, to), (units, pointers)) in channels.iter().zip(units) {
            let at = |c: &Channel, u: &UnitAddress, pointer: *mut f32| {
                let (dy, dx) = c.offset;
                let strides = Strides {
                    x: c.step * u.strides.x,
                    y: c.step * u.strides.y,
                };
                // SAFETY: channels lie inside their units.
                let start = unsafe { pointer.add(dy * u.strides.y + dx * u.strides.x + c.lane) };
                (start, strides)
            };
            let ((a, from), (b, to)) = (at(from, &units[0], pointers[0]), at(to, &units[1], pointers[1]));
            // SAFETY: units cover the rows.
            unsafe { move_rows(a, from, b, to, width, y0, y1) }
        }
    }

    unsafe fn row_sums(&self, input: &Image, y0: usize, y1: usize) {
        let width = self.frame.0 / input.down;
        let plane = input.kind == Kind::Plane;
        for y in y0..y1 {
            for (u, (unit, pointer)) in self.units.iter().zip(self.pointers).enumerate() {
                let mut lanes = [0.0f32; LANES];
                // SAFETY: units cover the rows; each row has its own sums.
                unsafe {
                    let row = pointer.add(y * unit.strides.y);
                    let (groups, step) = if plane {
                        (width / LANES, LANES)
                    } else {
                        (width, unit.strides.x)
                    };
                    self.kernels.floats.sum_row(row, step, groups, lanes.as_mut_ptr());
                    if plane {
                        let rest: f32 = (groups * LANES..width).map(|x| *row.add(x)).sum();
                        lanes[0] = lanes.iter().sum::<f32>() + rest;
                    }
                    for (lane, &v) in lanes.iter().enumerate() {
                        *self.sums.add((y * self.units.len() + u) * LANES + lane) = f64::from(v);
                    }
                }
            }
        }
    }
}

/// The means, from the sums of all rows.
pub fn mean(input: &Image, frame: (usize, usize), sums: &[f64], out: &mut [f32]) {
    let (width, height) = (frame.0 / input.down, frame.1 / input.down);
    let (lanes, per_row) = (input.kind.lanes(), input.units.len() * LANES);
    for (c, mean) in out.iter_mut().enumerate().take(input.channels) {
        let column = c / lanes * LANES + c % lanes;
        let sum: f64 = sums.iter().skip(column).step_by(per_row).take(height).sum();
        *mean = (sum / (width * height) as f64) as f32;
    }
}
