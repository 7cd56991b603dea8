//! Times of stages by events, for when they are run one by one.

use std::time::Duration;

use crate::error::Result;
use crate::gpu::driver::{Event, Stream};
use crate::stages::Stage;

/// Spans of stages since they were last asked for.
#[derive(Default)]
pub(crate) struct Timings {
    spans: Vec<(Stage, Event, Event)>,
    pub used: usize,
}

impl Timings {
    /// Marks where a stage begins; gives the number for [`end`](Self::end).
    pub fn start(&mut self, stage: Stage, stream: &Stream) -> Result<usize> {
        if self.used == self.spans.len() {
            let event = || Event::new(stream.device(), true);
            self.spans.push((stage, event()?, event()?));
        }
        let number = self.used;
        self.used += 1;
        self.spans[number].0 = stage;
        self.spans[number].1.record(stream)?;
        Ok(number)
    }

    pub fn end(&self, number: usize, stream: &Stream) -> Result<()> {
        self.spans[number].2.record(stream)
    }

    /// The sum for each stage since the last call; all of it has happened.
    pub fn take(&mut self) -> Result<[Duration; Stage::ALL.len()]> {
        let mut times = [Duration::ZERO; Stage::ALL.len()];
        for (stage, start, end) in &self.spans[..std::mem::take(&mut self.used)] {
            times[*stage as usize] += Duration::from_secs_f32(end.since(start)?.max(0.0) * 1e-3);
        }
        Ok(times)
    }
}
