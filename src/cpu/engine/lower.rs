//! From a graph to a plan: which operations become one step, and where every value lies.
//!
//! - A convolution takes the pixel shuffle, addition and activation behind it along.
//! - A product with pooled values before a convolution is multiplied into its weights.
//! - Number-by-number operations gather in one open program until something else needs a result of theirs.
//! - Slices, concatenations and pixel shuffles of whole blocks move nothing: they are other views of the same memory.

use std::collections::HashMap;

use super::filter::Packed;
use super::graph::{Filter, Graph, Node, Op, Space, Unary, ValueId};
use super::invalid;
use super::plan::*;
use super::points::{Five, Three, transform_filter};
use super::pointwise::Code;
use super::program::Open;
use crate::error::Result;
use crate::simd::Level;

/// Where a value lies.
#[derive(Clone)]
pub enum Place {
    /// Over the frame.
    Image(Image),
    /// Among the pooled values, from here on.
    Pooled(usize),
    /// An image whose channels are still to be multiplied by pooled values.
    Scaled(Image, usize),
}

pub struct Lowering<'a> {
    graph: &'a Graph,
    level: Level,
    pub plan: Plan,
    places: HashMap<ValueId, Place>,
    /// Channels that are written to the caller's planes by whoever makes them.
    bound: HashMap<(ValueId, usize), Unit>,
    users: Vec<Vec<usize>>,
    /// Nodes that an earlier step has taken along.
    taken: Vec<bool>,
    /// The caller's planes that have been copied to where zeros are around them.
    imported: HashMap<Unit, Unit>,
    open: Option<Open>,
}

/// Makes a plan.
pub fn lower(graph: &Graph, level: Level) -> Result<Plan> {
    let mut users = vec![vec![]; graph.values.len()];
    for (n, node) in graph.nodes.iter().enumerate() {
        for &i in &node.inputs {
            users[i].push(n);
        }
    }
    let mut l = Lowering {
        graph,
        level,
        plan: Plan {
            multiple: 1,
            ..Plan::default()
        },
        places: HashMap::new(),
        bound: HashMap::new(),
        users,
        taken: vec![false; graph.nodes.len()],
        imported: HashMap::new(),
        open: None,
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

    /// The value and channel that channel `c` of a value is the same as.
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

    fn pooled(&mut self, count: usize) -> usize {
        let at = self.plan.pooled.len();
        // Whole groups of 16, as blocks read them.
        self.plan.pooled.resize(at + count.next_multiple_of(16), 0.0);
        at
    }

    /// A new image for a value.
    pub fn allocate(&mut self, id: ValueId) -> Image {
        let value = &self.graph.values[id];
        let Space::Frame { down } = value.space else {
            unreachable!("only values over the frame have images");
        };
        let kind = Kind::of(value.channels);
        // All planes are the caller's or none is, so that they have the same strides.
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

    /// Where a value lies, which is computed by now: the open program ends if it is the one that computes it.
    fn place(&mut self, id: ValueId) -> Place {
        if self.open.as_ref().is_some_and(|o| o.makes(id)) {
            self.close();
        }
        self.places[&id].clone()
    }

    fn image(&mut self, id: ValueId) -> Image {
        match self.place(id) {
            Place::Image(image) => image,
            Place::Scaled(image, _) => image,
            Place::Pooled(_) => unreachable!("shapes are checked when the graph is read"),
        }
    }

    fn offset(&mut self, id: ValueId) -> usize {
        match self.place(id) {
            Place::Pooled(at) => at,
            _ => unreachable!("shapes are checked when the graph is read"),
        }
    }

    /// Ends the open program: results that others read get memory.
    fn close(&mut self) {
        let Some(open) = self.open.take() else { return };
        let mut images = HashMap::new();
        for (id, used) in open.results() {
            if used < self.users[id].len() || self.graph.outputs.contains(&id) || self.is_bound(id) {
                let image = self.allocate(id);
                images.insert(id, image.clone());
                self.places.insert(id, Place::Image(image));
            }
        }
        self.plan.steps.push(Step::Program(open.finish(&images)));
    }

    fn is_bound(&self, id: ValueId) -> bool {
        (0..self.graph.values[id].channels).any(|c| self.bound.contains_key(&(id, c)))
    }

    /// The one node that uses a value, if no one else does.
    fn sole_user(&self, id: ValueId) -> Option<usize> {
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
            Op::Conv(filter) if frame => self.conv(node, filter)?,
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
                if frame && *op == super::graph::Binary::Mul && self.scale(node) {
                    return Ok(());
                }
                self.each(node, Code::Binary(*op), frame)?;
            }
            Op::Concat if frame => self.concat(node)?,
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
            Op::DepthToSpace { block, crd } => self.depth_to_space(node, *block, *crd),
        }
        Ok(())
    }

    /// Leaves a product with pooled values to the convolutions that read it, if none else does.
    fn scale(&mut self, node: &Node) -> bool {
        let graph = self.graph;
        let convs = |id: ValueId| {
            let users = &self.users[id];
            !users.is_empty() && users.iter().all(|&u| matches!(graph.nodes[u].op, Op::Conv(_)))
        };
        if !convs(node.output) || graph.outputs.contains(&node.output) {
            return false;
        }
        for (x, s) in [(0, 1), (1, 0)] {
            let (x, s) = (node.inputs[x], node.inputs[s]);
            let (a, b) = (&graph.values[x], &graph.values[s]);
            if a.space != Space::Pooled && b.space == Space::Pooled && a.channels == b.channels {
                let at = self.offset(s);
                let Place::Image(image) = self.place(x) else { continue };
                self.places.insert(node.output, Place::Scaled(image, at));
                return true;
            }
        }
        false
    }

    fn conv(&mut self, node: &Node, filter: &Filter) -> Result<()> {
        let graph = self.graph;
        let (input, scale) = match self.place(node.inputs[0]) {
            Place::Image(image) => (image, None),
            Place::Scaled(image, at) => (image, Some(at)),
            Place::Pooled(_) => unreachable!("shapes are checked when the graph is read"),
        };
        let input = self.bordered(input);
        let mut filter = filter.clone();
        let mut last = node.output;
        // A pixel shuffle into whole blocks is another view of where the results go.
        let mut shuffle = 1;
        if let Some(u) = self.sole_user(last)
            && let Op::DepthToSpace { block, crd } = graph.nodes[u].op
            && graph.values[graph.nodes[u].output].channels.is_multiple_of(16)
        {
            if crd {
                filter = to_dcr(&filter, block);
            }
            shuffle = block;
            last = graph.nodes[u].output;
            self.taken[u] = true;
        }
        let mut residual = None;
        if let Some(u) = self.sole_user(last)
            && let Op::Binary(super::graph::Binary::Add) = graph.nodes[u].op
        {
            let inputs = &graph.nodes[u].inputs;
            let other = if inputs[0] == last { inputs[1] } else { inputs[0] };
            let same = other != last
                && graph.values[other].channels == graph.values[last].channels
                && graph.values[other].space == graph.values[last].space;
            let there = self.places.contains_key(&other) || self.open.as_ref().is_some_and(|o| o.makes(other));
            if same && there && !matches!(self.place(other), Place::Scaled(..)) {
                let mut image = self.image(other);
                if image.units.iter().any(|u| matches!(u, Unit::Slot { .. })) {
                    image = self.bordered(image);
                }
                residual = Some(view(&image, shuffle));
                last = graph.nodes[u].output;
                self.taken[u] = true;
            }
        }
        let mut slope = 1.0;
        if let Some(u) = self.sole_user(last)
            && let Op::Unary(Unary::Leaky(s)) = graph.nodes[u].op
        {
            slope = s;
            last = graph.nodes[u].output;
            self.taken[u] = true;
        }
        let output = self.allocate(last);
        self.places.insert(last, Place::Image(output.clone()));
        let whole = input.kind == Kind::Block && filter.inputs.is_multiple_of(16);
        let kernel = match (output.kind, filter.kernel) {
            (Kind::Plane, _) if whole && scale.is_none() => Kernel::Tail(TailPart::pack(&filter)),
            (Kind::Plane, _) => Kernel::Planes(Packed::direct(self.level, &filter)),
            (Kind::Block, 3) if whole => Kernel::Winograd(winograd(self.level, &filter, 6, transform_filter::<Three>)),
            (Kind::Block, 5) if whole => Kernel::Winograd(winograd(self.level, &filter, 8, transform_filter::<Five>)),
            (Kind::Block, _) => Kernel::Direct(Packed::direct(self.level, &filter)),
        };
        let scale = scale.map(|from| {
            let at = self.plan.scaled;
            if let Kernel::Direct(p) | Kernel::Planes(p) | Kernel::Winograd(p) = &kernel {
                self.plan.scaled += p.weights.len().next_multiple_of(16);
            }
            (from, at)
        });
        self.plan.steps.push(Step::Conv(Box::new(Conv {
            kernel,
            side: filter.kernel,
            input,
            output: view(&output, shuffle),
            residual,
            slope,
            scale,
        })));
        Ok(())
    }

    /// The image with zeros around it: the caller's planes are copied.
    fn bordered(&mut self, image: Image) -> Image {
        let missing: Vec<Unit> = image
            .units
            .iter()
            .copied()
            .filter(|u| !matches!(u, Unit::Slot { .. }) && !self.imported.contains_key(u))
            .collect();
        let class = Class {
            kind: image.kind,
            down: image.down,
        };
        let copies: Vec<_> = missing
            .iter()
            .map(|&unit| {
                self.plan.slots.push(class);
                let slot = Unit::Slot {
                    slot: self.plan.slots.len() - 1,
                    dy: 0,
                    dx: 0,
                };
                self.imported.insert(unit, slot);
                (unit, slot)
            })
            .collect();
        self.copy(class, &copies);
        let units = image
            .units
            .iter()
            .map(|u| self.imported.get(u).copied().unwrap_or(*u))
            .collect();
        Image { units, ..image }
    }

    /// Copies units of one class.
    fn copy(&mut self, class: Class, pairs: &[(Unit, Unit)]) {
        if pairs.is_empty() {
            return;
        }
        let units = pairs.iter().flat_map(|&(a, b)| [(a, 1), (b, 1)]).collect();
        let instructions = (0..pairs.len()).map(|i| Instruction {
            code: Code::Unary(Unary::Copy),
            out: Ref::Unit(2 * i + 1),
            a: Ref::Unit(2 * i),
            b: Ref::Unit(2 * i),
        });
        self.plan.steps.push(Step::Program(Program {
            class,
            instructions: instructions.collect(),
            registers: 0,
            units,
            lanes: vec![],
        }));
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
        if self.open.as_ref().is_some_and(|o| o.class() != class) {
            self.close();
        }
        let mut operands = vec![];
        for &id in &node.inputs {
            let value = &graph.values[id];
            if self.open.as_ref().is_some_and(|o| o.makes(id)) && Kind::of(value.channels) == class.kind {
                operands.push(super::program::Operand::Made(id));
                continue;
            }
            operands.push(match self.place(id) {
                Place::Pooled(at) => super::program::Operand::Pooled {
                    at,
                    channels: value.channels,
                },
                Place::Image(image) if image.kind == class.kind => super::program::Operand::Image(image),
                // A plane beside blocks: one channel for all.
                Place::Image(image) => super::program::Operand::Image(self.spread(&image)),
                Place::Scaled(..) => return Err(invalid("a product is used in two ways".into())),
            });
        }
        let open = self.open.get_or_insert_with(|| Open::new(class));
        // Spreading a plane may have closed the program that makes the other operand.
        for operand in &mut operands {
            if let super::program::Operand::Made(id) = *operand
                && !open.makes(id)
                && let Some(Place::Image(image)) = self.places.get(&id)
            {
                *operand = super::program::Operand::Image(image.clone());
            }
        }
        open.add(output, channels, code, &operands);
        Ok(())
    }

    /// A block with the only channel of a plane in every lane.
    fn spread(&mut self, image: &Image) -> Image {
        self.plan.slots.push(Class {
            kind: Kind::Block,
            down: image.down,
        });
        let unit = Unit::Slot {
            slot: self.plan.slots.len() - 1,
            dy: 0,
            dx: 0,
        };
        let block = Image {
            kind: Kind::Block,
            down: image.down,
            step: 1,
            channels: 1,
            units: vec![unit],
        };
        let from = channel(image, 0, 1, (0, 0));
        let channels = (0..16)
            .map(|lane| {
                (
                    from,
                    Channel {
                        lane,
                        ..channel(&block, 0, 1, (0, 0))
                    },
                )
            })
            .collect();
        self.plan.steps.push(Step::Move {
            channels,
            down: image.down,
        });
        block
    }

    fn slice(&mut self, node: &Node, start: usize) {
        let input = self.image(node.inputs[0]);
        let channels = self.graph.values[node.output].channels;
        let kind = Kind::of(channels);
        if kind == input.kind && start.is_multiple_of(kind.lanes()) {
            let first = start / kind.lanes();
            let units = input.units[first..first + channels.div_ceil(kind.lanes())].to_vec();
            self.places.insert(
                node.output,
                Place::Image(Image {
                    units,
                    channels,
                    ..input
                }),
            );
            return;
        }
        let output = self.allocate(node.output);
        let moves = (0..channels).map(|c| (channel(&input, start + c, 1, (0, 0)), channel(&output, c, 1, (0, 0))));
        self.plan.steps.push(Step::Move {
            channels: moves.collect(),
            down: input.down,
        });
        self.places.insert(node.output, Place::Image(output));
    }

    fn concat(&mut self, node: &Node) -> Result<()> {
        let parts: Vec<Image> = node.inputs.iter().map(|&i| self.image(i)).collect();
        let channels = self.graph.values[node.output].channels;
        let kind = Kind::of(channels);
        let whole = |i: usize, p: &Image| i + 1 == parts.len() || p.channels.is_multiple_of(kind.lanes());
        let fits = |(i, p): (usize, &Image)| p.kind == kind && p.step == parts[0].step && whole(i, p);
        if parts.iter().enumerate().all(fits) {
            let units = parts.iter().flat_map(|p| p.units.iter().copied()).collect();
            let image = Image {
                units,
                channels,
                ..parts[0].clone()
            };
            self.places.insert(node.output, Place::Image(image));
            return Ok(());
        }
        let output = self.allocate(node.output);
        let from = parts
            .iter()
            .flat_map(|p| (0..p.channels).map(|c| channel(p, c, 1, (0, 0))));
        let moves = from.enumerate().map(|(c, from)| (from, channel(&output, c, 1, (0, 0))));
        self.plan.steps.push(Step::Move {
            channels: moves.collect(),
            down: output.down,
        });
        self.places.insert(node.output, Place::Image(output));
        Ok(())
    }

    fn space_to_depth(&mut self, node: &Node, block: usize) {
        let input = self.image(node.inputs[0]);
        if input.kind == Kind::Block && input.channels.is_multiple_of(16) {
            self.places.insert(node.output, Place::Image(view(&input, block)));
            return;
        }
        let output = self.allocate(node.output);
        if input.kind == Kind::Plane && input.channels == 1 && block == 4 {
            self.plan.steps.push(Step::Shuffle {
                plane: input.units[0],
                block: (output.units[0], output.step),
                down: output.down,
                back: false,
            });
        } else {
            let moves = (0..output.channels).map(|c| {
                let (place, source) = (c / input.channels, c % input.channels);
                let from = channel(&input, source, block, (place / block, place % block));
                (from, channel(&output, c, 1, (0, 0)))
            });
            self.plan.steps.push(Step::Move {
                channels: moves.collect(),
                down: output.down,
            });
        }
        self.places.insert(node.output, Place::Image(output));
    }

    fn depth_to_space(&mut self, node: &Node, block: usize, crd: bool) {
        let input = self.image(node.inputs[0]);
        let output = self.allocate(node.output);
        let planes = output.kind == Kind::Plane && input.kind == Kind::Block && block == 4;
        if planes && (crd || output.channels == 1) {
            for (&plane, &unit) in output.units.iter().zip(&input.units) {
                self.plan.steps.push(Step::Shuffle {
                    plane,
                    block: (unit, input.step),
                    down: input.down,
                    back: true,
                });
            }
        } else {
            let moves = (0..input.channels).map(|c| {
                let (place, target) = match crd {
                    true => (c % (block * block), c / (block * block)),
                    false => (c / output.channels, c % output.channels),
                };
                (
                    channel(&input, c, 1, (0, 0)),
                    channel(&output, target, block, (place / block, place % block)),
                )
            });
            self.plan.steps.push(Step::Move {
                channels: moves.collect(),
                down: input.down,
            });
        }
        self.places.insert(node.output, Place::Image(output));
    }

    /// Ends the program and copies what no step has written to the caller's planes.
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

/// Every `block`th pixel: the channels of all pixels of a block one after the other.
fn view(image: &Image, block: usize) -> Image {
    if block == 1 {
        return image.clone();
    }
    let units = (0..block * block).flat_map(|place| {
        image.units.iter().map(move |&unit| match unit {
            Unit::Slot { slot, dy, dx } => Unit::Slot {
                slot,
                dy: dy + place / block * image.step,
                dx: dx + place % block * image.step,
            },
            other => other,
        })
    });
    Image {
        kind: image.kind,
        down: image.down * block,
        step: image.step * block,
        channels: image.channels * block * block,
        units: units.collect(),
    }
}

fn channel(image: &Image, c: usize, step: usize, offset: (usize, usize)) -> Channel {
    Channel {
        unit: image.units[c / image.kind.lanes()],
        kind: image.kind,
        lane: c % image.kind.lanes(),
        step,
        offset,
        unit_step: image.step,
    }
}

/// The filter with its outputs in the order that a shuffle of whole pixels takes.
fn to_dcr(filter: &Filter, block: usize) -> Filter {
    let area = block * block;
    let channels = filter.outputs / area;
    let size = filter.inputs * filter.kernel * filter.kernel;
    // Output place · channels + c was c · area + place.
    let from = |o: usize| o % channels * area + o / channels;
    Filter {
        weights: (0..filter.outputs)
            .flat_map(|o| filter.weights[from(o) * size..][..size].iter().copied())
            .collect(),
        bias: (0..filter.outputs).map(|o| filter.bias[from(o)]).collect(),
        ..filter.clone()
    }
}

fn winograd(level: Level, filter: &Filter, n: usize, transform: fn(&[f32]) -> Vec<f32>) -> Packed {
    let taps = filter.kernel * filter.kernel;
    let transformed: Vec<f32> = filter.weights.chunks_exact(taps).flat_map(transform).collect();
    let points = n * n;
    Packed::new(level, filter, points, |p, i, o| {
        transformed[(o * filter.inputs + i) * points + p]
    })
}

fn lcm(a: usize, b: usize) -> usize {
    let (mut x, mut y) = (a, b);
    while y != 0 {
        (x, y) = (y, x % y);
    }
    a / x * b
}
