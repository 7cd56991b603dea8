//! Everything of one frame size on a GPU that frames share: the planes, the networks bound to them, and how a step is put
//! on its stream.
#![allow(unsafe_code)]

use std::sync::Arc;

use crate::backend::Geometry;
use crate::error::Result;
use crate::gpu::driver::{Buffer, Device, Entered, Event, Stream};
use crate::gpu::kernels::{Compose, Fusion, Ingest, Launch, Parts, Settings, Storage, Update};
use crate::gpu::networks::{Inference, Source, index};
use crate::gpu::pipeline::thumbnail::Thumbnail;
use crate::pack::{Precisions, Subnetwork};
use crate::stages::Step;

/// The streams of a backend.
pub(crate) struct Streams {
    pub upload: Arc<Stream>,
    pub compute: Arc<Stream>,
    /// For Illumination, which runs beside Restoration.
    pub side: Arc<Stream>,
    pub download: Arc<Stream>,
}

impl Streams {
    /// # Errors
    /// If the device gives no streams.
    pub fn new(device: &Arc<dyn Device>) -> Result<Self> {
        Ok(Self {
            upload: Stream::new(device)?,
            compute: Stream::new(device)?,
            side: Stream::new(device)?,
            download: Stream::new(device)?,
        })
    }

    /// Waits until the device has done everything that was issued on all streams. To be called before an error leaves
    /// memory to its owner that the device may still read or write. If the device fails here, it does nothing any more.
    pub fn drain(&self) {
        for stream in [&self.upload, &self.compute, &self.side, &self.download] {
            if let Err(error) = stream.drain() {
                log::debug!("waiting for the GPU after an error: {error}");
            }
        }
    }
}

/// The planes, the networks and the block of settings of one frame size.
pub(crate) struct Workspace {
    /// The name of the backend.
    pub backend: &'static str,
    pub geometry: Geometry,
    pub storage: Storage,
    /// The number format of each subnetwork's arithmetic.
    pub precisions: Precisions,
    networks: Networks,
    pub planes: PlaneBuffers,
    pub settings: Buffer,
    q_ready: Event,
    l_ready: Event,
    device: Arc<dyn Device>,
}

/// The tensors between the networks, each `[channels, h, w]` of the padded size.
pub(crate) struct PlaneBuffers {
    /// I, 32 bits.
    pub image: Buffer,
    /// I in the networks' type, where that is another.
    pub image_half: Option<Buffer>,
    pub p: Buffer,
    pub q: Buffer,
    pub r: Buffer,
    pub l: Buffer,
    pub adjusted: Buffer,
    /// The guided filter's, where the networks see a reduced copy.
    pub guide: Option<Buffer>,
    /// The memory of the stream's picture, and what fusing takes.
    pub fusion: Parts<Buffer>,
}

/// The four contexts and the memory that they work in: one piece for those that follow each other, one for
/// Illumination, which runs beside Restoration.
pub(crate) struct Networks {
    contexts: Vec<Box<dyn Inference>>,
    scratch: Vec<Buffer>,
    device: Arc<dyn Device>,
}

impl Drop for Networks {
    fn drop(&mut self) {
        // Contexts go with their GPU current.
        let _entered = Entered::new(&self.device);
        self.contexts.clear();
    }
}

impl Workspace {
    /// Loads the networks, allocates the planes, binds them, and runs each network once.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfMemory`](crate::ErrorKind::OutOfMemory), and those of the networks.
    pub fn new(
        geometry: &Geometry,
        source: &mut dyn Source,
        streams: &Streams,
        device: &Arc<dyn Device>,
    ) -> Result<Self> {
        let loaded = source.load(geometry.padded)?;
        let (storage, precisions) = (loaded.storage(), loaded.precisions);
        let compute = &streams.compute;
        let pixels = geometry.padded.0 * geometry.padded.1;
        let plane = |channels: usize| Buffer::new(compute, channels * pixels * storage.bytes());
        let guide = Compose::scratch_bytes(geometry);
        let planes = PlaneBuffers {
            image: Buffer::new(compute, 3 * pixels * Storage::F32.bytes())?,
            image_half: match storage {
                Storage::F32 => None,
                Storage::F16 => Some(plane(3)?),
            },
            p: plane(3)?,
            q: plane(1)?,
            r: plane(3)?,
            l: plane(1)?,
            adjusted: plane(1)?,
            guide: match guide {
                0 => None,
                bytes => Some(Buffer::new(compute, bytes)?),
            },
            fusion: Parts::bytes(geometry.padded).try_map(|bytes| Buffer::new(compute, bytes))?,
        };
        let mut workspace = Self {
            backend: source.name(),
            geometry: *geometry,
            storage,
            precisions,
            networks: Networks {
                contexts: loaded.contexts,
                scratch: Vec::new(),
                device: device.clone(),
            },
            settings: Buffer::new(compute, size_of::<Settings>())?,
            q_ready: Event::new(device, false)?,
            l_ready: Event::new(device, false)?,
            planes,
            device: device.clone(),
        };
        workspace.bind()?;
        workspace.lend(compute)?;
        // TensorRT does the rest of its set-up at the first run of a size, which is not allowed inside a capture.
        // Each on the stream that it will be captured on.
        let side = &streams.side;
        for (stream, beside) in [(compute, false), (side, true)] {
            let mut networks = Subnetwork::ALL
                .into_iter()
                .filter(|which| (*which == Subnetwork::Illumination) == beside);
            let issued = networks.try_for_each(|which| workspace.enqueue(which, stream));
            // Also before an error drops the contexts, as what was issued may still run.
            stream.drain().and(issued)?;
        }
        Ok(workspace)
    }

    /// Where a tensor of a subnetwork is.
    fn tensor(&self, name: &str) -> u64 {
        let planes = &self.planes;
        match name {
            "image" => planes.image_half.as_ref().unwrap_or(&planes.image).address(),
            "p" => planes.p.address(),
            "q" => planes.q.address(),
            "r" => planes.r.address(),
            "l" => planes.l.address(),
            "l_adjusted" => planes.adjusted.address(),
            // The block of settings begins with it.
            _ => self.settings.address(),
        }
    }

    /// Shapes and addresses of all tensors, once for the size.
    fn bind(&mut self) -> Result<()> {
        let (width, height) = self.geometry.padded;
        for which in Subnetwork::ALL {
            for &(name, channels) in which.inputs() {
                let shape = match name {
                    "ratio" => [1, 1, 1, 1],
                    _ => [1, channels, height, width],
                };
                self.networks.contexts[index(which)].shape(name, shape)?;
            }
            for &(name, _) in which.inputs().iter().chain(which.outputs()) {
                let address = self.tensor(name);
                self.networks.contexts[index(which)].address(name, address)?;
            }
        }
        Ok(())
    }

    /// Memory for the networks to work in.
    fn lend(&mut self, compute: &Arc<Stream>) -> Result<()> {
        let mut needed = [0; 4];
        for which in Subnetwork::ALL {
            needed[index(which)] = self.networks.contexts[index(which)].scratch_bytes()?;
        }
        let beside = needed[index(Subnetwork::Illumination)];
        let others = Subnetwork::ALL.into_iter().filter(|w| *w != Subnetwork::Illumination);
        let in_turn = others.map(|w| needed[index(w)]).max().unwrap_or(0);
        // A context that needs none still wants an address.
        for bytes in [in_turn, beside] {
            self.networks.scratch.push(Buffer::new(compute, bytes.max(256))?);
        }
        for which in Subnetwork::ALL {
            let scratch = &self.networks.scratch[usize::from(which == Subnetwork::Illumination)];
            // SAFETY: `Networks` owns both; users of one piece follow each other on one stream.
            unsafe { self.networks.contexts[index(which)].lend(scratch.address(), scratch.bytes())? };
        }
        Ok(())
    }

    /// Runs a subnetwork.
    fn enqueue(&mut self, which: Subnetwork, stream: &Stream) -> Result<()> {
        // SAFETY: `bind` has given it every tensor, in buffers of the padded size that `self` owns.
        unsafe { self.networks.contexts[index(which)].enqueue(stream.handle()) }
    }

    /// Runs kernels one after the other.
    fn launch(&self, launches: &[Launch], stream: &Stream) -> Result<()> {
        for launch in launches {
            // SAFETY: made by the launchers, for buffers of the geometry they are told that `self` or the caller owns.
            unsafe { self.device.launch(stream.handle(), launch)? };
        }
        Ok(())
    }

    /// Fills a thumbnail from the frame that the block of settings names. Adds to the sums in the block, which have been
    /// sent back.
    pub fn launch_thumbnail(&self, thumbnail: &Thumbnail, alignment: u32, stream: &Stream) -> Result<()> {
        let ingest = Ingest {
            settings: self.settings.address(),
            image: thumbnail.image.address(),
            image_half: 0,
        };
        self.launch(&[ingest.launch(&thumbnail.geometry, alignment)], stream)
    }

    pub fn launch_ingest(&self, alignment: u32, stream: &Stream) -> Result<()> {
        let planes = &self.planes;
        let image_half = planes.image_half.as_ref().map_or(0, Buffer::address);
        let ingest = Ingest {
            settings: self.settings.address(),
            image: planes.image.address(),
            image_half,
        };
        self.launch(&[ingest.launch(&self.geometry, alignment)], stream)
    }

    fn launch_update(&self, gamma: f32, lambda: f32, stream: &Stream) -> Result<()> {
        let planes = &self.planes;
        let update = Update {
            image: planes.image.address(),
            r: planes.r.address(),
            l: planes.l.address(),
            p: planes.p.address(),
            q: planes.q.address(),
        };
        let pixels = self.geometry.padded.0 * self.geometry.padded.1;
        self.launch(&[update.launch(self.storage, pixels, gamma, lambda)], stream)
    }

    fn launch_fusion(&self, stream: &Stream) -> Result<()> {
        let planes = &self.planes;
        let fusion = Fusion {
            settings: self.settings.address(),
            image: planes.image.address(),
            image_half: planes.image_half.as_ref().map_or(0, Buffer::address),
            parts: planes.fusion.each_ref().map(Buffer::address),
        };
        self.launch(&fusion.launches(self.geometry.padded), stream)
    }

    pub fn launch_compose(&self, alignment: u32, stream: &Stream) -> Result<()> {
        let planes = &self.planes;
        let compose = Compose {
            settings: self.settings.address(),
            image: planes.image.address(),
            r: planes.r.address(),
            adjusted: planes.adjusted.address(),
            scratch: planes.guide.as_ref().map_or(0, Buffer::address),
        };
        self.launch(&compose.launches(self.storage, &self.geometry, alignment), stream)
    }

    /// Puts a step on its stream. Illumination runs beside Restoration unless it is to run `alone`, for its time.
    pub fn issue(&mut self, step: Step, streams: &Streams, alone: bool) -> Result<()> {
        let compute = &streams.compute;
        match step {
            Step::Fuse => self.launch_fusion(compute),
            Step::Decompose => {
                self.enqueue(Subnetwork::Decomposition, compute)?;
                self.q_ready.record(compute)
            }
            Step::Update { gamma, lambda } => {
                self.launch_update(gamma, lambda, compute)?;
                self.q_ready.record(compute)
            }
            Step::Restore => self.enqueue(Subnetwork::Restoration, compute),
            Step::Illuminate if alone => self.enqueue(Subnetwork::Illumination, compute),
            Step::Illuminate => {
                streams.side.wait(&self.q_ready)?;
                self.enqueue(Subnetwork::Illumination, &streams.side)?;
                self.l_ready.record(&streams.side)?;
                compute.wait(&self.l_ready)
            }
            Step::Adjust => self.enqueue(Subnetwork::Adjustment, compute),
            Step::Round => Step::OF_ROUND
                .into_iter()
                .try_for_each(|step| self.issue(step, streams, alone)),
        }
    }
}
