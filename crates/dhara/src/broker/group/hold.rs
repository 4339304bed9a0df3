//! What a member has in hand.

/// One delivery that is not done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    /// Bytes of key and body.
    size: u32,
    /// How often it was given so far.
    attempt: u16,
    /// It was given back, or its member went, and it waits to be given again.
    returned: bool,
}

impl Held {
    /// Given for the first time.
    pub(super) fn given(size: usize) -> Self {
        Self { size: u32::try_from(size).unwrap_or(u32::MAX), attempt: 1, returned: false }
    }

    pub(super) fn size(self) -> usize {
        self.size as usize
    }

    pub(super) fn in_hand(&self) -> bool {
        !self.returned
    }

    pub(super) fn give_back(&mut self) {
        self.returned = true;
    }

    /// Which attempt it would be to give it once more.
    pub(super) fn next_attempt(self) -> u32 {
        u32::from(self.attempt).saturating_add(1)
    }

    pub(super) fn give_again(&mut self) {
        self.returned = false;
        self.attempt = self.attempt.saturating_add(1);
    }
}

/// How much is in hand, and how much may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    count: usize,
    bytes: usize,
    max_count: usize,
    max_bytes: usize,
}

impl Load {
    pub(super) fn new(max_count: usize, max_bytes: usize) -> Self {
        Self { count: 0, bytes: 0, max_count: max_count.max(1), max_bytes: max_bytes.max(1) }
    }

    /// A message that is larger than the whole bound is given when less than the bound is in hand;
    /// the bound is passed by one message at most, and no message starves.
    pub(super) fn has_room(&self) -> bool {
        self.count < self.max_count && self.bytes < self.max_bytes
    }

    /// For how many more messages there may be room.
    pub(super) fn room(&self) -> usize {
        self.max_count.saturating_sub(self.count)
    }

    pub(super) fn max_bytes(&self) -> usize {
        self.max_bytes
    }

    pub(super) fn add(&mut self, bytes: usize) {
        self.count += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }

    pub(super) fn remove(&mut self, bytes: usize) {
        self.remove_all(1, bytes);
    }

    pub(super) fn remove_all(&mut self, count: usize, bytes: usize) {
        self.count = self.count.saturating_sub(count);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}
