//! A sign of life on standard error while something takes long.

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use indicatif::ProgressBar;

/// A line that turns until it is dropped. Where there is no thread for it, it stands still.
pub struct Spinner {
    bar: ProgressBar,
    turning: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Spinner {
    pub fn new(message: String) -> Self {
        let bar = ProgressBar::new_spinner().with_message(message);
        bar.tick();
        let turning = if bar.is_hidden() { None } else { turn(bar.clone()) };
        Self { bar, turning }
    }

    pub fn say(&self, message: String) {
        self.bar.set_message(message);
    }
}

fn turn(bar: ProgressBar) -> Option<(Sender<()>, JoinHandle<()>)> {
    let (stop, stopped) = mpsc::channel();
    let thread = thread::Builder::new().name("uretinex-progress".into()).spawn(move || {
        while stopped.recv_timeout(Duration::from_millis(100)) == Err(RecvTimeoutError::Timeout) {
            bar.tick();
        }
    });
    thread.ok().map(|thread| (stop, thread))
}

impl Drop for Spinner {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.turning.take() {
            drop(stop);
            let _ = thread.join();
        }
        self.bar.finish_and_clear();
    }
}
