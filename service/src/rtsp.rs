//! The RTSP server: each camera's relay as H.264 at `/NAME`, coded only while somebody watches, once for all viewers.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gst::glib;
use gst::glib::prelude::*;
use gst_rtsp_server::prelude::*;
use gst_rtsp_server::{RTSPAuth, RTSPClient, RTSPMountPoints, RTSPServer, RTSPToken};

use crate::config::{Rtsp, Source};
use crate::relay::Relay;
use crate::stream::StreamFactory;

/// What a viewer who has given user and password may do.
const ROLE: &str = "viewer";
/// The most viewers at a time.
const SESSIONS: u32 = 64;
/// How often relays are asked whether they have to fill a gap.
const TICK: Duration = Duration::from_millis(250);
/// How often viewers that have gone without a word are forgotten.
const CLEANUP: Duration = Duration::from_secs(5);

/// The server, with a thread of its own.
pub struct Server {
    server: RTSPServer,
    mounts: RTSPMountPoints,
    context: glib::MainContext,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    relays: BTreeMap<String, Arc<Relay>>,
    /// Those that wait for a first frame, without which there is nothing to describe.
    waiting: BTreeMap<String, StreamFactory>,
    /// By session, who plays.
    viewers: HashMap<String, Viewer>,
}

/// One who plays a camera's stream.
struct Viewer {
    camera: String,
    client: glib::WeakRef<RTSPClient>,
}

impl Shared {
    /// Those whose stream has ended: players take the end of the connection for one, whatever they make of the stream's.
    fn clients(&self, camera: &str) -> Vec<RTSPClient> {
        let of_camera = self.viewers.values().filter(|viewer| viewer.camera == camera);
        of_camera.filter_map(|viewer| viewer.client.upgrade()).collect()
    }

    /// Serves what has waited for a first frame, and has one.
    fn mount(&mut self, mounts: &RTSPMountPoints) {
        let relays = &self.relays;
        let ready = self.waiting.extract_if(.., |name, _| {
            relays.get(name).is_some_and(|relay| relay.offer().is_some())
        });
        for (name, factory) in ready {
            mounts.add_factory(&format!("/{name}"), factory);
        }
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The camera that an address is of: `rtsp://host/NAME`, and what may follow.
fn camera_name(url: &str) -> Option<&str> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?']).nth(1)
}

impl Server {
    /// Listens; nothing is served yet.
    ///
    /// # Errors
    /// The address is taken or not ours.
    pub fn start(config: &Rtsp) -> Result<Self, String> {
        let server = RTSPServer::new();
        server.set_address(&config.listen.ip().to_string());
        server.set_service(&config.listen.port().to_string());
        let mounts = server.mount_points().ok_or("an RTSP server without mount points")?;
        // Every viewer has the one role, but none may have streams sent to another machine than its own.
        let auth = RTSPAuth::new();
        let mut token = RTSPToken::builder().field("media.factory.role", ROLE).build();
        match &config.viewer {
            Some((user, password)) => auth.add_basic(&RTSPAuth::make_basic(user, password.expose()), &token),
            None => auth.set_default_token(Some(&mut token)),
        }
        server.set_auth(Some(&auth));
        let shared: Arc<Mutex<Shared>> = Arc::default();
        if let Some(pool) = server.session_pool() {
            pool.set_max_sessions(SESSIONS);
            let shared = shared.clone();
            pool.connect_session_removed(move |_, session| {
                if let Some(id) = session.sessionid() {
                    lock(&shared).viewers.remove(id.as_str());
                }
            });
        }
        let played = shared.clone();
        server.connect_client_connected(move |_, client| {
            let shared = played.clone();
            client.connect_play_request(move |client, context| {
                let url = context.uri().map(|url| url.request_uri());
                let id = context.session().and_then(|session| session.sessionid());
                let mut shared = lock(&shared);
                let Some(name) = url.as_deref().and_then(camera_name) else {
                    return;
                };
                if let Some(relay) = shared.relays.get(name) {
                    relay.force_key_frame();
                    if let Some(id) = id {
                        let viewer = Viewer {
                            camera: name.to_owned(),
                            client: client.downgrade(),
                        };
                        shared.viewers.insert(id.to_string(), viewer);
                    }
                }
            });
        });

        let context = glib::MainContext::new();
        server.attach(Some(&context)).map_err(|_| {
            format!(
                "cannot listen on {}: the port is taken, or the address is not this machine's; see [rtsp] listen",
                config.listen
            )
        })?;
        let this = Self {
            server,
            mounts,
            context,
            shared,
        };
        this.run()?;
        Ok(this)
    }

    fn run(&self) -> Result<(), String> {
        let (context, shared, pool) = (self.context.clone(), self.shared.clone(), self.server.session_pool());
        let run = move || {
            let every = |time: Duration, work: Box<dyn Fn() + Send>| {
                let source = glib::timeout_source_new(time, None, glib::Priority::DEFAULT, move || {
                    work();
                    glib::ControlFlow::Continue
                });
                source.attach(Some(&context));
            };
            every(
                TICK,
                Box::new(move || {
                    let relays = lock(&shared).relays.clone();
                    for (name, relay) in relays {
                        relay.tick();
                        if relay.take_ended() {
                            let clients = lock(&shared).clients(&name);
                            clients.iter().for_each(|client| client.close());
                        }
                    }
                }),
            );
            every(
                CLEANUP,
                Box::new(move || {
                    pool.as_ref().map(|pool| pool.cleanup());
                }),
            );
            glib::MainLoop::new(Some(&context), false).run();
        };
        let thread = std::thread::Builder::new().name("rtsp".into());
        thread
            .spawn(run)
            .map(drop)
            .map_err(|e| format!("no thread for RTSP: {e}"))
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.server.bound_port().try_into().unwrap_or_default()
    }

    /// Serves a relay at `/NAME` from its first frame on.
    pub fn mount(&self, name: &str, source: &Source, relay: &Arc<Relay>) {
        let factory = StreamFactory::new(name, source, relay);
        let rights = gst::Structure::builder(ROLE)
            .field("media.factory.access", true)
            .field("media.factory.construct", true)
            .build();
        factory.add_role_from_structure(&rights);
        let (of_first_frame, mounts) = (Arc::downgrade(&self.shared), self.mounts.clone());
        relay.on_offer(move || {
            if let Some(shared) = of_first_frame.upgrade() {
                lock(&shared).mount(&mounts);
            }
        });
        let mut shared = lock(&self.shared);
        shared.relays.insert(name.to_owned(), relay.clone());
        shared.waiting.insert(name.to_owned(), factory);
        // The frame may have come before anybody waited for it.
        shared.mount(&self.mounts);
    }

    /// Serves `/NAME` no longer: its viewers are told that it ends.
    pub fn unmount(&self, name: &str) {
        let (relay, clients) = {
            let mut shared = lock(&self.shared);
            shared.waiting.remove(name);
            self.mounts.remove_factory(&format!("/{name}"));
            (shared.relays.remove(name), shared.clients(name))
        };
        if let Some(relay) = relay {
            relay.end();
        }
        // The stream's end has a moment to reach them first.
        let hang_up = glib::timeout_source_new(TICK, None, glib::Priority::DEFAULT, move || {
            clients.iter().for_each(|client| client.close());
            glib::ControlFlow::Break
        });
        hang_up.attach(Some(&self.context));
    }

    /// How many watch a camera.
    pub fn viewers(&self, name: &str) -> usize {
        lock(&self.shared)
            .viewers
            .values()
            .filter(|viewer| viewer.camera == name)
            .count()
    }

    /// Whether the server's thread still does its work, within `patience`.
    pub fn answers(&self, patience: Duration) -> bool {
        let (sender, receiver) = std::sync::mpsc::channel();
        self.context.invoke(move || {
            let _ = sender.send(());
        });
        receiver.recv_timeout(patience).is_ok()
    }
}
