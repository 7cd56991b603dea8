//! From a plan to what is launched for each of its steps, for any size.

use super::constants::Constants;
use crate::error::{Error, ErrorKind, Result};
use crate::gpu::kernels::{
    Division, MAX_REGISTERS, MAX_UNITS, OPERANDS, Operand, POOLED_INPUTS, PROGRAM_UNITS, PooledStep, Products, Storage,
    code, instruction,
};
use crate::network::{Class, Code, Conv, Filter, Image, Kind, LANES, Plan, Pooled, Program, Ref, Step, Unary, Unit};

/// What one or several steps of a plan become. Places are bytes from the beginning of the constants.
pub(crate) enum Prepared {
    Conv(Box<PreparedConv>),
    Points {
        class: Class,
        /// Those of instructions first, then planes whose 4 × 4 pixels are lanes.
        units: Vec<(Unit, usize)>,
        planes: Vec<Unit>,
        instructions: u64,
        count: usize,
        registers: usize,
        /// Bit by bit, those of `units` and `planes` that are written.
        written: u64,
    },
    Move {
        channels: Vec<(crate::network::Channel, crate::network::Channel)>,
        down: usize,
    },
    Mean(Image),
    Pooled {
        steps: u64,
        count: usize,
    },
}

/// A convolution with its weights in place.
pub(crate) struct PreparedConv {
    pub conv: Conv<Filter>,
    pub division: Division,
    /// In the kernel's type, or, where they are multiplied by pooled values first, of 32 bits.
    pub weights: u64,
    pub bias: u64,
}

/// Everything of a network but its size and addresses.
pub(crate) struct Preparation {
    pub steps: Vec<Prepared>,
    pub slots: Vec<Class>,
    /// First and last of `steps` that use each slot.
    pub lives: Vec<Option<(usize, usize)>>,
    /// Pooled values.
    pub pooled: usize,
    /// Ports of the pooled inputs.
    pub pooled_ports: Vec<usize>,
    pub multiple: usize,
    pub products: Products,
    /// The constants, and where the numbers for pooled steps begin among them.
    pub constants: (Vec<u8>, u64),
}

fn unsupported(what: String) -> Error {
    Error::new(
        ErrorKind::ModelInvalid,
        format!("the cuda backend has no kernel for {what}: take backend=tensorrt or backend=cpu for this pack"),
    )
}

/// Prepares a plan for kernels of `products`.
///
/// # Errors
/// [`ErrorKind::ModelInvalid`] for a plan that is beyond the kernels' limits, which the message names.
pub(crate) fn prepare(plan: Plan<Filter>, products: Products) -> Result<Preparation> {
    let mut b = Builder {
        products,
        constants: Constants::default(),
        steps: Vec::new(),
        pooled: Vec::new(),
    };
    if plan.pooled.len() >= OPERANDS || plan.pooled_inputs.len() > POOLED_INPUTS {
        return Err(unsupported(format!("{} pooled values", plan.pooled.len())));
    }
    if !plan.pooled.is_empty() {
        let first = b.constants.add_floats(&plan.pooled);
        let count = plan.pooled.len();
        b.pooled.push(PooledStep::Constants { to: 0, count, first });
        for (input, &(_, to, count)) in plan.pooled_inputs.iter().enumerate() {
            b.pooled.push(PooledStep::Input { to, count, input });
        }
    }
    let mut lives: Vec<Option<(usize, usize)>> = vec![None; plan.slots.len()];
    for step in plan.steps {
        let units = step.units();
        b.step(step)?;
        let now = b.steps.len().saturating_sub(1);
        for unit in units {
            if let Unit::Slot { slot, .. } = unit {
                let life = lives[slot].get_or_insert((now, now));
                life.1 = now;
            }
        }
    }
    Ok(Preparation {
        steps: b.steps,
        slots: plan.slots,
        lives,
        pooled: plan.pooled.len(),
        pooled_ports: plan.pooled_inputs.iter().map(|p| p.0).collect(),
        multiple: plan.multiple,
        products,
        constants: b.constants.finish(),
    })
}

struct Builder {
    products: Products,
    constants: Constants,
    steps: Vec<Prepared>,
    /// Steps on pooled values that nothing else has been added after.
    pooled: Vec<PooledStep>,
}

impl Builder {
    fn push(&mut self, prepared: Prepared) {
        self.flush();
        self.steps.push(prepared);
    }

    /// Launches the steps on pooled values that are waiting.
    fn flush(&mut self) {
        if self.pooled.is_empty() {
            return;
        }
        let words: Vec<_> = self.pooled.drain(..).map(|step| step.words()).collect();
        let steps = self.constants.add_words(&words);
        self.steps.push(Prepared::Pooled {
            steps,
            count: words.len(),
        });
    }

    fn step(&mut self, step: Step<Filter>) -> Result<()> {
        match step {
            Step::Conv(conv) => {
                let prepared = self.conv(*conv)?;
                self.push(Prepared::Conv(Box::new(prepared)));
            }
            Step::Round { .. } => unreachable!("plans for any executor have no units in 16-bit floating point"),
            Step::Program(program) => self.program(&program)?,
            Step::Shuffle {
                plane,
                block,
                down,
                back,
            } => {
                let class = Class {
                    kind: Kind::Block,
                    down,
                };
                let (block_unit, shuffled) = (Operand::Unit(0), Operand::Shuffled(1));
                let (from, to) = if back {
                    (block_unit, shuffled)
                } else {
                    (shuffled, block_unit)
                };
                let copy = instruction(Code::Unary(Unary::Copy), to, from, from);
                let instructions = self.constants.add_words(&[copy]);
                self.push(Prepared::Points {
                    class,
                    units: vec![block],
                    planes: vec![plane],
                    instructions,
                    count: 1,
                    registers: 0,
                    written: if back { 2 } else { 1 },
                });
            }
            Step::Move { channels, down } => self.push(Prepared::Move { channels, down }),
            Step::Mean { input, to } => {
                if input.units.len() > MAX_UNITS {
                    return Err(unsupported(format!("a mean of {} channels", input.channels)));
                }
                let (count, units, lanes) = (input.channels, input.units.len(), input.kind.lanes());
                let down = input.down;
                self.push(Prepared::Mean(input));
                self.pooled.push(PooledStep::Mean {
                    to,
                    count,
                    units,
                    lanes,
                    down,
                });
            }
            Step::Pooled(work) => {
                let step = match work {
                    Pooled::Dense { filter, from, to } => PooledStep::Dense {
                        to,
                        count: filter.outputs,
                        from,
                        inputs: filter.inputs,
                        weights: self.constants.add_floats(&filter.weights),
                        bias: self.constants.add_floats(&filter.bias),
                    },
                    Pooled::Each {
                        code: what,
                        a,
                        b,
                        to,
                        count,
                    } => PooledStep::Each {
                        to,
                        count,
                        code: code(what),
                        a,
                        b,
                    },
                    Pooled::Move { from, to, count } => PooledStep::Move { to, count, from },
                };
                self.pooled.push(step);
            }
        }
        Ok(())
    }

    fn conv(&mut self, conv: Conv<Filter>) -> Result<PreparedConv> {
        let filter = &conv.kernel;
        let (from_planes, to_planes) = (conv.input.kind == Kind::Plane, conv.output.kind == Kind::Plane);
        let most = conv.input.units.len().max(conv.output.units.len());
        if most > MAX_UNITS {
            return Err(unsupported(format!(
                "convolutions of {} to {} channels: at most {}",
                filter.inputs,
                filter.outputs,
                MAX_UNITS * LANES
            )));
        }
        let division = Division::new(self.products, filter, from_planes, to_planes);
        let storage = match conv.scale {
            Some(_) => Storage::F32,
            None => self.products.weights(),
        };
        let weights = self.constants.add_numbers(&division.weights(filter), storage);
        let bias = self.constants.add_numbers(&division.bias(filter), Storage::F32);
        Ok(PreparedConv {
            conv,
            division,
            weights,
            bias,
        })
    }

    fn program(&mut self, program: &Program) -> Result<()> {
        let units = program.units.len();
        let shuffled = program.shuffled.iter().map(|s| s.1);
        let planes: Vec<Unit> = program.planes.iter().copied().chain(shuffled).collect();
        if units + planes.len() > PROGRAM_UNITS || program.registers > MAX_REGISTERS {
            return Err(unsupported(format!(
                "{} element-wise operations on {} images with {} results between: at most {PROGRAM_UNITS} and \
                 {MAX_REGISTERS}",
                program.instructions.len(),
                units + planes.len(),
                program.registers
            )));
        }
        let place = |r: Ref| match r {
            Ref::Register(i) => Operand::Register(i),
            Ref::Unit(i) => Operand::Unit(i),
            Ref::Lanes(i) => match program.lanes[i] {
                (at, true) => Operand::Repeated(at),
                (at, false) => Operand::Lanes(at),
            },
            Ref::Plane(i) => Operand::Shuffled(units + i),
        };
        let own = program.instructions.iter();
        let own = own.map(|i| instruction(i.code, place(i.out), place(i.a), place(i.b)));
        let last = program.shuffled.iter().enumerate().map(|(i, &(register, _))| {
            let from = Operand::Register(register);
            let to = Operand::Shuffled(units + program.planes.len() + i);
            instruction(Code::Unary(Unary::Copy), to, from, from)
        });
        let words: Vec<_> = own.chain(last).collect();
        let outs = program.instructions.iter().filter_map(|i| match i.out {
            Ref::Unit(unit) => Some(unit),
            _ => None,
        });
        let outs = outs.chain(units + program.planes.len()..units + planes.len());
        let written = outs.fold(0, |all, unit| all | 1 << unit);
        let instructions = self.constants.add_words(&words);
        self.push(Prepared::Points {
            class: program.class,
            units: program.units.clone(),
            planes,
            instructions,
            count: words.len(),
            registers: program.registers,
            written,
        });
        Ok(())
    }
}
