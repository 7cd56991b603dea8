//! Takes a frame through a plan, group of steps by group of steps.

#![allow(unsafe_code)]

use super::plan::*;
use super::pointwise::scalar;
use super::schedule::{Extent, Next};
use super::step::{Bound, mean};
use super::workspace::Workspace;
use crate::pool::Pool;
use crate::simd::Level;

/// Pointers into memory that outlives the run, shared by the threads of a group.
///
/// The schedule keeps tasks apart that touch the same pixels, and the pool ends a group before the next.
struct Shared<T>(T);

// SAFETY: see above.
unsafe impl<T> Sync for Shared<T> {}

impl<T> Shared<T> {
    /// The contents; a method, so that closures capture the whole.
    fn get(&self) -> &T {
        &self.0
    }
}

/// How often a thread looks for a task before it lets others run.
const LOOKS: u32 = 256;

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
    let frame = (workspace.width, workspace.height);
    let part = &mut workspace.parts[part];
    part.locate(workspace.arena.as_mut_ptr(), inputs, outputs);
    for &(port, at, count) in &plan.pooled_inputs {
        part.pooled[at..at + count].copy_from_slice(&inputs[port][..count]);
    }
    let scratch = Shared((workspace.scratch.as_mut_ptr(), workspace.scratch_len));
    for &(first, end) in &part.groups {
        if let Step::Pooled(work) = &plan.steps[first] {
            pooled(work, &mut part.pooled);
            continue;
        }
        scale(&plan.steps[first..end], &part.pooled, &mut part.scaled);
        let (scaled, sums) = (part.scaled.as_ptr(), part.sums.as_mut_ptr());
        let (units, pointers, values) = (&part.steps, &part.pointers, &part.pooled);
        let bound = |step: usize| Bound {
            step: &plan.steps[step],
            units: &units[step],
            pointers: pointers[step].get(),
            pooled: values,
            scaled,
            sums,
            level,
            frame,
        };
        let (extents, front) = (&part.extents[first..end], &part.front);
        // Small frames are done before another thread has come to help.
        let widest = extents.iter().map(Extent::tasks).max().unwrap_or(1);
        let threads = pool.threads().min((widest / 2).max(1));
        front.begin(extents, threads);
        let args = Shared((bound, &scratch));
        pool.run(threads, &|thread| {
            let (bound, scratch) = args.get();
            let &(scratch, len) = scratch.get();
            let _watch = front.watch();
            let mut looks = 0;
            loop {
                match front.next(extents, thread) {
                    Next::End => return,
                    Next::Wait if looks < LOOKS => {
                        looks += 1;
                        std::hint::spin_loop();
                    }
                    Next::Wait => std::thread::yield_now(),
                    Next::Task { step, task } => {
                        looks = 0;
                        // SAFETY: the workspace has the margins and scratch memory that the plan asks for, each thread
                        // its own; the schedule keeps tasks apart that touch the same pixels.
                        unsafe { bound(first + step).run(&extents[step], task, scratch.add(thread * len)) }
                    }
                }
            }
        });
        if let Step::Mean { input, to } = &plan.steps[end - 1] {
            mean(input, frame, &part.sums, &mut part.pooled[*to..]);
        }
    }
}

/// Multiplies scales into the weights of convolutions that have some.
fn scale(steps: &[Step], pooled: &[f32], scaled: &mut [f32]) {
    for step in steps {
        let Step::Conv(conv) = step else { continue };
        let Some((from, at)) = conv.scale else { continue };
        if let Kernel::Direct(packed) | Kernel::Planes(packed) | Kernel::Winograd(packed) = &conv.kernel {
            packed.scale(&pooled[from..], &mut scaled[at..at + packed.weights.len()]);
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
