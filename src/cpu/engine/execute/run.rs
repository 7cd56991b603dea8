//! Runs a plan on a frame, one group of steps after the other.

#![allow(unsafe_code)]

use super::schedule::Extent;
use super::step::{BoundStep, mean};
use super::workspace::Workspace;
use crate::cpu::engine::kernels::{Kernels, scalar};
use crate::cpu::engine::packing::{Kernel, Plan, Step};
use crate::cpu::threads::Pool;
use crate::network::Pooled;

/// Pointers into memory that outlives the run, shared by the threads of a group.
///
/// The schedule never runs two tasks at once that touch the same pixels, and a group ends before the next begins.
struct SharedPointers<T>(T);

// SAFETY: see above.
unsafe impl<T> Sync for SharedPointers<T> {}

impl<T> SharedPointers<T> {
    /// The contents. A method, so that closures capture the whole value.
    fn get(&self) -> &T {
        &self.0
    }
}

/// Runs the plan. Lengths of inputs and outputs have been checked.
pub fn run(
    plan: &Plan,
    kernels: Kernels,
    pool: &Pool,
    workspace: &mut Workspace,
    part: usize,
    inputs: &[&[f32]],
    outputs: &mut [&mut [f32]],
) {
    let frame = (workspace.width, workspace.height);
    let part = &mut workspace.parts[part];
    part.locate(workspace.arena.as_mut_ptr(), inputs, outputs);
    for &(port, at, count) in &plan.pooled_inputs {
        part.pooled[at..at + count].copy_from_slice(&inputs[port][..count]);
    }
    let scratch = SharedPointers((workspace.scratch.as_mut_ptr(), workspace.scratch_len));
    for &(first, end) in &part.groups {
        if let Step::Pooled(work) = &plan.steps[first] {
            pooled(work, &mut part.pooled);
            continue;
        }
        scale(&plan.steps[first..end], &part.pooled, &mut part.scaled);
        let (scaled, sums) = (part.scaled.as_ptr(), part.sums.as_mut_ptr());
        let (units, pointers, values) = (&part.steps, &part.pointers, &part.pooled);
        let bound = |step: usize| BoundStep {
            step: &plan.steps[step],
            units: &units[step],
            pointers: pointers[step].get(),
            pooled: values,
            scaled,
            sums,
            kernels,
            frame,
        };
        let (extents, schedule) = (&part.extents[first..end], &part.schedule);
        // A small frame is done before another thread comes to help.
        let widest = extents.iter().map(Extent::tasks).max().unwrap_or(1);
        let threads = pool.threads().min((widest / 2).max(1));
        schedule.begin(extents, threads);
        let args = SharedPointers((bound, &scratch));
        pool.run(threads, &|thread| {
            let (bound, scratch) = args.get();
            let &(scratch, len) = scratch.get();
            schedule.work(extents, thread, |step, task| {
                // SAFETY: the workspace has the margins and scratch memory that the plan asks for, each thread its own;
                // the schedule never runs two tasks at once that touch the same pixels.
                unsafe { bound(first + step).run(&extents[step], task, scratch.add(thread * len)) }
            });
        });
        if let Step::Mean { input, to } = &plan.steps[end - 1] {
            mean(input, frame, &part.sums, &mut part.pooled[*to..]);
        }
    }
}

/// Multiplies the weights of convolutions that have scales by them.
fn scale(steps: &[Step], pooled: &[f32], scaled: &mut [f32]) {
    for step in steps {
        let Step::Conv(conv) = step else { continue };
        let Some((from, at)) = conv.scale else { continue };
        if let Kernel::Direct(packed) | Kernel::Planes(packed) | Kernel::Winograd(packed) = &conv.kernel {
            packed.scale(&pooled[from..], &mut scaled[at..at + packed.weights.len()]);
        }
    }
}

/// Runs a step on pooled values, which are a few numbers.
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
