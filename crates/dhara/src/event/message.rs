//! A message: what an event is on its way to a broker and from it.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use crate::world::Timestamp;

/// The name of a topic.
#[derive(Clone, Eq, PartialOrd, Ord)]
pub struct Topic(Arc<str>);

impl PartialEq for Topic {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        // Most names that are compared are copies of one.
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

impl Hash for Topic {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl Topic {
    /// The topic called `name`.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self(name.into())
    }

    /// The topic of an event's type: copies of one name, wherever in the program it is asked for, so
    /// that they are found to be the same without being read.
    pub(crate) fn shared(name: &'static str) -> Self {
        static SHARED: Mutex<Vec<Topic>> = Mutex::new(Vec::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = shared.iter().find(|known| known.as_str() == name) {
            return known.clone();
        }
        let topic = Self::new(name);
        shared.push(topic.clone());
        topic
    }

    /// Its name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Topic {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}

impl Borrow<str> for Topic {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Headers, in the order they were given; names may repeat.
pub type Headers = Vec<(Arc<str>, Bytes)>;

/// A message on its way to a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Where it goes.
    pub topic: Topic,
    /// What decides its order: messages of one key keep it. `None` has no order.
    pub key: Option<Bytes>,
    /// The body.
    pub body: Bytes,
    /// The headers; most messages have none.
    pub headers: Headers,
    /// When what it tells of happened.
    pub timestamp: Timestamp,
}
