//! What all requests share.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use crate::config;
use crate::fleet::Fleet;

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

    /// Takes another token, or other rules.
    pub fn set_rules(&self, rules: config::Http) {
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
    }
}
