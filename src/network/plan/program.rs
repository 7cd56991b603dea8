//! Collects element-wise operations in one program, unit by unit.

use std::collections::HashMap;

use super::structure::{Class, Code, Image, Instruction, Program, Ref, Unit};
use crate::network::graph::{Binary, ValueId};

/// What an operation takes.
#[derive(Debug, Clone)]
pub enum Operand {
    /// A result of the same program.
    Result(ValueId),
    /// An image of the same class.
    Image(Image),
    /// A plane of which 4×4 pixels are the channels of a block.
    Plane(Unit),
    /// Pooled values.
    Pooled { at: usize, channels: usize },
}

/// Where an operand comes from, before it is known which results get memory.
#[derive(Debug, Clone, Copy, PartialEq)]
enum OperandSource {
    /// The result of an instruction.
    Result(usize),
    /// Memory of an image, or pooled values.
    Memory(Ref),
}

/// A program that operations are still added to.
pub struct ProgramBuilder {
    class: Class,
    instructions: Vec<(Code, OperandSource, OperandSource)>,
    /// For each value: its instructions, unit by unit, and how many operations of this program read it.
    computed: HashMap<ValueId, (Vec<usize>, usize)>,
    units: Vec<(Unit, usize)>,
    lanes: Vec<(usize, bool)>,
    planes: Vec<Unit>,
}

impl ProgramBuilder {
    /// An empty program.
    pub fn new(class: Class) -> Self {
        Self {
            class,
            instructions: vec![],
            computed: HashMap::new(),
            units: vec![],
            lanes: vec![],
            planes: vec![],
        }
    }

    /// What it works on.
    pub fn class(&self) -> Class {
        self.class
    }

    /// Whether it computes the value.
    pub fn computes(&self, id: ValueId) -> bool {
        self.computed.contains_key(&id)
    }

    /// All values that it computes, each with the number of uses inside.
    pub fn results(&self) -> Vec<(ValueId, usize)> {
        let mut results: Vec<_> = self.computed.iter().map(|(&id, &(_, used))| (id, used)).collect();
        results.sort_unstable();
        results
    }

    fn unit(&mut self, unit: Unit, step: usize) -> OperandSource {
        let found = self.units.iter().position(|&u| u == (unit, step));
        OperandSource::Memory(Ref::Unit(found.unwrap_or_else(|| {
            self.units.push((unit, step));
            self.units.len() - 1
        })))
    }

    fn pooled(&mut self, at: usize, repeated: bool) -> OperandSource {
        let found = self.lanes.iter().position(|&l| l == (at, repeated));
        OperandSource::Memory(Ref::Lanes(found.unwrap_or_else(|| {
            self.lanes.push((at, repeated));
            self.lanes.len() - 1
        })))
    }

    /// Unit `u` of an operand; an operand of one channel is the same for all units.
    fn operand(&mut self, operand: &Operand, u: usize) -> OperandSource {
        match operand {
            Operand::Result(id) => {
                let units = &self.computed[id].0;
                OperandSource::Result(units[u.min(units.len() - 1)])
            }
            Operand::Image(image) => self.unit(image.units[u.min(image.units.len() - 1)], image.step),
            &Operand::Plane(plane) => {
                let found = self.planes.iter().position(|&p| p == plane);
                OperandSource::Memory(Ref::Plane(found.unwrap_or_else(|| {
                    self.planes.push(plane);
                    self.planes.len() - 1
                })))
            }
            &Operand::Pooled { at, channels: 1 } => self.pooled(at, true),
            Operand::Pooled { at, .. } => {
                let lanes = self.class.kind.lanes();
                self.pooled(at + u * lanes, lanes == 1)
            }
        }
    }

    /// Adds an operation of one or two operands that gives value `id`.
    pub fn add(&mut self, id: ValueId, channels: usize, code: Code, operands: &[Operand]) {
        let mut results = vec![];
        let units = channels.div_ceil(self.class.kind.lanes());
        // Units that are divided by the same one are multiplied by its reciprocal, which is found once.
        let by_one = match operands {
            [_, b] if code == Code::Binary(Binary::Div) && units > 1 => {
                let first = self.operand(b, 0);
                (1..units).all(|u| self.operand(b, u) == first).then_some(first)
            }
            _ => None,
        };
        let reciprocal = by_one.map(|b| {
            self.instructions.push((Code::Reciprocal, b, b));
            OperandSource::Result(self.instructions.len() - 1)
        });
        let code = if reciprocal.is_some() {
            Code::Binary(Binary::Mul)
        } else {
            code
        };
        for u in 0..units {
            let a = self.operand(&operands[0], u);
            let b = reciprocal.unwrap_or_else(|| operands.get(1).map_or(a, |o| self.operand(o, u)));
            results.push(self.instructions.len());
            self.instructions.push((code, a, b));
        }
        for operand in operands {
            if let Operand::Result(id) = operand
                && let Some((_, used)) = self.computed.get_mut(id)
            {
                *used += 1;
            }
        }
        self.computed.insert(id, (results, 0));
    }

    /// The program. Results that `images` contains are stored there, others are kept in registers; those that `planes`
    /// contains, of one block each, become 4×4 pixels of a plane at the end.
    pub fn finish(mut self, images: &HashMap<ValueId, Image>, planes: &[(ValueId, Unit)]) -> Program {
        let mut stored = vec![None; self.instructions.len()];
        for (id, image) in images {
            for (&i, &unit) in self.computed[id].0.clone().iter().zip(&image.units) {
                let OperandSource::Memory(place) = self.unit(unit, image.step) else {
                    continue;
                };
                stored[i] = Some(place);
            }
        }
        let mut last = vec![0; self.instructions.len()];
        let shuffled: Vec<_> = planes
            .iter()
            .map(|(id, unit)| (self.computed[id].0[0], *unit))
            .collect();
        for (i, &(_, a, b)) in self.instructions.iter().enumerate() {
            for operand in [a, b] {
                if let OperandSource::Result(r) = operand {
                    last[r] = i;
                }
            }
        }
        for &(i, _) in &shuffled {
            last[i] = usize::MAX;
        }
        let mut places: Vec<Ref> = vec![];
        let (mut free, mut registers) = (vec![], 0);
        let mut instructions = vec![];
        for (i, &(code, a, b)) in self.instructions.iter().enumerate() {
            let find = |source| match source {
                OperandSource::Result(r) => places[r],
                OperandSource::Memory(place) => place,
            };
            let (a_ref, b_ref) = (find(a), find(b));
            // A register whose last reader this is may take the result.
            let mut ended: Vec<usize> = [a, b]
                .into_iter()
                .filter_map(|e| match e {
                    OperandSource::Result(r) if last[r] == i => match places[r] {
                        Ref::Register(k) => Some(k),
                        _ => None,
                    },
                    _ => None,
                })
                .collect();
            ended.dedup();
            free.extend(ended);
            let out = stored[i].unwrap_or_else(|| {
                Ref::Register(free.pop().unwrap_or_else(|| {
                    registers += 1;
                    registers - 1
                }))
            });
            places.push(out);
            instructions.push(Instruction {
                code,
                out,
                a: a_ref,
                b: b_ref,
            });
        }
        let shuffled = shuffled.into_iter().filter_map(|(i, unit)| match places[i] {
            Ref::Register(register) => Some((register, unit)),
            _ => None,
        });
        Program {
            class: self.class,
            instructions,
            registers,
            units: self.units,
            lanes: self.lanes,
            planes: self.planes,
            shuffled: shuffled.collect(),
        }
    }
}
