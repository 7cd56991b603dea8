//! The memory for frames of one size: every unit of the networks' plans gets an address.
//!
//! Slots of one class have the same layout, so a slot that is no longer needed is used again, and the networks of a
//! stream, which run one after the other, share all of them. The zeros around the pixels are written once, when the
//! memory is allocated; no step writes there.

#![allow(unsafe_code)]

use std::collections::HashMap;

use super::schedule::{Extent, GroupSchedule};
use super::step::{extent, scratch_len};
use super::units::{Source, UnitAddress};
use crate::cpu::engine::kernels::{Strides, TILE};
use crate::cpu::engine::packing::{Plan, Step};
use crate::cpu::memory::{Floats, try_filled};
use crate::error::{Error, ErrorKind, Result};
use crate::network::{Class, Image, Unit, lcm};

/// The layout of a class of slots.
#[derive(Debug, Clone, Copy)]
struct Shape {
    front: usize,
    pixel: usize,
    row: usize,
    len: usize,
}

/// Activations and scratch memory for frames of one size. One frame at a time.
pub struct Workspace {
    /// Width of the frame.
    pub(crate) width: usize,
    /// Height of the frame.
    pub(crate) height: usize,
    pub(crate) arena: Floats,
    /// Scratch memory, `scratch_len` floats for each thread.
    pub(crate) scratch: Floats,
    pub(crate) scratch_len: usize,
    pub(crate) threads: usize,
    /// What is kept for each network.
    pub(crate) parts: Vec<NetworkPart>,
}

/// What is kept for one network.
pub struct NetworkPart {
    pub(crate) pooled: Vec<f32>,
    pub(crate) scaled: Floats,
    /// Sums of rows, for means.
    pub(crate) sums: Vec<f64>,
    /// Units of every step in the order of [`Step::units`], with addresses.
    pub(crate) steps: Vec<Vec<UnitAddress>>,
    /// The same addresses as pointers, for the frame that is being processed.
    pub(crate) pointers: Vec<Pointers>,
    /// How every step is cut into tasks.
    pub(crate) extents: Vec<Extent>,
    /// Groups of steps that run together, as ranges: one step on pooled values, or several on the frame, of which only
    /// the last may be a mean.
    pub(crate) groups: Vec<(usize, usize)>,
    /// Which thread works on which task of the running group.
    pub(crate) schedule: GroupSchedule,
}

/// Pointers to the units of a step, valid during a frame.
pub struct Pointers(Vec<*mut f32>);

// SAFETY: the pointers are set anew by whoever runs a frame, and used by no one else.
unsafe impl Send for Pointers {}
// SAFETY: as above.
unsafe impl Sync for Pointers {}

impl Pointers {
    pub fn get(&self) -> &[*mut f32] {
        &self.0
    }
}

impl Workspace {
    /// Memory for frames of `width` × `height`, worked on by at most `threads` threads.
    pub(crate) fn new(plans: &[&Plan], width: usize, height: usize, threads: usize) -> Result<Self> {
        let m = plans.iter().map(|p| p.multiple).fold(1, lcm);
        if width == 0 || height == 0 || !width.is_multiple_of(m) || !height.is_multiple_of(m) {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("the model takes frames with sides that are multiples of {m}, not {width}x{height}: pad them"),
            ));
        }
        let shapes = shapes(plans, width, height);
        let (places, len) = place(plans, &shapes);
        // The kernels read up to 16 pixels beyond the last one that they need.
        let arena = Floats::try_zeroed(len.saturating_add(m * 16 * 16 * 16))?;
        let threads = threads.max(1);
        let parts = plans
            .iter()
            .zip(&places)
            .map(|(plan, places)| NetworkPart::new(plan, places, &shapes, width, height, threads));
        let parts = parts.collect::<Result<_>>()?;
        let needs = plans.iter().flat_map(|p| &p.steps).map(scratch_len);
        // Threads share no cache lines, and their memory does not fall on the same sets of a cache.
        let scratch_len = needs.max().unwrap_or(0).next_multiple_of(16) + 16 * 17;
        Ok(Self {
            width,
            height,
            arena,
            scratch: Floats::try_zeroed(scratch_len * threads)?,
            scratch_len,
            threads,
            parts,
        })
    }
}

impl Workspace {
    /// Bytes of activations and scratch memory.
    pub fn bytes(&self) -> usize {
        4 * (self.arena.len() + self.scratch.len())
    }
}

impl NetworkPart {
    fn new(
        plan: &Plan,
        places: &[usize],
        shapes: &HashMap<Class, Shape>,
        width: usize,
        height: usize,
        threads: usize,
    ) -> Result<Self> {
        let (mut steps, mut sums) = (vec![], 0);
        for step in &plan.steps {
            let mut units = vec![];
            for (unit, step) in stepped_units(step) {
                let at = match unit {
                    Unit::Slot { slot, dy, dx } => {
                        let shape = &shapes[&plan.slots[slot]];
                        UnitAddress {
                            source: Source::Arena(
                                places[slot] + (shape.front + dy) * shape.row + (shape.front + dx) * shape.pixel,
                            ),
                            strides: Strides {
                                x: step * shape.pixel,
                                y: step * shape.row,
                            },
                        }
                    }
                    Unit::Input { port, channel } => UnitAddress {
                        source: Source::Input {
                            port,
                            offset: channel * width * height,
                        },
                        strides: Strides { x: 1, y: width },
                    },
                    Unit::Output { port, channel } => UnitAddress {
                        source: Source::Output {
                            port,
                            offset: channel * width * height,
                        },
                        strides: Strides { x: 1, y: width },
                    },
                };
                units.push(at);
            }
            if let Step::Mean { input, .. } = step {
                sums = sums.max(input.units.len() * 16 * (height / input.down));
            }
            steps.push(units);
        }
        let extents = plan.steps.iter().map(|s| extent(s, width, height));
        let (groups, longest) = groups(&plan.steps);
        Ok(Self {
            pooled: plan.pooled.clone(),
            scaled: Floats::try_zeroed(plan.scaled)?,
            sums: try_filled(0.0, sums)?,
            pointers: steps
                .iter()
                .map(|s| Pointers(vec![std::ptr::null_mut(); s.len()]))
                .collect(),
            extents: extents.map(|e| e.unwrap_or(Extent::NONE)).collect(),
            groups,
            schedule: GroupSchedule::new(longest, threads),
            steps,
        })
    }

    /// Sets the pointers of every step for a frame. Lengths of inputs and outputs have been checked.
    pub(crate) fn locate(&mut self, arena: *mut f32, inputs: &[&[f32]], outputs: &mut [&mut [f32]]) {
        let mut ports = [std::ptr::null_mut(); crate::network::MAX_PORTS];
        for (port, output) in ports.iter_mut().zip(outputs) {
            *port = output.as_mut_ptr();
        }
        for (units, pointers) in self.steps.iter().zip(&mut self.pointers) {
            for (unit, pointer) in units.iter().zip(&mut pointers.0) {
                // SAFETY: addresses lie inside the arena by the workspace's layout, and inside the caller's planes by
                // their checked lengths.
                *pointer = unsafe {
                    match unit.source {
                        Source::Arena(at) => arena.add(at),
                        Source::Input { port, offset } => inputs[port].as_ptr().add(offset).cast_mut(),
                        Source::Output { port, offset } => ports[port].add(offset),
                    }
                };
            }
        }
    }
}

/// The groups of steps that run together, and the length of the longest.
fn groups(steps: &[Step]) -> (Vec<(usize, usize)>, usize) {
    let mut groups: Vec<(usize, usize)> = vec![];
    for (i, step) in steps.iter().enumerate() {
        let alone = |s: &Step| matches!(s, Step::Pooled(_));
        match groups.last_mut() {
            Some((_, end)) if !alone(step) && !alone(&steps[i - 1]) && !matches!(steps[i - 1], Step::Mean { .. }) => {
                *end = i + 1;
            }
            _ => groups.push((i, i + 1)),
        }
    }
    let longest = groups.iter().map(|(first, end)| end - first).max();
    (groups, longest.unwrap_or(0))
}

/// All units of a step, each with the step of its image.
fn stepped_units(step: &Step) -> Vec<(Unit, usize)> {
    let image = |i: &Image| i.units.iter().map(|&u| (u, i.step)).collect::<Vec<_>>();
    match step {
        Step::Conv(c) => {
            let mut all = image(&c.input);
            all.extend(image(&c.output));
            all.extend(c.rounded.iter().flat_map(image));
            all.extend(c.residual.iter().flat_map(image));
            all.extend(c.gated.iter().flat_map(|g| image(&g.image)));
            all
        }
        Step::Program(p) => {
            let shuffled = p.shuffled.iter().map(|s| s.1);
            let planes = p.planes.iter().copied().chain(shuffled);
            p.units.iter().copied().chain(planes.map(|u| (u, 1))).collect()
        }
        Step::Shuffle { plane, block, .. } => vec![(*plane, 1), *block],
        Step::Move { channels, .. } => channels
            .iter()
            .flat_map(|(a, b)| [(a.unit, a.unit_step), (b.unit, b.unit_step)])
            .collect(),
        Step::Round { input, output, .. } => [image(input), image(output)].concat(),
        Step::Mean { input, .. } => image(input),
        Step::Pooled(_) => vec![],
    }
}

/// The layout of each class's slots, with room for what convolutions read around the frame.
fn shapes(plans: &[&Plan], width: usize, height: usize) -> HashMap<Class, Shape> {
    let slots = plans.iter().flat_map(|p| &p.slots);
    let mut margins: HashMap<Class, (usize, usize)> = slots.map(|&c| (c, (0, 0))).collect();
    for step in plans.iter().flat_map(|p| &p.steps) {
        let Step::Conv(conv) = step else { continue };
        let class = Class {
            kind: conv.input.kind.memory(),
            down: conv.input.down / conv.input.step,
        };
        let half = conv.side / 2;
        let tiles = if conv.kernel.is_tiled() { TILE - 1 } else { 0 };
        let margin = margins.entry(class).or_default();
        margin.0 = margin.0.max(half * conv.input.step);
        margin.1 = margin.1.max((half + tiles) * conv.input.step);
    }
    let mut shapes = HashMap::new();
    for (class, (front, back)) in margins {
        let pixel = class.kind.lanes();
        let mut row = ((front + width / class.down + back) * pixel).next_multiple_of(16);
        // Rows that are a multiple of a page apart would fall on the same few sets of the first-level cache.
        if row.is_multiple_of(1024) {
            row += 128;
        }
        let rows = front + height / class.down + back;
        // A length that overflows saturates, and the allocation fails.
        let len = row.saturating_mul(rows);
        shapes.insert(class, Shape { front, pixel, row, len });
    }
    shapes
}

/// The address of each plan's slots, and the length of all. Slots that are never in use together share memory.
fn place(plans: &[&Plan], shapes: &HashMap<Class, Shape>) -> (Vec<Vec<usize>>, usize) {
    // Of each class, the addresses of the memory that is allocated so far.
    let mut starts: HashMap<Class, Vec<usize>> = HashMap::new();
    let mut len = 0;
    let mut all = vec![];
    for plan in plans {
        let mut life = vec![(usize::MAX, 0); plan.slots.len()];
        for (i, step) in plan.steps.iter().enumerate() {
            for unit in step.units() {
                if let Unit::Slot { slot, .. } = unit {
                    life[slot].0 = life[slot].0.min(i);
                    life[slot].1 = life[slot].1.max(i);
                }
            }
        }
        let mut order: Vec<usize> = (0..plan.slots.len()).filter(|&s| life[s].0 != usize::MAX).collect();
        order.sort_by_key(|&s| life[s]);
        let mut places = vec![0; plan.slots.len()];
        // For each of these, the last step of this plan that needs it.
        let mut in_use: HashMap<Class, Vec<usize>> = HashMap::new();
        for slot in order {
            let class = plan.slots[slot];
            let (in_use, starts) = (in_use.entry(class).or_default(), starts.entry(class).or_default());
            let (first, last) = life[slot];
            let free = in_use.iter().position(|&until| until < first).unwrap_or_else(|| {
                in_use.push(0);
                in_use.len() - 1
            });
            in_use[free] = last;
            if free == starts.len() {
                starts.push(len);
                // An odd number of lines between slots, so that they do not all begin on the same set of a cache.
                let slot = shapes[&class].len.saturating_add(15) / 16 * 16;
                len = slot.saturating_add(16 * 17).saturating_add(len);
            }
            places[slot] = starts[free];
        }
        all.push(places);
    }
    (all, len)
}
