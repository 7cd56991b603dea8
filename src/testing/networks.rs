//! Networks that compute nothing: they check how they are used, and tell a recorder what they read and write.
#![allow(unsafe_code)]

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::gpu::{GpuBackend, Inference, Loaded, Source, StreamHandle};
use crate::pack::{Pack, Precisions, Subnetwork};
use crate::testing::recorder::{Recorder, Uses};

/// A call that the contexts of a subnetwork refuse.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    pub which: Subnetwork,
    /// The method of [`Inference`].
    pub call: &'static str,
    /// The calls of that method, counted from 1 for each context.
    pub times: RangeInclusive<usize>,
}

/// A source of networks that compute nothing.
#[derive(Clone)]
pub(crate) struct IdleNetworks {
    pub precisions: Precisions,
    /// Whom they tell what they use.
    pub recorder: Option<Recorder>,
    pub refusal: Option<Refusal>,
}

impl IdleNetworks {
    /// Networks that refuse nothing.
    pub fn new(precisions: impl Into<Precisions>, recorder: Option<&Recorder>) -> Self {
        Self {
            precisions: precisions.into(),
            recorder: recorder.cloned(),
            refusal: None,
        }
    }

    /// A backend with these networks on their recorder, by the schedule of `full`.
    pub fn backend(self) -> GpuBackend {
        let device = self.recorder.clone().unwrap_or_default();
        let schedule = Pack::open("full").unwrap().manifest().schedule;
        GpuBackend::new(Arc::new(device), Box::new(self), &schedule).unwrap()
    }
}

impl Source for IdleNetworks {
    fn name(&self) -> &'static str {
        "tensorrt"
    }

    fn load(&mut self, _padded: (usize, usize)) -> Result<Loaded> {
        if let Some(recorder) = &self.recorder {
            recorder.load_networks();
        }
        let context = |which: Subnetwork| {
            Box::new(IdleNetwork {
                which,
                shapes: HashMap::new(),
                addresses: HashMap::new(),
                lent: (0, 0),
                itself: self.recorder.as_ref().map_or(0, Recorder::add_network),
                recorder: self.recorder.clone(),
                refusal: self.refusal.clone().filter(|refusal| refusal.which == which),
                calls: HashMap::new(),
            }) as Box<dyn Inference>
        };
        Ok(Loaded {
            contexts: Subnetwork::ALL.map(context).into(),
            precisions: self.precisions,
        })
    }
}

struct IdleNetwork {
    which: Subnetwork,
    shapes: HashMap<&'static str, [usize; 4]>,
    addresses: HashMap<&'static str, u64>,
    /// The scratch memory: address and bytes.
    lent: (u64, usize),
    /// What stands for the network among the recorder's allocations.
    itself: u64,
    recorder: Option<Recorder>,
    refusal: Option<Refusal>,
    calls: HashMap<&'static str, usize>,
}

impl IdleNetwork {
    /// Counts a call, and refuses it if that is planned.
    fn answer(&mut self, call: &'static str) -> Result<()> {
        let count = self.calls.entry(call).or_default();
        *count += 1;
        match &self.refusal {
            Some(refusal) if refusal.call == call && refusal.times.contains(count) => {
                Err(Error::new(ErrorKind::BackendFailed, "as planned"))
            }
            _ => Ok(()),
        }
    }

    /// Illumination, which runs beside others, and Adjustment need different amounts.
    fn scratch(&self) -> usize {
        [1000, 0, 500, 2000][self.which as usize]
    }

    fn addresses(&self, ports: &[(&'static str, usize)]) -> Vec<u64> {
        let address = |(name, _): &(&'static str, usize)| {
            let address = self.addresses.get(name);
            *address.unwrap_or_else(|| panic!("{name} of {} has no address", self.which.name()))
        };
        ports.iter().map(address).collect()
    }
}

impl Inference for IdleNetwork {
    fn shape(&mut self, name: &'static str, shape: [usize; 4]) -> Result<()> {
        self.answer("shape")?;
        self.shapes.insert(name, shape);
        Ok(())
    }

    fn address(&mut self, name: &'static str, address: u64) -> Result<()> {
        self.answer("address")?;
        assert_eq!(address % 256, 0, "{name}");
        self.addresses.insert(name, address);
        Ok(())
    }

    fn scratch_bytes(&mut self) -> Result<usize> {
        self.answer("scratch_bytes")?;
        assert_eq!(self.shapes.len(), self.which.inputs().len(), "shapes come first");
        Ok(self.scratch())
    }

    unsafe fn lend(&mut self, address: u64, bytes: usize) -> Result<()> {
        self.answer("lend")?;
        assert!(address.is_multiple_of(256) && bytes >= self.scratch());
        self.lent = (address, bytes);
        Ok(())
    }

    unsafe fn enqueue(&mut self, stream: StreamHandle) -> Result<()> {
        self.answer("enqueue")?;
        let mut reads = self.addresses(self.which.inputs());
        let mut writes = self.addresses(self.which.outputs());
        assert!(self.lent.0 != 0, "{} has no scratch memory", self.which.name());
        reads.push(self.itself);
        writes.push(self.lent.0);
        if let Some(recorder) = &self.recorder {
            recorder.enqueue(self.which.name(), stream, Uses::new(reads, writes));
        }
        Ok(())
    }
}

impl Drop for IdleNetwork {
    fn drop(&mut self) {
        if let Some(recorder) = &self.recorder {
            recorder.drop_network(self.itself);
        }
    }
}
