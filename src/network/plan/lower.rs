//! Turns a graph into a plan: decides which operations become one step, and where each value lies.
//!
//! - The pixel shuffle, addition and activation that follow a convolution become part of its step.
//! - A multiplication by pooled values that precedes a convolution is applied to its weights.
//! - Element-wise operations are collected in one program until another operation needs one of their results.
//! - Pixel shuffles between planes and blocks of 4×4 pixels are part of the element-wise operations beside them.
//! - Slices, concatenations and pixel shuffles of whole blocks copy nothing: they are views of the same memory.

use std::collections::HashMap;

use super::program::{Operand, ProgramBuilder};
use super::structure::*;
use crate::error::Result;
use crate::network::graph::{Binary, Filter, Graph, Node, Op, Space, ValueId};
use crate::network::limits::invalid;

/// Where a value lies.
#[derive(Clone)]
pub enum Place {
    /// In planes or blocks over the frame.
    Image(Image),
    /// Among the pooled values, from here on.
    Pooled(usize),
    /// An image whose channels are still to be multiplied by pooled values.
    Scaled(Image, usize),
    /// 4×4 pixels of a plane are the channels of a block; only element-wise operations read it.
    Shuffled(Unit),
}

/// Where a result of a program goes as a plane.
struct ShuffledTo {
    /// The value, and which of its channels.
    output: ValueId,
    channel: usize,
    /// The nodes that this takes the place of.
    nodes: Vec<usize>,
}

/// What a plan is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Convolutions read beyond the sides of their input, so there is memory with zeros around it: not in the caller's
    /// planes.
    Margins,
    /// As [`Margins`](Target::Margins); and convolutions of blocks read units of 32 channels in 16-bit floating point.
    Paired,
    /// Convolutions read zeros beyond the sides, whatever is there.
    Any,
}

/// A plan that steps are still added to.
pub struct Lowering<'a> {
    pub(crate) graph: &'a Graph,
    pub(crate) target: Target,
    pub(crate) plan: Plan<Filter>,
    pub(crate) places: HashMap<ValueId, Place>,
    /// Where values lie in 16-bit floating point, besides or instead of their place.
    pub(crate) rounded: HashMap<ValueId, Image>,
    /// Channels that are written to the caller's planes by the step that computes them.
    bound: HashMap<(ValueId, usize), Unit>,
    pub(crate) users: Vec<Vec<usize>>,
    /// Nodes that are part of an earlier node's step.
    pub(crate) taken: Vec<bool>,
    /// Copies of the caller's planes with zeros around them.
    pub(crate) imported: HashMap<Unit, Unit>,
    /// The program that element-wise operations are added to.
    pub(crate) program: Option<ProgramBuilder>,
}

/// Makes a plan for `target`.
///
/// # Errors
/// [`ErrorKind::ModelInvalid`](crate::error::ErrorKind::ModelInvalid) for a combination of operators that no plan has.
pub fn lower(graph: &Graph, target: Target) -> Result<Plan<Filter>> {
    let mut users = vec![vec![]; graph.values.len()];
    for (n, node) in graph.nodes.iter().enumerate() {
        for &i in &node.inputs {
            users[i].push(n);
        }
    }
    let mut l = Lowering {
        graph,
        target,
        plan: Plan {
            steps: vec![],
            slots: vec![],
            pooled: vec![],
            pooled_inputs: vec![],
            scaled: 0,
            multiple: 1,
        },
        places: HashMap::new(),
        rounded: HashMap::new(),
        bound: HashMap::new(),
        users,
        taken: vec![false; graph.nodes.len()],
        imported: HashMap::new(),
        program: None,
    };
    l.ports();
    for n in 0..graph.nodes.len() {
        if !l.taken[n] {
            l.node(n)?;
        }
    }
    l.finish()?;
    Ok(l.plan)
}

impl Lowering<'_> {
    fn ports(&mut self) {
        for value in &self.graph.values {
            if let Space::Frame { down } = value.space {
                // All sizes divide one another's multiple: shuffles only multiply and divide them.
                self.plan.multiple = lcm(self.plan.multiple, down);
            }
        }
        for (port, &id) in self.graph.inputs.iter().enumerate() {
            let value = &self.graph.values[id];
            let place = match value.space {
                Space::Pooled => {
                    let at = self.pooled(value.channels);
                    self.plan.pooled_inputs.push((port, at, value.channels));
                    Place::Pooled(at)
                }
                Space::Frame { down } => Place::Image(Image {
                    kind: Kind::Plane,
                    down,
                    step: 1,
                    channels: value.channels,
                    units: (0..value.channels)
                        .map(|channel| Unit::Input { port, channel })
                        .collect(),
                }),
            };
            self.places.insert(id, place);
        }
        for (id, value) in self.graph.values.iter().enumerate() {
            if let Some(numbers) = &value.constant {
                let at = self.pooled(numbers.len());
                self.plan.pooled[at..at + numbers.len()].copy_from_slice(numbers);
                self.places.insert(id, Place::Pooled(at));
            }
        }
        for (port, &id) in self.graph.outputs.iter().enumerate() {
            for channel in 0..self.graph.values[id].channels {
                let origin = self.origin(id, channel);
                self.bound.entry(origin).or_insert(Unit::Output { port, channel });
            }
        }
    }

    /// Follows slices and concatenations from channel `c` of a value back to the value and channel that it is a copy
    /// of.
    fn origin(&self, mut id: ValueId, mut c: usize) -> (ValueId, usize) {
        'up: loop {
            let Some(node) = self.graph.nodes.iter().find(|n| n.output == id) else {
                return (id, c);
            };
            if Kind::of(self.graph.values[node.inputs[0]].channels) != Kind::Plane {
                return (id, c);
            }
            match node.op {
                Op::Slice { start } => (id, c) = (node.inputs[0], c + start),
                Op::Concat => {
                    for &part in &node.inputs {
                        let channels = self.graph.values[part].channels;
                        if c < channels {
                            id = part;
                            continue 'up;
                        }
                        c -= channels;
                    }
                    return (id, c);
                }
                _ => return (id, c),
            }
        }
    }

    pub(crate) fn pooled(&mut self, count: usize) -> usize {
        let at = self.plan.pooled.len();
        // Whole groups of 16, as blocks read them.
        self.plan.pooled.resize(at + count.next_multiple_of(16), 0.0);
        at
    }

    /// Allocates an image for a value.
    pub fn allocate(&mut self, id: ValueId) -> Image {
        let value = &self.graph.values[id];
        let Space::Frame { down } = value.space else {
            unreachable!("only values over the frame have images");
        };
        let kind = Kind::of(value.channels);
        // Either all planes are the caller's or none is, so that all have the same strides.
        let direct = kind == Kind::Plane && (0..value.channels).all(|c| self.bound.contains_key(&(id, c)));
        let units = (0..value.channels.div_ceil(kind.lanes())).map(|u| {
            let bound = self.bound.get(&(id, u)).filter(|_| direct);
            bound.copied().unwrap_or_else(|| {
                self.plan.slots.push(Class { kind, down });
                Unit::Slot {
                    slot: self.plan.slots.len() - 1,
                    dy: 0,
                    dx: 0,
                }
            })
        });
        Image {
            kind,
            down,
            step: 1,
            channels: value.channels,
            units: units.collect(),
        }
    }

    /// Where a value lies. Closes the program first if it is what computes the value.
    pub(crate) fn place(&mut self, id: ValueId) -> Place {
        if self.program.as_ref().is_some_and(|p| p.computes(id)) {
            self.close();
        }
        self.places[&id].clone()
    }

    pub(crate) fn image(&mut self, id: ValueId) -> Image {
        match self.place(id) {
            Place::Image(image) => image,
            Place::Scaled(image, _) => image,
            Place::Shuffled(plane) => self.shuffle(id, plane),
            Place::Pooled(_) => unreachable!("shapes are checked when the graph is read"),
        }
    }

    pub(crate) fn offset(&mut self, id: ValueId) -> usize {
        match self.place(id) {
            Place::Pooled(at) => at,
            _ => unreachable!("shapes are checked when the graph is read"),
        }
    }

    /// Closes the program. Results that other steps read get memory.
    fn close(&mut self) {
        let Some(program) = self.program.take() else { return };
        let (mut images, mut planes) = (HashMap::new(), vec![]);
        let mut shuffles: HashMap<ValueId, Image> = HashMap::new();
        for (id, used) in program.results() {
            if used < self.users[id].len() || self.graph.outputs.contains(&id) || self.is_bound(id) {
                if let Some(to) = self.shuffled_to(&program, id) {
                    let image = match shuffles.get(&to.output) {
                        Some(image) => image.clone(),
                        None => self.allocate(to.output),
                    };
                    shuffles.insert(to.output, image.clone());
                    planes.push((id, image.units[to.channel]));
                    for node in to.nodes {
                        self.taken[node] = true;
                    }
                    self.places.insert(to.output, Place::Image(image));
                    continue;
                }
                let image = self.allocate(id);
                images.insert(id, image.clone());
                self.places.insert(id, Place::Image(image));
            }
        }
        self.plan.steps.push(Step::Program(program.finish(&images, &planes)));
    }

    /// If a result of the program is read outside it only by a pixel shuffle into planes, alone or side by side with other
    /// such results: where it goes.
    fn shuffled_to(&self, program: &ProgramBuilder, id: ValueId) -> Option<ShuffledTo> {
        let (block, user) = (self.graph.values[id].channels == 16, self.outer_user(program, id)?);
        let node = &self.graph.nodes[user];
        let (parts, nodes) = match node.op {
            Op::Concat => (&node.inputs[..], vec![user, self.sole_user(node.output)?]),
            _ => (&node.inputs[..1], vec![user]),
        };
        let last = &self.graph.nodes[nodes[nodes.len() - 1]];
        let Op::DepthToSpace { block: 4, crd } = last.op else {
            return None;
        };
        let channels = self.graph.values[last.output].channels;
        let fits = |&part: &ValueId| {
            self.graph.values[part].channels == 16
                && program.computes(part)
                && self.outer_user(program, part) == Some(user)
                && parts.iter().filter(|&&p| p == part).count() == 1
        };
        let planes = channels == parts.len() && Kind::of(channels) == Kind::Plane && (crd || channels == 1);
        (block && planes && program.class().kind == Kind::Block && parts.iter().all(fits)).then(|| ShuffledTo {
            output: last.output,
            channel: parts.iter().position(|&p| p == id).unwrap_or(0),
            nodes,
        })
    }

    /// The only node outside the program that reads a result of it.
    fn outer_user(&self, program: &ProgramBuilder, id: ValueId) -> Option<usize> {
        let mut outside = (self.users[id].iter().copied()).filter(|&n| !program.computes(self.graph.nodes[n].output));
        let found = outside.next()?;
        (outside.next().is_none() && !self.graph.outputs.contains(&id)).then_some(found)
    }

    fn is_bound(&self, id: ValueId) -> bool {
        (0..self.graph.values[id].channels).any(|c| self.bound.contains_key(&(id, c)))
    }

    /// The node that uses a value, if there is exactly one.
    pub(crate) fn sole_user(&self, id: ValueId) -> Option<usize> {
        match self.users[id][..] {
            [n] if !self.graph.outputs.contains(&id) => Some(n),
            _ => None,
        }
    }

    fn node(&mut self, n: usize) -> Result<()> {
        let graph = self.graph;
        let node = &graph.nodes[n];
        let output = node.output;
        let frame = matches!(graph.values[output].space, Space::Frame { .. });
        match &node.op {
            Op::Conv(filter) if frame => self.conv(node, filter),
            Op::Conv(filter) => {
                let from = self.offset(node.inputs[0]);
                let to = self.pooled(filter.outputs);
                self.places.insert(output, Place::Pooled(to));
                self.plan.steps.push(Step::Pooled(Pooled::Dense {
                    filter: filter.clone(),
                    from,
                    to,
                }));
            }
            Op::Unary(op) => self.each(node, Code::Unary(*op), frame)?,
            Op::Binary(op) => {
                if frame && *op == Binary::Mul && self.scale(node) {
                    return Ok(());
                }
                self.each(node, Code::Binary(*op), frame)?;
            }
            Op::Concat if frame => {
                self.settle(node);
                if !self.taken[n] {
                    self.concat(node)?;
                }
            }
            Op::Concat => {
                let to = self.pooled(graph.values[output].channels);
                let mut at = to;
                for &i in &node.inputs {
                    let (from, count) = (self.offset(i), graph.values[i].channels);
                    self.plan.steps.push(Step::Pooled(Pooled::Move { from, to: at, count }));
                    at += count;
                }
                self.places.insert(output, Place::Pooled(to));
            }
            Op::Slice { start } if frame => self.slice(node, *start),
            Op::Slice { start } => {
                let (from, count) = (self.offset(node.inputs[0]) + start, graph.values[output].channels);
                let to = self.pooled(count);
                self.plan.steps.push(Step::Pooled(Pooled::Move { from, to, count }));
                self.places.insert(output, Place::Pooled(to));
            }
            Op::Mean => {
                let input = self.image(node.inputs[0]);
                let to = self.pooled(input.channels);
                self.places.insert(output, Place::Pooled(to));
                self.plan.steps.push(Step::Mean { input, to });
            }
            Op::SpaceToDepth { block } => self.space_to_depth(node, *block),
            Op::DepthToSpace { block, crd } => {
                self.settle(node);
                if !self.taken[n] {
                    self.depth_to_space(node, *block, *crd);
                }
            }
        }
        Ok(())
    }

    /// Closes the program if it computes what the node reads; the node may be part of it then.
    fn settle(&mut self, node: &Node) {
        if (self.program.as_ref()).is_some_and(|p| node.inputs.iter().any(|&i| p.computes(i))) {
            self.close();
        }
    }

    fn each(&mut self, node: &Node, code: Code, frame: bool) -> Result<()> {
        let graph = self.graph;
        let output = node.output;
        let channels = graph.values[output].channels;
        if !frame {
            let mut operand = |i: usize| {
                let id = node.inputs[i.min(node.inputs.len() - 1)];
                (self.offset(id), usize::from(graph.values[id].channels > 1))
            };
            let (a, b) = (operand(0), operand(1));
            let to = self.pooled(channels);
            self.places.insert(output, Place::Pooled(to));
            self.plan.steps.push(Step::Pooled(Pooled::Each {
                code,
                a,
                b,
                to,
                count: channels,
            }));
            return Ok(());
        }
        let Space::Frame { down } = graph.values[output].space else {
            return Ok(());
        };
        let class = Class {
            kind: Kind::of(channels),
            down,
        };
        if self.program.as_ref().is_some_and(|p| p.class() != class) {
            self.close();
        }
        let mut operands = vec![];
        for &id in &node.inputs {
            let value = &graph.values[id];
            if self.program.as_ref().is_some_and(|p| p.computes(id)) && Kind::of(value.channels) == class.kind {
                operands.push(Operand::Result(id));
                continue;
            }
            operands.push(match self.place(id) {
                Place::Pooled(at) => Operand::Pooled {
                    at,
                    channels: value.channels,
                },
                Place::Image(image) if image.kind == class.kind => Operand::Image(image),
                // A plane beside blocks: its one channel applies to all of theirs.
                Place::Image(image) => Operand::Image(self.spread(&image)),
                Place::Shuffled(plane) => Operand::Plane(plane),
                Place::Scaled(..) => return Err(invalid("a product is used in two ways".into())),
            });
        }
        let program = self.program.get_or_insert_with(|| ProgramBuilder::new(class));
        // Spreading a plane may have closed the program that computes the other operand.
        for operand in &mut operands {
            if let Operand::Result(id) = *operand
                && !program.computes(id)
                && let Some(Place::Image(image)) = self.places.get(&id)
            {
                *operand = Operand::Image(image.clone());
            }
        }
        program.add(output, channels, code, &operands);
        Ok(())
    }

    /// Closes the program, and copies those outputs that no step writes to the caller's planes directly.
    fn finish(&mut self) -> Result<()> {
        self.close();
        for (port, &id) in self.graph.outputs.iter().enumerate() {
            let image = self.image(id);
            if image.kind != Kind::Plane {
                return Err(invalid(format!(
                    "output {port}: expected fewer than {BLOCK_FROM} channels, found {}",
                    image.channels
                )));
            }
            let pairs = image
                .units
                .iter()
                .enumerate()
                .map(|(channel, &unit)| (unit, Unit::Output { port, channel }));
            let pairs: Vec<_> = pairs.filter(|(a, b)| a != b).collect();
            let class = Class {
                kind: Kind::Plane,
                down: 1,
            };
            self.copy(class, &pairs);
        }
        Ok(())
    }
}

/// The least common multiple.
pub fn lcm(a: usize, b: usize) -> usize {
    let (mut x, mut y) = (a, b);
    while y != 0 {
        (x, y) = (y, x % y);
    }
    a / x * b
}
