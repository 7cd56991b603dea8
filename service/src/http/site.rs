//! What all requests share.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use crate::camera::Camera;
use crate::config;
use crate::fleet::Fleet;

/// A camera's thread that has not looked after it for so long hangs.
const HANGS: Duration = Duration::from_secs(30);
/// The RTSP server's thread answers within this time.
const ANSWER: Duration = Duration::from_secs(5);

/// The cameras, the configuration's file, and who may do what.
pub struct Site {
    pub fleet: Arc<Fleet>,
    /// The configuration's file, for settings that are saved.
    pub file: PathBuf,
    rules: RwLock<Arc<config::Http>>,
    /// How many pictures are coded at a time.
    pub pictures: tokio::sync::Semaphore,
    /// One writes the file at a time.
    pub saving: tokio::sync::Mutex<()>,
}

impl Site {
    /// A site for these cameras.
    pub fn new(fleet: Arc<Fleet>, file: PathBuf, rules: config::Http) -> Self {
        Self {
            fleet,
            file,
            rules: RwLock::new(Arc::new(rules)),
            pictures: tokio::sync::Semaphore::new(2),
            saving: tokio::sync::Mutex::default(),
        }
    }

    /// Who may do what.
    pub fn rules(&self) -> Arc<config::Http> {
        self.rules.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether all threads do their work.
    ///
    /// # Errors
    /// The one that hangs.
    pub async fn health(&self) -> Result<(), String> {
        let fleet = self.fleet.clone();
        let answers = tokio::task::spawn_blocking(move || fleet.server.answers(ANSWER));
        if !answers.await.unwrap_or(false) {
            return Err("the RTSP server hangs".into());
        }
        let hanging = |camera: &Arc<Camera>| camera.unattended() > HANGS;
        match self.fleet.cameras().into_iter().find(hanging) {
            None => Ok(()),
            Some(camera) => Err(format!("camera {}: its thread hangs", camera.name)),
        }
    }

    /// Takes another token, or other rules.
    pub fn set_rules(&self, rules: config::Http) {
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
    }
}
