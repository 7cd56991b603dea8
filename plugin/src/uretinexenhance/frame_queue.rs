//! The frames inside the element, and how long they stay.
//!
//! Where the enhancer works on several frames of system memory at once, the next frame is submitted before the last
//! one is collected: each frame then stays until the next one comes. Whatever else comes gives out those that stay
//! first: an event, a query that waits its turn, a frame that is not worked on, a frame marked as discontinuous. A
//! flush drops them.

use std::collections::VecDeque;

use uretinex::Report;

use super::caps::VideoStream;
use super::finish::Finish;

/// A frame that has come in and not gone out.
pub(super) enum QueuedFrame {
    /// The enhancer works on it. The input goes out in its place if that fails.
    Submitted { input: gst::Buffer, finish: Finish },
    /// It is enhanced.
    Enhanced { output: gst::Buffer, report: Report },
    /// It goes out as it came.
    Untouched(gst::Buffer),
}

/// The frames inside the element, oldest first.
pub(super) struct FrameQueue {
    frames: VecDeque<QueuedFrame>,
    /// Property `frames-in-flight`.
    limit: u32,
    /// How many submitted frames may stay until the next one comes.
    stay: usize,
}

impl FrameQueue {
    /// None yet; `limit` is the property `frames-in-flight`.
    pub fn new(limit: u32) -> Self {
        Self {
            frames: VecDeque::with_capacity(4),
            limit,
            stay: 0,
        }
    }

    /// How many frames of `stream` stay until the next one comes, with an enhancer that takes `depth` at once. None
    /// if the caps do not tell the frame rate: the latency would be unknown.
    pub fn frames_held(&self, depth: usize, stream: &VideoStream, live: bool) -> usize {
        let most = match self.limit {
            0 if live => 1,
            0 => depth,
            limit => depth.min(limit as usize),
        };
        match stream.frame_time() {
            Some(_) if !stream.in_cuda_memory => most.saturating_sub(1),
            _ => 0,
        }
    }

    /// Sets how many submitted frames may stay until the next one comes.
    pub fn set_stay(&mut self, frames: usize) {
        self.stay = frames;
    }

    /// Adds the latest frame.
    pub fn push(&mut self, frame: QueuedFrame) {
        self.frames.push_back(frame);
    }

    /// Frames that the enhancer works on.
    pub fn submitted(&self) -> usize {
        let is = |f: &&QueuedFrame| matches!(f, QueuedFrame::Submitted { .. });
        self.frames.iter().filter(is).count()
    }

    /// The oldest frame.
    pub fn pop(&mut self) -> Option<QueuedFrame> {
        self.frames.pop_front()
    }

    /// The oldest frame if its turn has come; frames stay only behind others that are submitted.
    pub fn pop_due(&mut self) -> Option<QueuedFrame> {
        let stay = match self.frames.back()? {
            QueuedFrame::Submitted { .. } => self.stay,
            _ => 0,
        };
        (self.frames.len() > stay).then(|| self.frames.pop_front())?
    }

    /// Drops all frames.
    pub fn clear(&mut self) {
        self.frames.clear();
    }

    /// Frames inside.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.frames.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_many_frames_stay() {
        gst::init().unwrap();
        let caps = |rate: i32, memory: &str| -> gst::Caps {
            let text = format!("video/x-raw{memory}, format=NV12, width=16, height=16, framerate={rate}/1");
            text.parse().unwrap()
        };
        let (system, cuda) = ("", "(memory:CUDAMemory)");
        for (limit, depth, live, caps, expected) in [
            (0, 2, false, caps(25, system), 1),
            (0, 2, true, caps(25, system), 0),
            (1, 2, false, caps(25, system), 0),
            (2, 2, false, caps(25, system), 1),
            (2, 2, true, caps(25, system), 1),
            (0, 1, false, caps(25, system), 0),
            (2, 1, false, caps(25, system), 0),
            (0, 2, false, caps(0, system), 0),
            (2, 2, true, caps(0, system), 0),
            (2, 2, false, caps(25, cuda), 0),
        ] {
            let stream = VideoStream::new(&caps, || None).unwrap();
            let stay = FrameQueue::new(limit).frames_held(depth, &stream, live);
            assert_eq!(stay, expected, "limit {limit}, depth {depth}, live {live}, {caps}");
        }
    }

    #[test]
    fn frames_leave_in_their_order_and_stay_only_behind_submitted_ones() {
        gst::init().unwrap();
        let time = |n| gst::ClockTime::from_mseconds(n);
        let buffer = |n| {
            let mut buffer = gst::Buffer::new();
            buffer.get_mut().unwrap().set_pts(time(n));
            buffer
        };
        let submitted = |n| QueuedFrame::Submitted {
            input: buffer(n),
            finish: Finish::default(),
        };
        let mut queue = FrameQueue::new(2);
        let pts = |frame: Option<QueuedFrame>| match frame? {
            QueuedFrame::Submitted { input: buffer, .. }
            | QueuedFrame::Enhanced { output: buffer, .. }
            | QueuedFrame::Untouched(buffer) => buffer.pts(),
        };
        queue.set_stay(1);
        queue.push(submitted(0));
        assert_eq!((pts(queue.pop_due()), queue.submitted()), (None, 1));
        queue.push(submitted(1));
        assert_eq!((pts(queue.pop_due()), queue.submitted()), (Some(time(0)), 1));
        queue.push(QueuedFrame::Untouched(buffer(2)));
        assert_eq!(pts(queue.pop_due()), Some(time(1)));
        assert_eq!(pts(queue.pop_due()), Some(time(2)));
        assert_eq!((pts(queue.pop_due()), queue.len()), (None, 0));
        queue.push(submitted(3));
        assert_eq!(pts(queue.pop()), Some(time(3)), "before whatever else comes");
    }
}
