//! A camera: calls it, watches the call, and calls again when it has ended. Each has a thread of its own, so that one
//! that hangs keeps no other from its work.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use gst::prelude::*;
use serde::Serialize;

use crate::backoff::{self, Backoff};
use crate::capture::{Call, Tally, is_refusal, is_unusable};
use crate::config::{self, Source};
use crate::figures::{Figures, Totals};
use crate::live::Live;
use crate::relay::Relay;

/// How often a call is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// A first frame may take so long, whatever `silence` says.
const FIRST_FRAME: Duration = Duration::from_secs(15);

/// How a camera is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It is being called.
    Calling,
    /// Frames come.
    Live,
    /// It does not answer, or has stopped to send.
    Lost,
    /// It refuses user and password.
    Refused,
    /// What it sends cannot be used.
    Unusable,
}

/// How a camera is, and why.
#[derive(Debug, Clone)]
pub struct Status {
    pub state: State,
    pub since: SystemTime,
    /// The latest trouble; kept when it is over.
    pub message: Option<String>,
    pub next_call: Option<SystemTime>,
    /// Whether the first call has come to something, good or bad.
    pub tried: bool,
    pub video: Option<String>,
    pub audio: Option<&'static str>,
    /// Audio that is not passed on.
    pub audio_left_out: Option<String>,
}

enum Order {
    Stop,
    CallNow,
}

/// What all who deal with a camera share.
pub struct Camera {
    pub name: String,
    pub source: Source,
    pub relay: Arc<Relay>,
    pub tally: Arc<Tally>,
    pub reconnects: AtomicU64,
    live: Mutex<Live>,
    status: Mutex<Status>,
    /// The element of the call that is under way.
    enhancer: Mutex<Option<gst::Element>>,
    totals: Mutex<Totals>,
    /// When the thread last looked after the camera.
    looked: Mutex<Instant>,
    orders: Mutex<Sender<Order>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Camera {
    /// Begins to call a camera.
    pub fn start(name: &str, config: &config::Camera) -> Result<(Arc<Self>, JoinHandle<()>), String> {
        let (sender, receiver) = channel();
        let camera = Arc::new(Self {
            name: name.to_owned(),
            source: config.source.clone(),
            relay: Arc::default(),
            tally: Arc::default(),
            reconnects: AtomicU64::new(0),
            live: Mutex::new(config.live.clone()),
            status: Mutex::new(Status {
                state: State::Calling,
                since: SystemTime::now(),
                message: None,
                next_call: None,
                tried: false,
                video: None,
                audio: None,
                audio_left_out: None,
            }),
            enhancer: Mutex::new(None),
            totals: Mutex::default(),
            looked: Mutex::new(Instant::now()),
            orders: Mutex::new(sender),
        });
        let run = camera.clone();
        let thread = std::thread::Builder::new()
            .name(format!("camera {name}"))
            .spawn(move || run.run(&receiver))
            .map_err(|e| format!("camera {name}: no thread: {e}"))?;
        Ok((camera, thread))
    }

    /// Ends the calls; the thread ends soon after.
    pub fn stop(&self) {
        let _ = lock(&self.orders).send(Order::Stop);
    }

    /// Calls the camera at once if it is waiting to be called.
    pub fn call_now(&self) {
        let _ = lock(&self.orders).send(Order::CallNow);
    }

    /// The settings.
    pub fn live(&self) -> Live {
        lock(&self.live).clone()
    }

    /// Takes other settings, at once.
    pub fn set_live(&self, live: Live) {
        let mut own = lock(&self.live);
        if let Some(enhancer) = &*lock(&self.enhancer) {
            live.apply(enhancer);
        }
        *own = live;
    }

    pub fn status(&self) -> Status {
        lock(&self.status).clone()
    }

    /// How long ago the thread last looked after the camera: much more than a second means that it hangs.
    pub fn unattended(&self) -> Duration {
        lock(&self.looked).elapsed()
    }

    /// Counts of all calls, and figures of the one that is under way.
    pub fn figures(&self) -> Figures {
        // The order is that of the end of a call: nothing is counted twice.
        let enhancer = lock(&self.enhancer);
        let stats = enhancer
            .as_ref()
            .map(|enhancer| enhancer.property::<gst::Structure>("stats"));
        Figures::of(stats.as_deref(), &lock(&self.totals), &self.tally)
    }

    fn run(&self, orders: &Receiver<Order>) {
        let mut backoff = Backoff::default();
        let started = Instant::now();
        let mut with_audio = self.source.audio;
        loop {
            self.note(State::Calling, None, None);
            let ended =
                catch_unwind(AssertUnwindSafe(|| self.call(orders, with_audio, &mut backoff))).unwrap_or_else(|_| {
                    Ended::Lost("the call failed in a way that was not foreseen; please report it".into())
                });
            let (state, message, wait) = match ended {
                Ended::Stopped => break,
                Ended::Audio(message) => {
                    with_audio = false;
                    (
                        State::Lost,
                        format!("audio is left out: {message}"),
                        Duration::from_secs(1),
                    )
                }
                Ended::Lost(message) => (State::Lost, message, backoff.wait(started.elapsed())),
                Ended::Refused(message) => (
                    State::Refused,
                    format!(
                        "it refuses user and password ({message}); put the right ones into the configuration; it is not \
                         called more often, since cameras lock out who tries too often"
                    ),
                    backoff::REFUSED,
                ),
                Ended::Unusable(message) => (
                    State::Unusable,
                    format!("its video cannot be used: {message}; choose another format in the camera's settings"),
                    backoff::UNUSABLE,
                ),
            };
            log::warn!(
                "camera {}: {message}; calling it again in {} s",
                self.name,
                wait.as_secs()
            );
            self.note(state, Some(message), Some(SystemTime::now() + wait));
            if !self.wait(orders, wait) {
                break;
            }
            self.reconnects.fetch_add(1, Ordering::Relaxed);
        }
        self.relay.end();
    }

    /// Waits to call again; false if the camera is to be called no more.
    fn wait(&self, orders: &Receiver<Order>, wait: Duration) -> bool {
        let end = Instant::now() + wait;
        loop {
            *lock(&self.looked) = Instant::now();
            let left = end.saturating_duration_since(Instant::now());
            match orders.recv_timeout(left.min(Duration::from_secs(1))) {
                Ok(Order::CallNow) => return true,
                Ok(Order::Stop) | Err(RecvTimeoutError::Disconnected) => return false,
                Err(RecvTimeoutError::Timeout) if left.is_zero() => return true,
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    fn note(&self, state: State, message: Option<String>, next_call: Option<SystemTime>) {
        let mut status = lock(&self.status);
        if status.state != state {
            status.state = state;
            status.since = SystemTime::now();
        }
        status.tried |= state != State::Calling;
        status.message = message.or_else(|| status.message.take());
        status.next_call = next_call;
    }

    /// One call, until it ends.
    fn call(&self, orders: &Receiver<Order>, with_audio: bool, backoff: &mut Backoff) -> Ended {
        let call = match Call::new(&self.source, &self.live(), with_audio, &self.relay, &self.tally) {
            Ok(call) => call,
            Err(message) => return Ended::Lost(message),
        };
        {
            // Settings may have changed since they were read.
            let live = lock(&self.live);
            live.apply(&call.enhancer);
            *lock(&self.enhancer) = Some(call.enhancer.clone());
        }
        let ended = self.watch(&call, orders, backoff);
        {
            let mut enhancer = lock(&self.enhancer);
            lock(&self.totals).add(&call.enhancer.property::<gst::Structure>("stats"));
            *enhancer = None;
        }
        *lock(&self.looked) = Instant::now();
        let _ = call.pipeline.set_state(gst::State::Null);
        ended
    }

    fn watch(&self, call: &Call, orders: &Receiver<Order>, backoff: &mut Backoff) -> Ended {
        let Some(bus) = call.pipeline.bus() else {
            return Ended::Lost("a pipeline without bus".into());
        };
        let started = Instant::now();
        let failed = call.pipeline.set_state(gst::State::Playing).is_err();
        let mut live = false;
        // What the element says of frames that it does not take.
        let mut declined = None;
        loop {
            *lock(&self.looked) = Instant::now();
            match orders.try_recv() {
                Ok(Order::Stop) | Err(TryRecvError::Disconnected) => return Ended::Stopped,
                Ok(Order::CallNow) | Err(TryRecvError::Empty) => {}
            }
            if !live && call.sends.load(Ordering::Acquire) {
                live = true;
                backoff.reset();
                self.came(call);
            }
            let Some(message) = bus.timed_pop(gst::ClockTime::from_mseconds(LOOK.as_millis() as u64)) else {
                let last = self.tally.last_frame().filter(|_| live).unwrap_or(started);
                let most = if live {
                    self.source.silence
                } else {
                    self.source.silence.max(FIRST_FRAME)
                };
                if failed {
                    return Ended::Lost("it could not be called".into());
                }
                if last.elapsed() > most {
                    return Ended::Lost(format!("no frame for {} s", most.as_secs()));
                }
                continue;
            };
            match message.view() {
                gst::MessageView::Error(error) => {
                    let (text, debug) = (error.error(), error.debug());
                    let message = self.source.without_path(text.message());
                    if error.src().is_some_and(|source| call.is_audio(source)) {
                        return Ended::Audio(message);
                    }
                    if is_refusal(&text) {
                        return Ended::Refused(message);
                    }
                    if let Some(why) = declined.take().filter(|_| !live) {
                        return Ended::Unusable(why);
                    }
                    return match is_unusable(&text, debug.as_deref()) {
                        true => Ended::Unusable(message),
                        false => Ended::Lost(message),
                    };
                }
                gst::MessageView::Eos(_) => return Ended::Lost("end of stream".into()),
                gst::MessageView::Latency(_) => {
                    let _ = call.pipeline.recalculate_latency();
                }
                gst::MessageView::Warning(warning) if warning.src() == Some(call.enhancer.upcast_ref()) => {
                    let text = warning.error().message().to_owned();
                    log::warn!("camera {}: {text}", self.name);
                    declined = Some(text);
                }
                gst::MessageView::Element(element) if element.src() == Some(call.enhancer.upcast_ref()) => {
                    self.tell(element.structure());
                }
                _ => {}
            }
        }
    }

    /// The first frame of a call is here.
    fn came(&self, call: &Call) {
        let (video, audio, left_out) = call.streams();
        let sound = match (&audio, &left_out) {
            (Some(audio), _) => format!(", audio {audio}"),
            (None, Some(name)) => format!(", audio {name} is left out: it cannot be passed on"),
            (None, None) => String::new(),
        };
        log::info!(
            "camera {}: it is here: {}{sound}",
            self.name,
            video.as_deref().unwrap_or("video")
        );
        // Who decides about latency asks once before there are streams.
        let _ = call.pipeline.recalculate_latency();
        self.note(State::Live, None, None);
        let mut status = lock(&self.status);
        (status.video, status.audio, status.audio_left_out) = (video, audio, left_out);
    }

    fn tell(&self, structure: Option<&gst::StructureRef>) {
        let Some(structure) = structure else {
            return;
        };
        match structure.name().as_str() {
            "uretinexenhance-light" => {
                let light = structure.get::<&str>("light").unwrap_or_default();
                log::info!("camera {}: it is {light}", self.name);
            }
            "uretinexenhance-rung" => {
                let rung = structure.get::<u32>("rung").unwrap_or_default();
                log::info!("camera {}: frames are made on rung {rung} of 3", self.name);
            }
            _ => {}
        }
    }
}

/// How a call ended.
enum Ended {
    Stopped,
    Lost(String),
    Refused(String),
    Unusable(String),
    Audio(String),
}
