//! All cameras: started, changed and stopped as configurations come.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::camera::Camera;
use crate::config::Config;
use crate::live::Live;
use crate::rtsp::Server;

/// How long cameras that are stopped are waited for.
const GOODBYE: Duration = Duration::from_secs(5);

/// The cameras, and the server that serves them.
pub struct Fleet {
    pub server: Server,
    state: Mutex<State>,
}

struct State {
    /// As it was read last, with the settings that have been saved since.
    config: Config,
    running: BTreeMap<String, (Arc<Camera>, JoinHandle<()>)>,
}

/// What a new configuration changes, by cameras' names.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    pub removed: Vec<String>,
    pub added: Vec<String>,
    /// Called anew.
    pub restarted: Vec<String>,
    /// Set without an interruption.
    pub retuned: Vec<String>,
    /// Tables that take effect at the next start of the program.
    pub not_now: Vec<&'static str>,
}

impl Changes {
    /// From one configuration to another. Cameras that are the same in both are in none of the lists.
    pub fn between(old: &Config, new: &Config) -> Self {
        let mut changes = Self::default();
        for (name, camera) in &new.cameras {
            let list = match old.cameras.get(name) {
                None => &mut changes.added,
                Some(before) if before.source != camera.source => &mut changes.restarted,
                Some(before) if before.live != camera.live => &mut changes.retuned,
                Some(_) => continue,
            };
            list.push(name.clone());
        }
        changes.removed = old
            .cameras
            .keys()
            .filter(|name| !new.cameras.contains_key(*name))
            .cloned()
            .collect();
        if old.rtsp != new.rtsp {
            changes.not_now.push("[rtsp]");
        }
        if old.http.listen != new.http.listen {
            changes.not_now.push("[http] listen");
        }
        changes
    }
}

impl Fleet {
    /// Starts all cameras of a configuration.
    ///
    /// # Errors
    /// The RTSP server cannot listen, or a thread cannot be started; nothing runs then.
    pub fn start(config: Config) -> Result<Self, String> {
        let server = Server::start(&config.rtsp)?;
        let fleet = Self {
            server,
            state: Mutex::new(State {
                config: config.clone(),
                running: BTreeMap::new(),
            }),
        };
        let mut state = fleet.state();
        for name in config.cameras.keys() {
            fleet.begin(&mut state, name)?;
        }
        drop(state);
        Ok(fleet)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a camera of the configuration.
    fn begin(&self, state: &mut State, name: &str) -> Result<(), String> {
        let Some(config) = state.config.cameras.get(name) else {
            return Ok(());
        };
        let (camera, thread) = Camera::start(name, config)?;
        self.server.mount(name, &config.source, &camera.relay);
        state.running.insert(name.to_owned(), (camera, thread));
        Ok(())
    }

    /// Takes a new configuration: what is the same in it is not touched. One at a time.
    pub fn reload(&self, config: Config) -> Changes {
        let mut state = self.state();
        let changes = Changes::between(&state.config, &config);
        state.config = config;
        let mut ended = vec![];
        for name in changes.removed.iter().chain(&changes.restarted) {
            self.server.unmount(name);
            ended.extend(state.running.remove(name));
        }
        for name in &changes.retuned {
            if let (Some((camera, _)), Some(config)) = (state.running.get(name), state.config.cameras.get(name)) {
                camera.set_live(config.live.clone());
            }
        }
        drop(state);
        // Nobody waits for those who do not let go, but those who take their place.
        say_goodbye(ended);
        let mut state = self.state();
        for name in changes.added.iter().chain(&changes.restarted) {
            if let Err(error) = self.begin(&mut state, name) {
                log::error!("{error}");
            }
        }
        changes
    }

    /// Stops all cameras.
    pub fn stop(&self) {
        let running = std::mem::take(&mut self.state().running);
        for name in running.keys() {
            self.server.unmount(name);
        }
        say_goodbye(running.into_values().collect());
    }

    /// All cameras, by name.
    pub fn cameras(&self) -> Vec<Arc<Camera>> {
        self.state()
            .running
            .values()
            .map(|(camera, _)| camera.clone())
            .collect()
    }

    /// A camera.
    pub fn camera(&self, name: &str) -> Option<Arc<Camera>> {
        self.state().running.get(name).map(|(camera, _)| camera.clone())
    }

    /// The configuration has these settings from now on.
    pub fn saved(&self, name: &str, live: Live) {
        if let Some(camera) = self.state().config.cameras.get_mut(name) {
            camera.live = live;
        }
    }

    /// Whether the settings of a camera are those of the configuration.
    pub fn is_saved(&self, camera: &Camera) -> bool {
        let live = camera.live();
        self.state()
            .config
            .cameras
            .get(&camera.name)
            .is_none_or(|config| config.live == live)
    }
}

/// Stops cameras and waits for them, for a time: one that hangs ends with the program.
fn say_goodbye(cameras: Vec<(Arc<Camera>, JoinHandle<()>)>) {
    for (camera, _) in &cameras {
        camera.stop();
    }
    let end = Instant::now() + GOODBYE;
    for (camera, thread) in cameras {
        while !thread.is_finished() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(10));
        }
        match thread.is_finished() {
            true => drop(thread.join()),
            false => log::warn!("camera {}: it does not let go; it is left behind", camera.name),
        }
    }
}

#[cfg(test)]
mod tests;
