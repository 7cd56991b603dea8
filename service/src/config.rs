//! The configuration: a TOML file, checked as a whole before anything starts.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gst::glib;
use gst::prelude::*;
use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::encoder::{self, Encoder};
use crate::live::{self, Change, Daylight, Deadline, Live};
use crate::secret::{Secret, SecretSource};

/// The largest configuration that is read, in bytes.
const LARGEST: u64 = 1 << 20;
/// The shortest token, in bytes.
const SHORTEST_TOKEN: usize = 16;
/// The longest name of a camera, in bytes.
const LONGEST_NAME: usize = 64;

/// All that the file says, with the secrets that it points to.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    pub http: Http,
    pub rtsp: Rtsp,
    /// By name, which is also the path at which a camera is served.
    pub cameras: BTreeMap<String, Camera>,
}

/// The web page and its endpoints.
#[derive(Debug, Clone, PartialEq)]
pub struct Http {
    pub listen: SocketAddr,
    /// Without one nothing can be changed.
    pub token: Option<Secret>,
    /// Whether pictures, figures and metrics need no token.
    pub open_reading: bool,
    /// Names under which browsers may reach it, besides addresses and `localhost`.
    pub hosts: Vec<String>,
}

/// The RTSP server.
#[derive(Debug, Clone, PartialEq)]
pub struct Rtsp {
    pub listen: SocketAddr,
    /// What viewers have to give, if anything.
    pub viewer: Option<(String, Secret)>,
}

/// How a camera sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    Tcp,
    Udp,
}

/// One camera.
#[derive(Debug, Clone, PartialEq)]
pub struct Camera {
    pub source: Source,
    pub live: Live,
}

/// What cannot be changed without a new start of the camera.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    /// Without user and password.
    pub location: String,
    pub user: Option<String>,
    pub password: Option<Secret>,
    pub protocol: Protocol,
    /// How long packets wait for those before them.
    pub latency: Duration,
    /// After so long without a frame the camera counts as gone.
    pub silence: Duration,
    pub audio: bool,
    /// In the order of preference.
    pub encoders: Vec<Encoder>,
    /// Kilobits per second; none: it follows from the picture's size.
    pub bitrate: Option<u32>,
    /// Properties of the element, by name.
    pub element: BTreeMap<String, String>,
}

impl Source {
    /// The camera's scheme, host and port. Paths and queries are not shown: some cameras take passwords in them.
    pub fn host(&self) -> &str {
        let start = self.location.find("://").map_or(0, |at| at + 3);
        let end = self.location[start..]
            .find('/')
            .map_or(self.location.len(), |at| start + at);
        &self.location[..end]
    }

    /// A message of a library, without the address's path and the password if they are in it.
    pub fn without_path(&self, message: &str) -> String {
        let path = &self.location[self.host().len()..];
        let password = self.password.as_ref().map_or("", Secret::expose);
        let mut message = message.to_owned();
        for secret in [path, password].into_iter().filter(|secret| secret.len() > 1) {
            message = message.replace(secret, "...");
        }
        message
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    #[serde(default)]
    http: HttpFile,
    #[serde(default)]
    rtsp: RtspFile,
    #[serde(default)]
    camera: BTreeMap<String, CameraFile>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct HttpFile {
    listen: Option<SocketAddr>,
    token_file: Option<PathBuf>,
    token_env: Option<String>,
    open_reading: Option<bool>,
    #[serde(default)]
    hosts: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RtspFile {
    listen: Option<SocketAddr>,
    user: Option<String>,
    password_file: Option<PathBuf>,
    password_env: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct CameraFile {
    #[serde(deserialize_with = "address")]
    address: Address,
    user: Option<String>,
    password_file: Option<PathBuf>,
    password_env: Option<String>,
    protocol: Option<Protocol>,
    #[serde(default, deserialize_with = "latency")]
    latency: Option<u64>,
    #[serde(default, deserialize_with = "silence")]
    silence: Option<u64>,
    audio: Option<bool>,
    encoder: Option<encoder::Choice>,
    #[serde(default, deserialize_with = "bitrate")]
    bitrate: Option<u64>,
    #[serde(default, deserialize_with = "live::ratio")]
    ratio: Option<f32>,
    #[serde(default, deserialize_with = "live::brightness")]
    brightness: Option<f32>,
    #[serde(default, deserialize_with = "live::share")]
    strength: Option<f32>,
    #[serde(default, deserialize_with = "live::share")]
    temporal: Option<f32>,
    enabled: Option<bool>,
    daylight: Option<Daylight>,
    #[serde(default, deserialize_with = "live::deadline")]
    deadline: Option<Deadline>,
    #[serde(default)]
    element: BTreeMap<String, toml::Value>,
}

fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Address, D::Error> {
    let text = String::deserialize(deserializer)?;
    Address::parse(&text).map_err(D::Error::custom)
}

fn whole<'de, D: Deserializer<'de>>(deserializer: D, range: Range<u64>, unit: &str) -> Result<Option<u64>, D::Error> {
    let number = i64::deserialize(deserializer)?;
    match u64::try_from(number).ok().filter(|number| range.contains(number)) {
        Some(number) => Ok(Some(number)),
        None => Err(D::Error::custom(format!(
            "{number} is not from {} to {} {unit}",
            range.start,
            range.end - 1
        ))),
    }
}

fn latency<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    whole(deserializer, 0..10_001, "milliseconds")
}

fn silence<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    whole(deserializer, 2..601, "seconds")
}

fn bitrate<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    whole(deserializer, 64..100_001, "kilobits per second")
}

impl Config {
    /// Reads and checks a file. GStreamer has to be initialised and the element registered.
    ///
    /// # Errors
    /// It cannot be read, or something in it is wrong: the message names the file, the line or the key, and the remedy. It
    /// shows nothing of the file's text, in which there may be passwords.
    pub fn read(path: &Path) -> Result<Self, String> {
        let named = |what: &dyn std::fmt::Display| format!("{}: {what}", path.display());
        let unreadable = |e: io::Error| named(&format!("{e}: {}", remedy(&e)));
        let length = fs::metadata(path).map_err(unreadable)?.len();
        if length > LARGEST {
            return Err(named(&format!("{length} bytes: a configuration has at most {LARGEST}")));
        }
        let text = fs::read_to_string(path).map_err(unreadable)?;
        Self::parse(&text, path.parent().unwrap_or(Path::new("."))).map_err(|e| named(&e))
    }

    /// Checks a file's text; relative paths in it start at `folder`.
    ///
    /// # Errors
    /// As [`read`](Self::read), without the file's name.
    pub fn parse(text: &str, folder: &Path) -> Result<Self, String> {
        let file: File = toml::from_str(text).map_err(|error| {
            let line = error
                .span()
                .map(|span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            match line {
                Some(line) => format!("line {line}: {}", error.message()),
                None => error.message().to_owned(),
            }
        })?;
        let http = Http::of(file.http, folder).map_err(|e| format!("[http]: {e}"))?;
        let rtsp = Rtsp::of(file.rtsp, folder).map_err(|e| format!("[rtsp]: {e}"))?;
        if file.camera.is_empty() {
            return Err("there is no camera: add a table [camera.NAME] with the key address".into());
        }
        let mut cameras = BTreeMap::new();
        for (name, camera) in file.camera {
            check_name(&name)?;
            let camera = Camera::of(camera, folder).map_err(|e| format!("[camera.{name}]: {e}"))?;
            cameras.insert(name, camera);
        }
        Ok(Self { http, rtsp, cameras })
    }
}

fn check_name(name: &str) -> Result<(), String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    match (1..=LONGEST_NAME).contains(&name.len()) && name.chars().all(fits) {
        true => Ok(()),
        false => Err(format!(
            "[camera.{name:?}]: a camera's name becomes an address: take 1 to {LONGEST_NAME} letters, digits, - and _"
        )),
    }
}

impl Http {
    fn of(file: HttpFile, folder: &Path) -> Result<Self, String> {
        let listen = file.listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 8080)));
        let token = SecretSource::of("token", file.token_file, file.token_env)?;
        let token = token.map(|source| source.read(folder)).transpose()?;
        if token
            .as_ref()
            .is_some_and(|token| token.expose().len() < SHORTEST_TOKEN)
        {
            return Err(format!(
                "the token has fewer than {SHORTEST_TOKEN} characters and can be guessed: openssl rand -hex 32 makes a good one"
            ));
        }
        let open_reading = file.open_reading.unwrap_or(listen.ip().is_loopback());
        if !open_reading && token.is_none() {
            return Err(format!(
                "{listen} can be reached from other machines: name a token with token-file or token-env, or say \
                 open-reading = true"
            ));
        }
        Ok(Self {
            listen,
            token,
            open_reading,
            hosts: file.hosts,
        })
    }
}

impl Rtsp {
    fn of(file: RtspFile, folder: &Path) -> Result<Self, String> {
        let listen = file.listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 8554)));
        let password = SecretSource::of("password", file.password_file, file.password_env)?;
        let viewer = match (file.user, password) {
            (Some(user), Some(password)) => Some((user, password.read(folder)?)),
            (None, None) => None,
            (Some(_), None) => return Err("user without password: add password-file or password-env".into()),
            (None, Some(_)) => return Err("a password without user: add user".into()),
        };
        Ok(Self { listen, viewer })
    }
}

impl Camera {
    fn of(file: CameraFile, folder: &Path) -> Result<Self, String> {
        let password = SecretSource::of("password", file.password_file, file.password_env)?;
        let password = password.map(|source| source.read(folder)).transpose()?;
        let user = file.user.or(file.address.user);
        let password = password.or(file.address.password);
        if password.is_some() && user.is_none() {
            return Err("a password without user: add user".into());
        }
        let change = Change {
            ratio: file.ratio,
            brightness: file.brightness,
            strength: file.strength,
            temporal: file.temporal,
            enabled: file.enabled,
            daylight: file.daylight,
            deadline: file.deadline,
        };
        let element = file
            .element
            .into_iter()
            .map(|(name, value)| Ok((name.clone(), property(&name, &value)?)));
        Ok(Self {
            source: Source {
                location: file.address.location,
                user,
                password,
                protocol: file.protocol.unwrap_or(Protocol::Tcp),
                latency: Duration::from_millis(file.latency.unwrap_or(200)),
                silence: Duration::from_secs(file.silence.unwrap_or(10)),
                audio: file.audio.unwrap_or(true),
                encoders: file.encoder.unwrap_or_default().order(),
                bitrate: file.bitrate.map(|bitrate| bitrate as u32),
                element: element.collect::<Result<_, String>>()?,
            },
            live: change.on(&Live::default()),
        })
    }
}

/// What to do about a configuration that cannot be read.
fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => {
            "write one, as docs/service.md shows in two minutes, or name yours with --config FILE"
        }
        io::ErrorKind::PermissionDenied => "let the service's user read it, or name another with --config FILE",
        io::ErrorKind::InvalidData => "a configuration is a TOML file, text in UTF-8",
        _ => "name a file that can be read with --config FILE",
    }
}

/// A property of the element as text, checked against its specification.
fn property(name: &str, value: &toml::Value) -> Result<String, String> {
    if Live::PROPERTIES.contains(&name) {
        return Err(format!("element.{name} has a key of its own, outside of element"));
    }
    let class =
        glib::object::Class::<gsturetinex::URetinexEnhance>::from_type(gsturetinex::URetinexEnhance::static_type());
    let specification = class.as_ref().and_then(|class| class.find_property(name));
    let specification = specification
        .filter(|found| found.flags().contains(glib::ParamFlags::WRITABLE) && !["name", "parent"].contains(&name))
        .ok_or_else(|| format!("element.{name}: uretinexenhance has no such property: see docs/element.md"))?;
    let text = match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Integer(number) => number.to_string(),
        toml::Value::Float(number) => number.to_string(),
        toml::Value::Boolean(yes) => yes.to_string(),
        _ => return Err(format!("element.{name}: give a string, a number, true or false")),
    };
    let wrong = || {
        let range = specification.blurb().unwrap_or_default();
        format!("element.{name}: {text:?} is not a value of it ({range})")
    };
    let parsed = glib::Value::deserialize_with_pspec(&text, &specification).map_err(|_| wrong())?;
    match is_in_range(&specification, &parsed) {
        true => Ok(text),
        false => Err(wrong()),
    }
}

fn is_in_range(specification: &glib::ParamSpec, value: &glib::Value) -> bool {
    if let (Some(spec), Ok(value)) = (specification.downcast_ref::<glib::ParamSpecUInt>(), value.get::<u32>()) {
        return (spec.minimum()..=spec.maximum()).contains(&value);
    }
    if let (Some(spec), Ok(value)) = (specification.downcast_ref::<glib::ParamSpecFloat>(), value.get::<f32>()) {
        return (spec.minimum()..=spec.maximum()).contains(&value);
    }
    true
}

#[cfg(test)]
mod tests;
