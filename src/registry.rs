//! Values shared by everybody in the process who asks for the same one, for as long as somebody uses it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// Values in use, by key. There are few of them at a time.
pub(crate) struct Registry<K, V>(Mutex<Vec<(K, Weak<V>)>>);

impl<K: PartialEq, V> Registry<K, V> {
    /// With no value.
    pub const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(K, Weak<V>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(entries: &[(K, Weak<V>)], key: &K) -> Option<Arc<V>> {
        entries.iter().find(|(k, _)| k == key)?.1.upgrade()
    }

    /// The value of `key` that is in use, or the one that `make` makes. No lock is held meanwhile: if two threads make the
    /// same value, both use that of the first to finish.
    ///
    /// # Errors
    /// Those of `make`.
    pub fn get_or_make<E>(&self, key: K, make: impl FnOnce() -> Result<V, E>) -> Result<Arc<V>, E> {
        if let Some(value) = Self::find(&self.lock(), &key) {
            return Ok(value);
        }
        let made = Arc::new(make()?);
        let mut entries = self.lock();
        entries.retain(|(_, value)| value.strong_count() > 0);
        if let Some(value) = Self::find(&entries, &key) {
            return Ok(value);
        }
        entries.push((key, Arc::downgrade(&made)));
        Ok(made)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_lives_as_long_as_it_is_used() {
        let registry = Registry::new();
        let made = std::cell::Cell::new(0);
        let get = |key: &'static str| {
            let value = registry.get_or_make(key, || {
                made.set(made.get() + 1);
                Ok::<_, ()>(made.get())
            });
            value.unwrap()
        };
        let (a, b) = (get("a"), get("b"));
        assert_eq!((*a, *b, *get("a")), (1, 2, 1));
        drop(a);
        assert_eq!(*get("a"), 3);
        assert_eq!(*get("b"), 2);
        assert_eq!(registry.get_or_make("c", || Err("no")).unwrap_err(), "no");
    }

    #[test]
    fn threads_that_make_the_same_value_share_one() {
        let registry = Registry::new();
        let barrier = std::sync::Barrier::new(4);
        let values: Vec<_> = std::thread::scope(|s| {
            let threads = [(); 4].map(|()| {
                s.spawn(|| {
                    registry
                        .get_or_make(0, || {
                            // All are here before the first value is there.
                            barrier.wait();
                            Ok::<_, ()>(String::new())
                        })
                        .unwrap()
                })
            });
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        assert!(values.iter().all(|v| Arc::ptr_eq(v, &values[0])));
    }
}
