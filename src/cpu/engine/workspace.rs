//! The memory of one stream at one size: every unit of its networks' plans gets an address.
//!
//! Slots of one class are all alike, so whoever is done with one leaves it to the next, and the networks of a stream,
//! which run one after the other, share all of them. The zeros around the pixels are written once, when the memory is
//! taken: no one writes there.

#![allow(unsafe_code)]

use std::collections::HashMap;

use super::lower::lcm;
use super::memory::Floats;
use super::plan::*;
use super::points::TILE;
use super::product::Strides;
use super::schedule::{Extent, Front};
use super::step::{extent, scratch_len};
use crate::error::{Error, ErrorKind, Result};

/// Where a unit's pixel (0, 0) is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Source {
    /// Floats from the beginning of the arena.
    Arena(usize),
    /// Floats from the beginning of what the caller gives.
    Input { port: usize, offset: usize },
    /// Floats from the beginning of what the caller takes.
    Output { port: usize, offset: usize },
}

/// A unit with an address.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Located {
    /// Where it begins.
    pub source: Source,
    /// From pixel to pixel and row to row.
    pub strides: Strides,
}

impl PartialEq for Strides {
    fn eq(&self, other: &Self) -> bool {
        (self.x, self.y) == (other.x, other.y)
    }
}

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
    pub(super) width: usize,
    /// Height of the frame.
    pub(super) height: usize,
    pub(super) arena: Floats,
    /// Scratch memory, `scratch_len` floats for each thread.
    pub(super) scratch: Floats,
    pub(super) scratch_len: usize,
    pub(super) threads: usize,
    /// What each network has for itself.
    pub(super) parts: Vec<Part>,
}

/// What one network has for itself.
pub struct Part {
    pub(super) pooled: Vec<f32>,
    pub(super) scaled: Floats,
    /// Sums of rows, for means.
    pub(super) sums: Vec<f64>,
    /// Units of every step in the order of [`Step::units`], with addresses.
    pub(super) steps: Vec<Vec<Located>>,
    /// Where they are in this frame.
    pub(super) pointers: Vec<Pointers>,
    /// How every step is cut into tasks.
    pub(super) extents: Vec<Extent>,
    /// Steps that run together, from one up to another: a single one on pooled values, or several on the frame of
    /// which only the last may be a mean.
    pub(super) groups: Vec<(usize, usize)>,
    pub(super) front: Front,
}

/// Where the units of a step are, for the time of a frame.
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
    pub(super) fn new(plans: &[&Plan], width: usize, height: usize, threads: usize) -> Result<Self> {
        let m = plans.iter().map(|p| p.multiple).fold(1, lcm);
        if width == 0 || height == 0 || !width.is_multiple_of(m) || !height.is_multiple_of(m) {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("the model takes frames with sides that are multiples of {m}, not {width}x{height}: pad them"),
            ));
        }
        let shapes = shapes(plans, width, height)?;
        let (places, len) = place(plans, &shapes);
        // The kernels read up to 16 pixels beyond the last one that they need.
        let arena = Floats::try_zeroed(len + m * 16 * 16 * 16)?;
        let threads = threads.max(1);
        let parts = plans
            .iter()
            .zip(&places)
            .map(|(plan, places)| Part::new(plan, places, &shapes, width, height, threads));
        let parts = parts.collect::<Result<_>>()?;
        let needs = plans.iter().flat_map(|p| &p.steps).map(scratch_len);
        // Threads do not share lines, nor the same places of a cache.
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

impl Part {
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
                        Located {
                            source: Source::Arena(
                                places[slot] + (shape.front + dy) * shape.row + (shape.front + dx) * shape.pixel,
                            ),
                            strides: Strides {
                                x: step * shape.pixel,
                                y: step * shape.row,
                            },
                        }
                    }
                    Unit::Input { port, channel } => Located {
                        source: Source::Input {
                            port,
                            offset: channel * width * height,
                        },
                        strides: Strides { x: 1, y: width },
                    },
                    Unit::Output { port, channel } => Located {
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
            sums: vec![0.0; sums],
            pointers: steps
                .iter()
                .map(|s| Pointers(vec![std::ptr::null_mut(); s.len()]))
                .collect(),
            extents: extents.map(|e| e.unwrap_or(Extent::NONE)).collect(),
            groups,
            front: Front::new(longest, threads),
            steps,
        })
    }

    /// Sets the pointers of every step for a frame. Lengths of inputs and outputs have been checked.
    pub(super) fn locate(&mut self, arena: *mut f32, inputs: &[&[f32]], outputs: &mut [&mut [f32]]) {
        let mut ports = [std::ptr::null_mut(); super::MAX_PORTS];
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

/// Which steps run together, and how many at most.
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

/// All units of a step with the pixels from one of the image's to the next.
fn stepped_units(step: &Step) -> Vec<(Unit, usize)> {
    let image = |i: &Image| i.units.iter().map(|&u| (u, i.step)).collect::<Vec<_>>();
    match step {
        Step::Conv(c) => {
            let mut all = image(&c.input);
            all.extend(image(&c.output));
            all.extend(c.residual.iter().flat_map(image));
            all.extend(c.gated.iter().flat_map(|g| image(&g.image)));
            all
        }
        Step::Program(p) => p.units.clone(),
        Step::Shuffle { plane, block, .. } => vec![(*plane, 1), *block],
        Step::Move { channels, .. } => channels
            .iter()
            .flat_map(|(a, b)| [(a.unit, a.unit_step), (b.unit, b.unit_step)])
            .collect(),
        Step::Mean { input, .. } => image(input),
        Step::Pooled(_) => vec![],
    }
}

/// How slots of each class lie in memory, with room for what convolutions read around the frame.
fn shapes(plans: &[&Plan], width: usize, height: usize) -> Result<HashMap<Class, Shape>> {
    let slots = plans.iter().flat_map(|p| &p.slots);
    let mut margins: HashMap<Class, (usize, usize)> = slots.map(|&c| (c, (0, 0))).collect();
    for step in plans.iter().flat_map(|p| &p.steps) {
        let Step::Conv(conv) = step else { continue };
        let class = Class {
            kind: conv.input.kind,
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
        // Rows a multiple of a page apart would fall on the same few places of the first cache.
        if row.is_multiple_of(1024) {
            row += 128;
        }
        let rows = front + height / class.down + back;
        let len = row
            .checked_mul(rows)
            .ok_or_else(|| Error::new(ErrorKind::Unsupported, "the frame is too large"))?;
        shapes.insert(class, Shape { front, pixel, row, len });
    }
    Ok(shapes)
}

/// Where each plan's slots begin, and the length of all: slots that are never in use together share memory.
fn place(plans: &[&Plan], shapes: &HashMap<Class, Shape>) -> (Vec<Vec<usize>>, usize) {
    // Where the memory of each class begins that has been handed out to some plan.
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
        // Of each class, the last step of this plan that needs the memory.
        let mut held: HashMap<Class, Vec<usize>> = HashMap::new();
        for slot in order {
            let class = plan.slots[slot];
            let (held, starts) = (held.entry(class).or_default(), starts.entry(class).or_default());
            let (first, last) = life[slot];
            let free = held.iter().position(|&until| until < first).unwrap_or_else(|| {
                held.push(0);
                held.len() - 1
            });
            held[free] = last;
            if free == starts.len() {
                starts.push(len);
                // An odd number of lines between slots, so that they do not all begin on the same place of a cache.
                len += shapes[&class].len.next_multiple_of(16) + 16 * 17;
            }
            places[slot] = starts[free];
        }
        all.push(places);
    }
    (all, len)
}
