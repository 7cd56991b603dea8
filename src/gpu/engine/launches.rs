//! The launches of a network for one size and given addresses.

use super::memory::Layout;
use super::prepare::{Preparation, Prepared, PreparedConv};
use crate::gpu::kernels::{
    self, ConvolutionArguments, Launch, MAX_UNITS, MOVES, MeanArguments, MoveArguments, MovedChannel, PROGRAM_UNITS,
    PointsArguments, PooledArguments, Products, ScaleArguments, Storage, flags,
};
use crate::network::{Channel, Class, Gate, Image, Kind, LANES, Unit};

/// Where everything is.
pub(crate) struct Addresses<'a> {
    pub constants: u64,
    pub scratch: u64,
    /// Of each input and output, in the network's order.
    pub inputs: &'a [u64],
    pub outputs: &'a [u64],
}

/// A network that is being bound.
struct Binding<'a> {
    preparation: &'a Preparation,
    layout: &'a Layout,
    at: &'a Addresses<'a>,
    /// Width and height of the frame.
    size: (usize, usize),
    planes: Storage,
}

/// The launches in their order. Planes are of type `planes`; small images are divided further on a GPU with more
/// `multiprocessors`.
pub(crate) fn launches(
    preparation: &Preparation,
    layout: &Layout,
    at: &Addresses<'_>,
    size: (usize, usize),
    planes: Storage,
    multiprocessors: u32,
) -> Vec<Launch> {
    let binding = Binding {
        preparation,
        layout,
        at,
        size,
        planes,
    };
    let mut launches = Vec::new();
    for step in &preparation.steps {
        match step {
            Prepared::Conv(conv) => binding.conv(conv, multiprocessors, &mut launches),
            Prepared::Points {
                class,
                units,
                planes,
                instructions,
                count,
                registers,
                written,
            } => {
                let (width, height) = binding.sides(class.down);
                let mut arguments = PointsArguments {
                    units: [kernels::Unit::default(); PROGRAM_UNITS],
                    instructions: at.constants + instructions,
                    pooled: at.scratch + layout.pooled,
                    written: *written,
                    count: *count as u32,
                    width,
                    height,
                    blocks: (class.kind == Kind::Block).into(),
                    wide: binding.wide().into(),
                    reserved: 0,
                };
                let own = units.iter().map(|&(unit, step)| binding.unit(unit, class.kind, step));
                let shuffled = planes.iter().map(|&plane| binding.unit(plane, Kind::Plane, 1));
                for (place, unit) in arguments.units.iter_mut().zip(own.chain(shuffled)) {
                    *place = unit;
                }
                launches.push(arguments.launch(preparation.products.blocks(), *registers));
            }
            Prepared::Move { channels, down } => binding.moves(channels, *down, &mut launches),
            Prepared::Mean(image) => {
                let (width, height) = binding.sides(image.down);
                let arguments = MeanArguments {
                    input: binding.image(image),
                    sums: at.scratch + layout.sums,
                    width,
                    height,
                    blocks: (image.kind == Kind::Block).into(),
                    wide: binding.wide().into(),
                };
                launches.push(arguments.launch(preparation.products.blocks(), image.units.len()));
            }
            Prepared::Pooled { steps, count } => {
                let mut inputs = [0; kernels::POOLED_INPUTS];
                for (address, &port) in inputs.iter_mut().zip(&preparation.pooled_ports) {
                    *address = at.inputs[port];
                }
                let arguments = PooledArguments {
                    steps: at.constants + steps,
                    constants: at.constants + preparation.constants.1,
                    values: at.scratch + layout.pooled,
                    sums: at.scratch + layout.sums,
                    inputs,
                    count: *count as u32,
                    wide: binding.wide().into(),
                    pixels: (size.0 * size.1) as u32,
                    reserved: 0,
                };
                launches.push(arguments.launch());
            }
        }
    }
    launches
}

impl Binding<'_> {
    fn wide(&self) -> bool {
        self.planes == Storage::F32
    }

    /// Sides of images that are `down` times smaller than the frame.
    fn sides(&self, down: usize) -> (u32, u32) {
        ((self.size.0 / down) as u32, (self.size.1 / down) as u32)
    }

    /// Bytes of a unit's pixel.
    fn pixel(&self, kind: Kind) -> u64 {
        match kind {
            Kind::Plane => self.planes.bytes() as u64,
            Kind::Block | Kind::Paired => (LANES * self.preparation.products.blocks().bytes()) as u64,
        }
    }

    /// A unit of which every `step`th pixel counts.
    fn unit(&self, unit: Unit, kind: Kind, step: usize) -> kernels::Unit {
        let pixel = self.pixel(kind);
        let plane = |ports: &[u64], port: usize, channel: usize| {
            (
                ports[port] + (channel * self.size.0 * self.size.1) as u64 * pixel,
                self.size.0,
            )
        };
        let (address, width) = match unit {
            Unit::Slot { slot, dy, dx } => {
                let Class { down, .. } = self.preparation.slots[slot];
                let width = self.size.0 / down;
                let start = self.at.scratch + self.layout.slots[slot];
                (start + (dy * width + dx) as u64 * pixel, width)
            }
            Unit::Input { port, channel } => plane(self.at.inputs, port, channel),
            Unit::Output { port, channel } => plane(self.at.outputs, port, channel),
        };
        kernels::Unit {
            address,
            row: (width * step) as u32,
            step: step as u32,
        }
    }

    fn image(&self, image: &Image) -> kernels::Image {
        let mut bound = kernels::Image::default();
        debug_assert!(image.units.len() <= MAX_UNITS);
        for (place, &unit) in bound.units.iter_mut().zip(&image.units) {
            let unit = self.unit(unit, image.kind, image.step);
            *place = unit.address;
            (bound.row, bound.step) = (unit.row, unit.step);
        }
        bound
    }

    fn conv(&self, prepared: &PreparedConv, multiprocessors: u32, launches: &mut Vec<Launch>) {
        let (conv, division) = (&prepared.conv, &prepared.division);
        let (width, height) = self.sides(conv.output.down);
        let mut weights = self.at.constants + prepared.weights;
        if let Some((from, _)) = conv.scale {
            let (factors, to) = (
                self.at.scratch + self.layout.pooled + 4 * from as u64,
                self.at.scratch + self.layout.scaled,
            );
            launches.push(ScaleArguments::new(division, &conv.kernel, weights, factors, to).launch());
            weights = to;
        }
        let mut arguments = ConvolutionArguments {
            input: self.image(&conv.input),
            output: self.image(&conv.output),
            weights,
            bias: self.at.constants + prepared.bias,
            width,
            height,
            side: conv.side as u32,
            chunks: division.chunks as u32,
            inputs: conv.kernel.inputs as u32,
            outputs: conv.kernel.outputs as u32,
            slope: conv.slope,
            low: f32::NEG_INFINITY,
            high: f32::INFINITY,
            ..ConvolutionArguments::default()
        };
        let mut set = |flag: u32, condition: bool| arguments.flags |= if condition { flag } else { 0 };
        set(flags::FROM_PLANES, conv.input.kind == Kind::Plane);
        set(flags::TO_PLANES, conv.output.kind == Kind::Plane);
        set(flags::WIDE_PLANES, self.wide());
        set(flags::RESIDUAL, conv.residual.is_some());
        set(flags::GATED, conv.gated.is_some());
        if let Some(residual) = &conv.residual {
            arguments.residual = self.image(residual);
        }
        if let Some(gated) = &conv.gated {
            arguments.gated = self.image(&gated.image);
            match gated.gate {
                Gate::Slope => {}
                Gate::Sigmoid => arguments.flags |= flags::SIGMOID,
                Gate::Clip(low, high) => (arguments.low, arguments.high) = (low, high),
            }
        }
        launches.push(division.launch(&arguments, multiprocessors));
    }

    /// A channel as numbers of its own: address of the first, and from one to the next.
    fn channel(&self, channel: &Channel) -> (kernels::Unit, u32) {
        let unit = self.unit(channel.unit, channel.kind, channel.unit_step);
        let (lanes, storage) = match channel.kind {
            Kind::Plane => (1, self.planes),
            Kind::Block | Kind::Paired => (LANES as u32, self.preparation.products.blocks()),
        };
        let (dy, dx) = (channel.offset.0 as u32, channel.offset.1 as u32);
        let first = (dy * unit.row + dx * unit.step) * lanes + channel.lane as u32;
        let step = channel.step as u32;
        let numbers = kernels::Unit {
            address: unit.address + u64::from(first) * storage.bytes() as u64,
            row: unit.row * step * lanes,
            step: unit.step * step * lanes,
        };
        (numbers, (storage == Storage::F32).into())
    }

    fn moves(&self, channels: &[(Channel, Channel)], down: usize, launches: &mut Vec<Launch>) {
        let (width, height) = self.sides(down);
        for some in channels.chunks(MOVES) {
            let mut arguments = MoveArguments {
                channels: [MovedChannel::default(); MOVES],
                width,
                height,
            };
            for (place, (from, to)) in arguments.channels.iter_mut().zip(some) {
                let ((from, from_wide), (to, to_wide)) = (self.channel(from), self.channel(to));
                *place = MovedChannel {
                    from,
                    to,
                    from_wide,
                    to_wide,
                };
            }
            launches.push(arguments.launch(some.len()));
        }
    }
}

/// The kernels for a network in this number format on a GPU of this compute capability.
pub(crate) fn products(blocks: Storage, capability: (i32, i32)) -> Products {
    match blocks {
        Storage::F16 if capability >= (8, 0) => Products::Tensor,
        other => Products::Scalar(other),
    }
}
