//! What threads wait on and lock: the standard library's, or a model checker's.
//!
//! Locks outlive a panic of their holder: what they guard is changed in single steps.
//!
//! The model checker knows no time. There a wait of less than a second may be over at any moment, and a
//! longer one never is: a wake-up that was lost shows as a deadlock then.

use std::sync::{PoisonError, TryLockError};
use std::time::Duration;

#[cfg(not(feature = "shuttle"))]
pub(crate) use std::sync::{
    Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard, atomic,
};

#[cfg(not(feature = "shuttle"))]
pub(crate) use std::thread::{Builder, JoinHandle};

#[cfg(feature = "shuttle")]
pub(crate) use shuttle::thread::{Builder, JoinHandle};

#[cfg(feature = "shuttle")]
pub(crate) use shuttle::sync::{
    Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard, atomic,
};

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The lock, where nobody holds it.
pub(crate) fn try_lock<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    match mutex.try_lock() {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

pub(crate) fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn wait<'a, T>(condvar: &Condvar, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
    condvar.wait(guard).unwrap_or_else(PoisonError::into_inner)
}

/// Waits at most `time`; tells whether that has passed. The guard is one of `mutex`.
#[cfg(not(feature = "shuttle"))]
pub(crate) fn wait_timeout<'a, T>(
    condvar: &Condvar,
    _mutex: &'a Mutex<T>,
    guard: MutexGuard<'a, T>,
    time: Duration,
) -> (MutexGuard<'a, T>, bool) {
    let waited = condvar.wait_timeout(guard, time);
    let (guard, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
    (guard, timeout.timed_out())
}

/// Waits that are not shorter never end by themselves under the model checker.
#[cfg(feature = "shuttle")]
const LONG: Duration = Duration::from_secs(1);

/// Waits at most `time`; tells whether that has passed. Others run meanwhile; a wait may also end
/// before, for no reason, as those of the standard library may.
#[cfg(feature = "shuttle")]
pub(crate) fn wait_timeout<'a, T>(
    condvar: &Condvar,
    mutex: &'a Mutex<T>,
    guard: MutexGuard<'a, T>,
    time: Duration,
) -> (MutexGuard<'a, T>, bool) {
    use shuttle::rand::RngCore;

    if time >= LONG {
        return (wait(condvar, guard), false);
    }
    drop(guard);
    shuttle::thread::yield_now();
    (lock(mutex), shuttle::rand::thread_rng().next_u32().is_multiple_of(2))
}
