//! Executors of the sizes that a stream has had lately, so that going back to one costs nothing.

use std::time::Duration;

use crate::backend::{Executor, Geometry};
use crate::error::{ErrorKind, Result};

/// What makes a prepared executor the right one: the pack on its backend, which fix the precision, and the sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key {
    /// The number of the loaded pack.
    pub loaded: usize,
    pub geometry: Geometry,
}

/// An executor with what is known of it.
pub(crate) struct Prepared {
    key: Key,
    pub executor: Box<dyn Executor>,
    /// How long a frame took when it was tried.
    pub trial: Option<Duration>,
}

/// The executors prepared last, the one in use first.
#[derive(Default)]
pub(crate) struct PreparedCache {
    entries: Vec<Prepared>,
}

/// How many executors are kept. Each holds the memory of a whole frame's planes and activations.
const CAPACITY: usize = 3;

impl PreparedCache {
    /// The executor of `key`, made by `make` unless it is there; it is the one in use from here on. Where memory is short,
    /// the others are dropped, and `make` is called once more.
    ///
    /// # Errors
    /// Those of `make`. The executor in use before is kept, unless memory was short.
    pub fn select(&mut self, key: Key, make: &mut dyn FnMut() -> Result<Box<dyn Executor>>) -> Result<()> {
        if let Some(at) = self.entries.iter().position(|entry| entry.key == key) {
            self.entries[..=at].rotate_right(1);
            return Ok(());
        }
        // The oldest goes before its successor takes memory.
        self.entries.truncate(CAPACITY - 1);
        let executor = match make() {
            Err(e) if e.kind() == ErrorKind::OutOfMemory && !self.entries.is_empty() => {
                log::info!("memory is short, so what was prepared for other sizes is dropped: {e}");
                self.entries.clear();
                make()
            }
            made => made,
        }?;
        let trial = None;
        self.entries.insert(0, Prepared { key, executor, trial });
        Ok(())
    }

    /// The executor in use; `None` if nothing has been prepared.
    pub fn current(&mut self) -> Option<&mut Prepared> {
        self.entries.first_mut()
    }

    /// As [`current`](Self::current), with its key.
    pub fn current_key(&self) -> Option<&Key> {
        self.entries.first().map(|entry| &entry.key)
    }

    /// As [`current`](Self::current), to read.
    pub fn peek(&self) -> Option<&dyn Executor> {
        self.entries.first().map(|entry| &*entry.executor)
    }

    /// Drops the executors of a pack.
    pub fn forget(&mut self, loaded: usize) {
        self.entries.retain(|entry| entry.key.loaded != loaded);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use crate::frame::{Colorimetry, Frame, FrameMut, FrameSpec, PixelFormat};
    use crate::pack::{Precision, Precisions};
    use crate::stages::{Plan, Quantity, Report};

    struct Nothing;

    impl Executor for Nothing {
        fn name(&self) -> &'static str {
            "nothing"
        }
        fn precisions(&self) -> Precisions {
            Precision::Fp32.into()
        }
        fn process(&mut self, _: &Frame<'_>, _: &mut FrameMut<'_>, _: &Plan) -> Result<Report> {
            Ok(Report::default())
        }
        fn read(&mut self, _: Quantity) -> Result<Vec<f32>> {
            Ok(Vec::new())
        }
    }

    fn key(loaded: usize, side: usize) -> Key {
        let spec = FrameSpec {
            format: PixelFormat::Rgb,
            width: side,
            height: side,
            colorimetry: Colorimetry::FULL,
        };
        Key {
            loaded,
            geometry: Geometry::new(spec, 0, 1),
        }
    }

    #[test]
    fn the_latest_sizes_are_kept() {
        let mut cache = PreparedCache::default();
        assert!(cache.current().is_none());
        let mut made = Vec::new();
        for (loaded, side, expected) in [
            (0, 16, true),
            (0, 32, true),
            (0, 16, false),
            (1, 16, true),
            (0, 32, false),
            (0, 64, true),
            // Three are kept: 0/16 was used longest ago.
            (1, 16, false),
            (0, 16, true),
        ] {
            let before = made.len();
            let key = key(loaded, side);
            cache
                .select(key, &mut || {
                    made.push(key);
                    Ok(Box::new(Nothing))
                })
                .unwrap();
            assert_eq!(made.len() > before, expected, "{loaded} {side}: {made:?}");
            assert_eq!(cache.current_key(), Some(&key));
        }
        cache.forget(0);
        assert_eq!(cache.current_key(), Some(&key(1, 16)));
    }

    #[test]
    fn others_make_room_where_memory_is_short() {
        let mut cache = PreparedCache::default();
        cache.select(key(0, 16), &mut || Ok(Box::new(Nothing))).unwrap();
        let mut attempts = 0;
        cache
            .select(key(0, 32), &mut || {
                attempts += 1;
                match attempts {
                    1 => Err(Error::new(ErrorKind::OutOfMemory, "full")),
                    _ => Ok(Box::new(Nothing)),
                }
            })
            .unwrap();
        assert_eq!(attempts, 2);
        // Another error drops nothing.
        let failed = cache.select(key(0, 64), &mut || Err(Error::new(ErrorKind::BackendFailed, "no")));
        assert_eq!(failed.unwrap_err().kind(), ErrorKind::BackendFailed);
        assert_eq!(cache.current_key(), Some(&key(0, 32)));
        let mut made = false;
        cache
            .select(key(0, 16), &mut || {
                made = true;
                Ok(Box::new(Nothing))
            })
            .unwrap();
        assert!(made, "dropped when memory was short");
    }
}
