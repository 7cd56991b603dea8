//! Convolutions: which operations become part of their step, and the zeros around their inputs.

use super::lower::{Lowering, Place, Target};
use super::structure::*;
use super::views::view;
use crate::network::graph::{Binary, Filter, Node, Op, Space, Unary, ValueId};
use crate::network::limits::LANES;

impl Lowering<'_> {
    /// If only convolutions read a product with pooled values, leaves the multiplication to them.
    pub(crate) fn scale(&mut self, node: &Node) -> bool {
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

    pub(crate) fn conv(&mut self, node: &Node, filter: &Filter) {
        let graph = self.graph;
        let matrices = self.matrices(node);
        let (input, scale) = match matrices {
            true => (self.round(node.inputs[0]), None),
            false => {
                let (image, scale) = self.scaled_image(node.inputs[0]);
                (self.bordered(image), scale)
            }
        };
        let mut filter = filter.clone();
        let mut last = node.output;
        // A pixel shuffle into whole blocks is a view of the memory that the results are written to.
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
            && let Op::Binary(Binary::Add) = graph.nodes[u].op
        {
            let inputs = &graph.nodes[u].inputs;
            let other = if inputs[0] == last { inputs[1] } else { inputs[0] };
            let same = other != last
                && graph.values[other].channels == graph.values[last].channels
                && graph.values[other].space == graph.values[last].space;
            let there = self.places.contains_key(&other) || self.program.as_ref().is_some_and(|p| p.computes(other));
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
        let whole = input.kind == Kind::Block && filter.inputs.is_multiple_of(LANES);
        let blocks = Kind::of(graph.values[last].channels) == Kind::Block;
        let direct = blocks && !(whole && matches!(filter.kernel, 3 | 5));
        let mut gated = None;
        if (direct || matrices) && blocks && shuffle == 1 && residual.is_none() {
            gated = self.gated(last);
        }
        let mut slope = 1.0;
        if let Some(u) = self.sole_user(last)
            && let Op::Unary(Unary::Leaky(s)) = graph.nodes[u].op
        {
            slope = s;
            last = graph.nodes[u].output;
            self.taken[u] = true;
        }
        let gated = gated.map(|(gated, product)| {
            last = product;
            gated
        });
        let (output, rounded) = match matrices {
            true => self.allocate_for_readers(last, shuffle),
            false => (self.allocate(last), None),
        };
        if output.kind != Kind::Paired {
            self.places.insert(last, Place::Image(output.clone()));
        }
        self.plan.steps.push(Step::Conv(Box::new(Conv {
            side: filter.kernel,
            kernel: filter,
            input,
            output: view(&output, shuffle),
            rounded: rounded.map(|r| view(&r, shuffle)),
            residual,
            slope,
            gated,
            scale: scale.map(|from| (from, 0)),
        })));
    }

    /// Whether a convolution reads 16-bit floating point: where the target has it, of blocks of channels.
    fn matrices(&self, node: &Node) -> bool {
        let value = &self.graph.values[node.inputs[0]];
        let over_frame = value.space != Space::Pooled && Kind::of(value.channels) == Kind::Block;
        self.target == Target::Paired && matches!(node.op, Op::Conv(_)) && over_frame
    }

    /// Where a convolution's input lies, and the pooled values that its channels are still to be multiplied by.
    fn scaled_image(&mut self, id: ValueId) -> (Image, Option<usize>) {
        match self.place(id) {
            Place::Image(image) => (image, None),
            Place::Scaled(image, at) => (image, Some(at)),
            Place::Shuffled(plane) => (self.shuffle(id, plane), None),
            Place::Pooled(_) => unreachable!("shapes are checked when the graph is read"),
        }
    }

    /// A value in 16-bit floating point, multiplied by its pooled values. It is rounded once.
    fn round(&mut self, id: ValueId) -> Image {
        if let Some(image) = self.rounded.get(&id) {
            return image.clone();
        }
        let (input, scale) = self.scaled_image(id);
        let output = self.allocate_rounded(id);
        self.plan.steps.push(Step::Round {
            input,
            output: output.clone(),
            scale,
        });
        output
    }

    /// Allocates an image in 16-bit floating point for a value, which has one from here on.
    fn allocate_rounded(&mut self, id: ValueId) -> Image {
        let value = &self.graph.values[id];
        let Space::Frame { down } = value.space else {
            unreachable!("only values over the frame have images");
        };
        let units = (0..value.channels.div_ceil(Kind::Paired.lanes())).map(|_| {
            self.plan.slots.push(Class {
                kind: Kind::Paired.memory(),
                down,
            });
            Unit::Slot {
                slot: self.plan.slots.len() - 1,
                dy: 0,
                dx: 0,
            }
        });
        let image = Image {
            kind: Kind::Paired,
            down,
            step: 1,
            channels: value.channels,
            units: units.collect(),
        };
        self.rounded.insert(id, image.clone());
        image
    }

    /// Allocates what the readers of a convolution's result need: an image in floats, one in 16-bit floating point, or
    /// both, of which the second comes second.
    fn allocate_for_readers(&mut self, id: ValueId, shuffle: usize) -> (Image, Option<Image>) {
        let graph = self.graph;
        let channels = graph.values[id].channels;
        let whole = shuffle == 1 || channels.is_multiple_of(Kind::Paired.lanes());
        let readers = &self.users[id];
        let by_matrices = readers.iter().filter(|&&n| self.matrices(&graph.nodes[n])).count();
        if by_matrices == 0 || !whole || Kind::of(channels) == Kind::Plane {
            return (self.allocate(id), None);
        }
        if by_matrices == readers.len() && !graph.outputs.contains(&id) {
            return (self.allocate_rounded(id), None);
        }
        (self.allocate(id), Some(self.allocate_rounded(id)))
    }

    /// If the activation of `x` is used for one multiplication only: the image that it is multiplied by, and the
    /// product.
    fn gated(&mut self, x: ValueId) -> Option<(Gated, ValueId)> {
        let graph = self.graph;
        let (activation, product) = {
            let a = self.sole_user(x)?;
            (a, self.sole_user(graph.nodes[a].output)?)
        };
        let how = match graph.nodes[activation].op {
            Op::Unary(Unary::Leaky(_)) => Gate::Slope,
            Op::Unary(Unary::Sigmoid) => Gate::Sigmoid,
            Op::Unary(Unary::Clip(low, high)) => Gate::Clip(low, high),
            _ => return None,
        };
        let Op::Binary(Binary::Mul) = graph.nodes[product].op else {
            return None;
        };
        let (inputs, output) = (&graph.nodes[product].inputs, graph.nodes[product].output);
        let gate = graph.nodes[activation].output;
        let other = if inputs[0] == gate { inputs[1] } else { inputs[0] };
        let value = &graph.values[other];
        let fits = other != gate && value.channels == graph.values[x].channels && value.space == graph.values[x].space;
        let there = self.places.contains_key(&other) || self.program.as_ref().is_some_and(|p| p.computes(other));
        if !fits || !there || matches!(self.place(other), Place::Scaled(..)) {
            return None;
        }
        let image = self.image(other);
        self.taken[product] = true;
        self.taken[activation] = true;
        Some((Gated { image, gate: how }, output))
    }

    /// The image with zeros around it, if the plan's target wants them. The caller's planes have none, so they are copied.
    pub(crate) fn bordered(&mut self, image: Image) -> Image {
        if self.target == Target::Any {
            return image;
        }
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
    pub(crate) fn copy(&mut self, class: Class, pairs: &[(Unit, Unit)]) {
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
            planes: vec![],
            shuffled: vec![],
        }));
    }
}

/// The filter with its outputs reordered for a shuffle that takes the channels of one pixel after the other (DCR).
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
