//! Cameras, viewers, and the program between them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gst::glib;
use gst::prelude::*;
use serde_json::Value;

/// For each step; a busy machine is slow.
const PATIENCE: Duration = Duration::from_secs(120);
/// The scenes' mean is below this, on a scale to 255.
pub const DARK: u64 = 45;

/// Whether `pattern` is somewhere in `text`.
pub fn matches(text: &str, pattern: &str) -> bool {
    let regex = glib::Regex::new(
        pattern,
        glib::RegexCompileFlags::OPTIMIZE,
        glib::RegexMatchFlags::DEFAULT,
    );
    let regex = regex.unwrap().expect("a pattern");
    let text = glib::GString::from(text);
    regex
        .match_(text.as_gstr(), glib::RegexMatchFlags::DEFAULT)
        .is_ok_and(|found| found.matches())
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A program's lines, and those that have been read.
struct Lines {
    receiver: Receiver<String>,
    seen: std::sync::Mutex<Vec<String>>,
}

impl Lines {
    fn of(output: impl Read + Send + 'static) -> Self {
        let (sender, receiver) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self {
            receiver,
            seen: Default::default(),
        }
    }

    /// Waits for a line; none if the program ends before.
    fn wait_for(&self, pattern: &str) -> Option<String> {
        let end = Instant::now() + PATIENCE;
        while let Ok(line) = self
            .receiver
            .recv_timeout(end.saturating_duration_since(Instant::now()))
        {
            self.seen.lock().unwrap().push(line.clone());
            if matches(&line, pattern) {
                return Some(line);
            }
        }
        None
    }

    /// All that has been said; to its end, where the program has ended.
    fn all(&self) -> String {
        let mut seen = self.seen.lock().unwrap();
        while let Ok(line) = self.receiver.recv_timeout(Duration::from_secs(1)) {
            seen.push(line);
        }
        seen.join("\n")
    }
}

/// A camera of `cameras.py`.
pub struct Camera {
    process: Child,
    pub scene: String,
    pub url: String,
    pub port: u16,
}

impl Camera {
    /// A camera at a free port; none, which is said, where Python has no GStreamer.
    pub fn start(scene: &str) -> Option<Self> {
        let here = Command::new("/usr/bin/python3")
            .args(["-c", "import gi; gi.require_version('GstRtspServer', '1.0')"])
            .stderr(Stdio::null())
            .status();
        if !here.is_ok_and(|status| status.success()) {
            println!("SKIPPED: no cameras: apt-get install python3-gi gir1.2-gst-rtsp-server-1.0");
            return None;
        }
        Some(Self::start_at(scene, free_port()))
    }

    pub fn start_at(scene: &str, port: u16) -> Self {
        let mut process = Command::new("/usr/bin/python3")
            .args([
                "-B",
                concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cameras.py"),
                scene,
                &port.to_string(),
            ])
            .env("CHANGE", "2")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = Lines::of(process.stdout.take().unwrap());
        lines.wait_for("serving").expect("a camera that serves");
        Self {
            process,
            scene: scene.to_owned(),
            url: format!("rtsp://127.0.0.1:{port}/{scene}"),
            port,
        }
    }
}

impl Drop for Camera {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A file for a configuration.
fn file() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{number}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder.join("service.toml")
}

/// What stands in for systemd: what it is told, and its address.
pub fn manager() -> (Receiver<String>, String) {
    let path = file().with_file_name("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    let (sender, receiver) = channel();
    // Read at once: who tells it waits while it has too much to read.
    std::thread::spawn(move || {
        let mut bytes = [0; 256];
        while let Ok(length) = socket.recv(&mut bytes) {
            if sender
                .send(String::from_utf8_lossy(&bytes[..length]).into_owned())
                .is_err()
            {
                break;
            }
        }
    });
    (receiver, path.to_str().unwrap().to_owned())
}

/// Waits until the manager has been told that.
pub fn told(manager: &Receiver<String>, what: &str) {
    let end = Instant::now() + PATIENCE;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let text = manager
            .recv_timeout(left)
            .unwrap_or_else(|e| panic!("{what} is not told: {e}"));
        if text.lines().any(|line| line == what) {
            return;
        }
    }
}

fn program(file: &PathBuf) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_uretinex-service"));
    command
        .arg("--config")
        .arg(file)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Runs the program to its end, within `most`; its exit status and all that it says.
pub fn run(config: &str, arguments: &[&str], most: Duration) -> (Option<i32>, String) {
    let file = file();
    std::fs::write(&file, config).unwrap();
    let mut child = program(&file).args(arguments).spawn().unwrap();
    let end = Instant::now() + most;
    while child.try_wait().unwrap().is_none() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(20));
    }
    let _ = child.kill();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    (output.status.code(), text.into_owned())
}

/// The program at work.
pub struct Service {
    process: Child,
    lines: Lines,
    page: SocketAddr,
    streams: String,
    pub file: PathBuf,
}

const LISTEN: &str = "\n[http]\nlisten = '127.0.0.1:0'\ntoken-env = 'TOKEN'\n[rtsp]\nlisten = '127.0.0.1:0'\n";

impl Service {
    /// Starts it with these cameras, at free ports.
    pub fn start(config: &str, environment: &[(&str, &str)]) -> Self {
        Self::start_with(config, "", environment)
    }

    /// As [`start`](Self::start), with more lines in the table `[rtsp]`.
    pub fn start_with(config: &str, rtsp: &str, environment: &[(&str, &str)]) -> Self {
        let file = file();
        std::fs::write(&file, format!("{config}{LISTEN}{rtsp}")).unwrap();
        let mut process = program(&file).envs(environment.iter().copied()).spawn().unwrap();
        let lines = Lines::of(process.stderr.take().unwrap());
        let line = lines
            .wait_for("streams at")
            .unwrap_or_else(|| panic!("it ended: {}", lines.all()));
        let between = |start: &str, end: &str| line.split(start).nth(1).unwrap().split(end).next().unwrap().to_owned();
        Self {
            page: between("http://", "/").parse().unwrap(),
            streams: between("rtsp://", "/"),
            process,
            lines,
            file,
        }
    }

    pub fn stream(&self, name: &str) -> String {
        format!("rtsp://{}/{name}", self.streams)
    }

    /// Sends a request as it stands; the status and all of the answer.
    pub fn request(&self, method: &str, path: &str, headers: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.page).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let host = if headers.contains("Host:") {
            String::new()
        } else {
            format!("Host: {}\r\n", self.page)
        };
        let head = format!(
            "{method} {path} HTTP/1.1\r\n{host}{headers}Connection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        // The answer to what is too large may come before all is sent.
        let _ = stream
            .write_all(head.as_bytes())
            .and_then(|()| stream.write_all(body.as_bytes()));
        let mut bytes = vec![];
        let _ = stream.read_to_end(&mut bytes);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
        (status.unwrap_or_default(), text)
    }

    /// Opens so many connections at a time and sends nothing; how many of them are refused.
    pub fn connect(&self, count: usize) -> usize {
        // Those of requests before have to be gone.
        std::thread::sleep(Duration::from_millis(300));
        let streams: Vec<_> = (0..count).map(|_| TcpStream::connect(self.page).unwrap()).collect();
        std::thread::sleep(Duration::from_millis(1500));
        let refused = streams.iter().filter(|stream| {
            stream.set_nonblocking(true).unwrap();
            let mut bytes = [0; 64];
            let length = (&mut &**stream).read(&mut bytes).unwrap_or(0);
            bytes[..length].starts_with(b"HTTP/1.1 503")
        });
        refused.count()
    }

    pub fn get(&self, path: &str) -> (u16, String) {
        let (status, answer) = self.request("GET", path, "", "");
        (status, answer.split_once("\r\n\r\n").unwrap_or_default().1.to_owned())
    }

    pub fn wait(&self, path: &str, status: u16) {
        let end = Instant::now() + PATIENCE;
        while self.get(path).0 != status {
            assert!(Instant::now() < end, "{path} is not {status}: {:?}", self.get(path));
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// What is told of a camera.
    pub fn camera(&self, name: &str) -> Value {
        serde_json::from_str(&self.get(&format!("/api/cameras/{name}")).1).unwrap()
    }

    pub fn wait_for(&self, name: &str, what: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + PATIENCE;
        loop {
            let camera = self.camera(name);
            if what(&camera) {
                return camera;
            }
            assert!(Instant::now() < end, "not in {PATIENCE:?}: {camera}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([name, &self.process.id().to_string()])
            .status();
        assert!(sent.unwrap().success());
    }

    /// Has another configuration read, and waits for what is said of it.
    pub fn reload(&self, config: &str, pattern: &str) {
        std::fs::write(&self.file, format!("{config}{LISTEN}")).unwrap();
        self.signal("-HUP");
        assert!(
            self.lines.wait_for(pattern).is_some(),
            "no {pattern}: {}",
            self.lines.all()
        );
    }

    /// Has it end; the exit status and all that it has said.
    pub fn terminate(mut self) -> (Option<i32>, String) {
        self.signal("-TERM");
        let status = self.process.wait().unwrap().code();
        (status, self.lines.all())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// One who watches a stream, and listens where it has audio.
pub struct Viewer {
    pipeline: gst::Pipeline,
    key_frames: Arc<Mutex<KeyFrames>>,
}

#[derive(Default)]
struct KeyFrames {
    frames: usize,
    distances: Vec<usize>,
}

impl Viewer {
    pub fn start(url: &str, with_audio: bool) -> Self {
        gst::init().unwrap();
        let audio = match with_audio {
            true => "rtppcmadepay name=to_audio ! alawdec ! appsink name=audio sync=false wait-on-eos=false",
            false => "",
        };
        let launch = format!(
            "rtspsrc name=camera location={url} protocols=tcp latency=0 rtph264depay name=to_video ! h264parse name=parse \
             ! avdec_h264 ! videoconvert ! video/x-raw,format=GRAY8 \
             ! appsink name=video sync=false wait-on-eos=false max-buffers=2 drop=true {audio}"
        );
        let pipeline = gst::parse::launch(&launch)
            .unwrap()
            .downcast::<gst::Pipeline>()
            .unwrap();
        // Not in the description: two pads that come at the same time may disturb each other's links there, for good.
        let branches = pipeline.downgrade();
        let link = move |pad: &gst::Pad| -> Option<()> {
            let caps = pad.current_caps()?;
            let media = caps.structure(0)?.get::<&str>("media").ok()?;
            let branch = branches.upgrade()?.by_name(&format!("to_{media}"))?;
            pad.link(&branch.static_pad("sink")?).unwrap();
            None
        };
        pipeline.by_name("camera").unwrap().connect_pad_added(move |_, pad| {
            link(pad);
        });
        let key_frames: Arc<Mutex<KeyFrames>> = Arc::default();
        let (parse, seen) = (pipeline.by_name("parse").unwrap(), key_frames.clone());
        parse
            .static_pad("src")
            .unwrap()
            .add_probe(gst::PadProbeType::BUFFER, move |_, info| {
                let is_key = info
                    .buffer()
                    .is_some_and(|buffer| !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT));
                let mut seen = seen.lock().unwrap();
                if is_key {
                    let frames = std::mem::take(&mut seen.frames);
                    seen.distances.push(frames);
                }
                seen.frames += 1;
                gst::PadProbeReturn::Ok
            });
        pipeline.set_state(gst::State::Playing).unwrap();
        Self { pipeline, key_frames }
    }

    fn pull(&self, name: &str) -> Vec<u8> {
        let sink = self
            .pipeline
            .by_name(name)
            .unwrap()
            .downcast::<gst_app::AppSink>()
            .unwrap();
        let end = Instant::now() + PATIENCE;
        let sample = loop {
            if let Some(sample) = sink.try_pull_sample(gst::ClockTime::from_mseconds(500)) {
                break sample;
            }
            let trouble = self.trouble(Duration::ZERO);
            assert!(trouble.is_none() && Instant::now() < end, "no {name}: {trouble:?}");
        };
        sample.buffer().unwrap().map_readable().unwrap().to_vec()
    }

    fn trouble(&self, wait: Duration) -> Option<String> {
        let kinds = [gst::MessageType::Error, gst::MessageType::Eos];
        let wait = gst::ClockTime::from_mseconds(wait.as_millis() as u64);
        let message = self.pipeline.bus().unwrap().timed_pop_filtered(wait, &kinds);
        message.map(|message| format!("{message:?}"))
    }

    pub fn frame(&self) -> Vec<u8> {
        self.pull("video")
    }

    /// Waits for so many frames that differ from the one before them; the last one's mean.
    pub fn moving_frames(&self, count: usize) -> u64 {
        let (mut before, mut seen, end) = (self.frame(), 0, Instant::now() + PATIENCE);
        loop {
            let frame = self.frame();
            // Coding alone changes a still picture by a code or two.
            seen += usize::from(frame.iter().zip(&before).any(|(a, b)| a.abs_diff(*b) > 12));
            if seen == count {
                return frame.iter().map(|&level| u64::from(level)).sum::<u64>() / frame.len() as u64;
            }
            assert!(Instant::now() < end, "{seen} of {count} moving frames");
            before = frame;
        }
    }

    /// Waits until so many frames lie between a key frame that comes now and the one before it.
    pub fn key_frame(&self, distances: std::ops::RangeInclusive<usize>) {
        let known = self.key_frames.lock().unwrap().distances.len().max(1);
        let end = Instant::now() + PATIENCE;
        loop {
            let found = self.key_frames.lock().unwrap().distances[..].to_vec();
            if found.iter().skip(known).any(|distance| distances.contains(distance)) {
                return;
            }
            assert!(
                Instant::now() < end,
                "no {distances:?} frames between key frames: {found:?}"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits for audio that is not silence.
    pub fn sound(&self) {
        let end = Instant::now() + PATIENCE;
        let loud = |bytes: &[u8]| {
            bytes
                .chunks_exact(2)
                .any(|b| i16::from_le_bytes([b[0], b[1]]).unsigned_abs() > 1000)
        };
        while !loud(&self.pull("audio")) {
            assert!(Instant::now() < end, "silence");
        }
    }

    /// Waits for the stream's end.
    #[track_caller]
    pub fn end(&self) {
        assert!(self.trouble(PATIENCE).is_some(), "the stream goes on");
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}
