//! Takes a frame through a plan: every step in strips, on all threads of the pool.

#![allow(unsafe_code)]

use super::MAX_BLOCKS;
use super::direct::{Tail, rows, rows_to_planes, tail_rows};
use super::filter::Packed;
use super::memory::Floats;
use super::plan::*;
use super::pointwise::{Operand, PIECE, apply, scalar};
use super::product::{LANES, Product, Strides};
use super::rearrange::{move_rows, shuffle_rows, sum_row};
use super::winograd::{Winograd, strip};
use super::workspace::{Located, Scratch, Source, Workspace, with_scratch};
use crate::pool::Pool;
use crate::simd::Level;

/// Pointers into memory that outlives the run, shared by the threads of a step.
///
/// Each task of a step writes pixels that no other task of it touches, and the pool ends a step before the next.
struct Shared<T>(T);

// SAFETY: see above.
unsafe impl<T> Sync for Shared<T> {}

impl<T> Shared<T> {
    /// The contents; a method, so that closures capture the whole.
    fn get(&self) -> &T {
        &self.0
    }
}

/// The memory of a run.
struct Run<'a> {
    pool: &'a Pool,
    level: Level,
    width: usize,
    height: usize,
    arena: *mut f32,
    inputs: &'a [&'a [f32]],
    outputs: &'a [*mut f32],
    scratch: &'a [Scratch],
}

/// A list of pointers on the stack.
struct Pointers {
    all: [*mut f32; MAX_BLOCKS],
    len: usize,
}

impl Pointers {
    fn writable(&self) -> &[*mut f32] {
        &self.all[..self.len]
    }

    fn readable(&self) -> &[*const f32] {
        let all = &self.all[..self.len];
        // SAFETY: pointers to mutable and to constant floats have the same layout.
        unsafe { std::slice::from_raw_parts(all.as_ptr().cast(), all.len()) }
    }
}

/// Runs the plan. Lengths of inputs and outputs have been checked.
pub fn run(
    plan: &Plan,
    level: Level,
    pool: &Pool,
    workspace: &mut Workspace,
    part: usize,
    inputs: &[&[f32]],
    outputs: &mut [&mut [f32]],
) {
    let (arena, part) = (&mut workspace.arena, &mut workspace.parts[part]);
    let mut pointers = [std::ptr::null_mut(); super::MAX_PORTS];
    for (pointer, output) in pointers.iter_mut().zip(outputs.iter_mut()) {
        *pointer = output.as_mut_ptr();
    }
    for &(port, at, count) in &plan.pooled_inputs {
        part.pooled[at..at + count].copy_from_slice(&inputs[port][..count]);
    }
    let run = Run {
        pool,
        level,
        width: workspace.width,
        height: workspace.height,
        arena: arena.as_mut_ptr(),
        inputs,
        outputs: &pointers[..outputs.len()],
        scratch: &workspace.scratch,
    };
    for (step, units) in plan.steps.iter().zip(&part.steps) {
        match step {
            Step::Conv(conv) => run.conv(conv, units, &part.pooled, &mut part.scaled),
            Step::Program(program) => run.program(program, units, &part.pooled),
            Step::Shuffle { down, back, .. } => run.shuffle(units, *down, *back),
            Step::Move { channels, down } => run.moves(channels, units, *down),
            Step::Mean { input, to } => run.mean(input, units, &mut part.sums, &mut part.pooled[*to..]),
            Step::Pooled(work) => pooled(work, &mut part.pooled),
        }
    }
}

/// Floats of scratch memory that a program needs: registers, and copies of operands at the end of a row.
pub fn program_scratch(program: &Program) -> usize {
    (program.registers + 3) * PIECE + program.lanes.len() * LANES
}

impl Run<'_> {
    fn pointer(&self, source: Source) -> *mut f32 {
        // SAFETY: addresses lie inside the arena by the workspace's layout, and inside the caller's planes by their
        // checked lengths.
        unsafe {
            match source {
                Source::Arena(at) => self.arena.add(at),
                Source::Input { port, offset } => self.inputs[port].as_ptr().add(offset).cast_mut(),
                Source::Output { port, offset } => self.outputs[port].add(offset),
            }
        }
    }

    fn pointers(&self, units: &[Located]) -> Pointers {
        let mut all = [std::ptr::null_mut(); MAX_BLOCKS];
        for (pointer, unit) in all.iter_mut().zip(units) {
            *pointer = self.pointer(unit.source);
        }
        Pointers { all, len: units.len() }
    }

    /// Calls `f(first row, end)` for strips of `height` rows.
    fn strips(&self, height: usize, f: impl Fn(usize, usize) + Sync) {
        let threads = self.pool.threads();
        let tasks = if threads == 1 { 1 } else { height.min(threads * 8) };
        self.pool
            .run(tasks, &|i| f(height * i / tasks, height * (i + 1) / tasks));
    }
    fn conv(&self, conv: &Conv, units: &[Located], pooled: &[f32], scaled: &mut Floats) {
        let (input, rest) = units.split_at(conv.input.units.len());
        let (output, residual) = rest.split_at(conv.output.units.len());
        let level = self.level;
        let strides = |units: &[Located]| units.first().map_or(Strides { x: 0, y: 0 }, |u| u.strides);
        let (inputs, outputs, residuals) = (self.pointers(input), self.pointers(output), self.pointers(residual));
        let (width, height) = (self.width / conv.input.down, self.height / conv.input.down);
        let mut weights = |packed: &Packed| match conv.scale {
            None => packed.weights.as_ptr(),
            Some((from, at)) => {
                let out = &mut scaled[at..at + packed.weights.len()];
                packed.scale(&pooled[from..], out);
                out.as_ptr()
            }
        };
        let product = |weights: *const f32, bias: *const f32| Product {
            inputs: inputs.readable(),
            input: strides(input),
            lanes: conv.input.kind.lanes(),
            last_lanes: conv.input.channels - (conv.input.units.len() - 1) * conv.input.kind.lanes(),
            weights,
            kernel: conv.side,
            bias,
            outputs: &[],
            output: strides(output),
            residuals: &[],
            residual: strides(residual),
            slope: conv.slope,
        };
        match &conv.kernel {
            Kernel::Winograd(packed) => {
                let args = Shared(Winograd {
                    kernel: conv.side,
                    inputs: inputs.readable(),
                    input: strides(input),
                    weights: weights(packed),
                    chunks: &packed.chunks,
                    bias: packed.bias.as_ptr(),
                    outputs: outputs.writable(),
                    output: strides(output),
                    residuals: residuals.readable(),
                    residual: strides(residual),
                    slope: conv.slope,
                    width,
                    height,
                });
                let scratch = self.scratch;
                self.pool.run(args.get().strips(), &|i| {
                    with_scratch(scratch, |scratch| {
                        // SAFETY: the workspace has the margins and scratch memory that the plan asks for, and strips
                        // do not overlap.
                        unsafe { strip(level, args.get(), i, scratch) }
                    });
                });
            }
            Kernel::Direct(packed) => {
                let weights = weights(packed);
                for (at, first, chunk) in packed.layout() {
                    // SAFETY: inside the packed weights.
                    let (weights, bias) = unsafe { (weights.add(at), packed.bias.as_ptr().add(first * LANES)) };
                    let args = Shared(Product {
                        outputs: &outputs.writable()[first..first + chunk],
                        residuals: if residual.is_empty() {
                            &[]
                        } else {
                            &residuals.readable()[first..first + chunk]
                        },
                        ..product(weights, bias)
                    });
                    // SAFETY: as above; strips do not overlap.
                    self.strips(height, |y0, y1| unsafe { rows(level, args.get(), width, y0, y1) });
                }
            }
            Kernel::Planes(packed) => {
                let args = Shared((
                    product(weights(packed), packed.bias.as_ptr()),
                    outputs.writable(),
                    residuals.readable(),
                ));
                self.strips(height, |y0, y1| {
                    let (product, planes, residuals) = args.get();
                    // SAFETY: as above; fewer than 16 planes come from one block.
                    unsafe {
                        rows_to_planes(
                            level,
                            product,
                            planes,
                            product.output,
                            residuals,
                            product.residual,
                            width,
                            y0,
                            y1,
                        )
                    }
                });
            }
            Kernel::Tail(parts) => {
                let mut first = 0;
                for part in parts {
                    let count = part.bias.len();
                    let args = Shared(Tail {
                        inputs: inputs.readable(),
                        input: strides(input),
                        weights: part.weights.as_ptr(),
                        kernel: conv.side,
                        bias: part.bias.as_ptr(),
                        outputs: &outputs.writable()[first..first + count],
                        output: strides(output),
                        residuals: if residual.is_empty() {
                            &[]
                        } else {
                            &residuals.readable()[first..first + count]
                        },
                        residual: strides(residual),
                        slope: conv.slope,
                    });
                    // SAFETY: as above; strips do not overlap.
                    self.strips(height, |y0, y1| unsafe { tail_rows(level, args.get(), width, y0, y1) });
                    first += count;
                }
            }
        }
    }
    fn program(&self, program: &Program, units: &[Located], pooled: &[f32]) {
        let pointers: Shared<(Pointers, &Self)> = Shared((self.pointers(units), self));
        let (width, height) = (self.width / program.class.down, self.height / program.class.down);
        // Floats of a row, which end in the middle of a group for planes only.
        let (row, step) = match program.class.kind {
            Kind::Plane => (width, 1),
            Kind::Block => (width * LANES, LANES),
        };
        self.strips(height, |y0, y1| {
            let (pointers, run) = pointers.get();
            with_scratch(run.scratch, |scratch| {
                // SAFETY: the scratch memory has room for `program_scratch` floats.
                let (registers, spare, lanes) = unsafe {
                    (
                        scratch,
                        scratch.add(program.registers * PIECE),
                        scratch.add((program.registers + 3) * PIECE),
                    )
                };
                for (i, &(at, repeated)) in program.lanes.iter().enumerate() {
                    for lane in 0..LANES {
                        // SAFETY: as above.
                        unsafe { *lanes.add(i * LANES + lane) = pooled[if repeated { at } else { at + lane }] };
                    }
                }
                for y in y0..y1 {
                    for x in (0..row).step_by(PIECE) {
                        let len = PIECE.min(row - x);
                        let groups = len / LANES;
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
                                Ref::Unit(i) => Operand {
                                    at: pointers.all[i].add(y * units[i].strides.y + x / step * units[i].strides.x),
                                    step: LANES / step * units[i].strides.x,
                                },
                            };
                            for i in &program.instructions {
                                if groups > 0 {
                                    apply(run.level, i.code, find(i.out, x), find(i.a, x), find(i.b, x), groups);
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
                                    apply(run.level, i.code, out, a, b, 1);
                                    if let Ref::Unit(_) = i.out {
                                        std::ptr::copy_nonoverlapping(out.at, find(i.out, x).at, left);
                                    }
                                }
                            }
                        }
                    }
                }
            });
        });
    }
    fn shuffle(&self, units: &[Located], down: usize, back: bool) {
        let args = Shared((self.pointer(units[0].source), self.pointer(units[1].source)));
        let (plane, block) = (units[0].strides, units[1].strides);
        let width = self.width / down;
        self.strips(self.height / down, |y0, y1| {
            let &(p, b) = args.get();
            // SAFETY: units cover the rows; strips do not overlap.
            unsafe { shuffle_rows(p, plane, b, block, width, y0, y1, back) }
        });
    }
    fn moves(&self, channels: &[(Channel, Channel)], units: &[Located], down: usize) {
        let args = Shared(self);
        let width = self.width / down;
        self.strips(self.height / down, |y0, y1| {
            for ((from, to), units) in channels.iter().zip(units.chunks_exact(2)) {
                let at = |c: &Channel, u: &Located| {
                    let (dy, dx) = c.offset;
                    let start = dy * u.strides.y + dx * u.strides.x + c.lane;
                    let strides = Strides {
                        x: c.step * u.strides.x,
                        y: c.step * u.strides.y,
                    };
                    // SAFETY: channels lie inside their units.
                    (unsafe { args.get().pointer(u.source).add(start) }, strides)
                };
                let ((a, from), (b, to)) = (at(from, &units[0]), at(to, &units[1]));
                // SAFETY: units cover the rows; strips do not overlap.
                unsafe { move_rows(a, from, b, to, width, y0, y1) }
            }
        });
    }
    fn mean(&self, input: &Image, units: &[Located], sums: &mut [f64], out: &mut [f32]) {
        let (width, height) = (self.width / input.down, self.height / input.down);
        let per_row = units.len() * LANES;
        let args = Shared((self, sums.as_mut_ptr()));
        self.strips(height, |y0, y1| {
            let (run, sums) = args.get();
            for y in y0..y1 {
                for (u, unit) in units.iter().enumerate() {
                    let mut lanes = [0.0f32; LANES];
                    // SAFETY: units cover the rows; each row has its own sums.
                    unsafe {
                        let row = run.pointer(unit.source).add(y * unit.strides.y);
                        let pixels = if input.kind == Kind::Plane {
                            width / LANES
                        } else {
                            width
                        };
                        let step = if input.kind == Kind::Plane {
                            LANES
                        } else {
                            unit.strides.x
                        };
                        sum_row(run.level, row, step, pixels, lanes.as_mut_ptr());
                        if input.kind == Kind::Plane {
                            let rest: f32 = (pixels * LANES..width).map(|x| *row.add(x)).sum();
                            lanes[0] = lanes.iter().sum::<f32>() + rest;
                        }
                        for (lane, &v) in lanes.iter().enumerate() {
                            *sums.add(y * per_row + u * LANES + lane) = f64::from(v);
                        }
                    }
                }
            }
        });
        let lanes = input.kind.lanes();
        for (c, mean) in out.iter_mut().enumerate().take(input.channels) {
            let column = c / lanes * LANES + c % lanes;
            let sum: f64 = sums.iter().skip(column).step_by(per_row).take(height).sum();
            *mean = (sum / (width * height) as f64) as f32;
        }
    }
}

/// Work on pooled values, a few numbers each.
fn pooled(work: &Pooled, all: &mut [f32]) {
    match work {
        Pooled::Dense { filter, from, to } => {
            for o in 0..filter.outputs {
                let weights = &filter.weights[o * filter.inputs..][..filter.inputs];
                let sum: f32 = weights.iter().zip(&all[*from..]).map(|(w, x)| w * x).sum();
                all[to + o] = sum + filter.bias[o];
            }
        }
        Pooled::Each { code, a, b, to, count } => {
            for i in 0..*count {
                all[to + i] = scalar(*code, all[a.0 + i * a.1], all[b.0 + i * b.1]);
            }
        }
        Pooled::Move { from, to, count } => all.copy_within(*from..from + count, *to),
    }
}
