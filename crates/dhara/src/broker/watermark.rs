//! What of a partition is done, when it is done out of order.

/// Follows work that is begun in the order of its offsets and done in any order, and knows the
/// lowest offset that has everything below it done.
///
/// Each offset that is open holds a value of `T`. Offsets may have gaps (a compacted log, markers of
/// transactions); a gap counts as done. Nothing is allocated for work that is done in order.
#[derive(Clone, Debug)]
pub(crate) struct Watermark<T = ()> {
    /// One more than the highest offset begun.
    next: u64,
    /// Rising offsets; `None` is done. Those from `first` on count, and the first of them is open.
    window: Vec<(u64, Option<T>)>,
    first: usize,
}

/// The window is not moved to its start for less than this.
const WORTH_A_MOVE: usize = 64;

impl<T> Watermark<T> {
    /// Everything below `start` is done, and nothing has begun.
    pub(crate) fn new(start: u64) -> Self {
        Self { next: start, window: Vec::new(), first: 0 }
    }

    /// Begins `offset`; false, and nothing else, when it was passed already.
    #[inline]
    pub(crate) fn begin(&mut self, offset: u64, value: T) -> bool {
        if offset < self.next {
            return false;
        }
        self.window.push((offset, Some(value)));
        self.next = offset + 1;
        true
    }

    /// Begins as many offsets as there are `values`, one after another, from `first` on, which was not
    /// passed yet.
    #[inline]
    pub(crate) fn begin_run(&mut self, first: u64, values: impl ExactSizeIterator<Item = T>) {
        self.next = first + values.len() as u64;
        self.window.extend((first..self.next).zip(values.map(Some)));
    }

    /// Counts what lies below `offset` and never began as done.
    pub(crate) fn skip_to(&mut self, offset: u64) {
        self.next = self.next.max(offset);
    }

    /// Marks `offset` as done and gives what it held; `None` when it is not open.
    pub(crate) fn done(&mut self, offset: u64) -> Option<T>
    where
        T: Copy,
    {
        let mut held = None;
        self.done_all([offset], |value| {
            held = Some(*value);
            true
        });
        held
    }

    /// Marks those of `offsets` as done that are open and for whose value `condition` holds.
    pub(crate) fn done_all(
        &mut self,
        offsets: impl IntoIterator<Item = u64>,
        mut condition: impl FnMut(&T) -> bool,
    ) {
        let open = self.window.get_mut(self.first..).unwrap_or_default();
        let lowest = open.first().map_or(0, |(offset, _)| *offset);
        for offset in offsets {
            let Some((_, held)) = place_of(open, lowest, offset) else { continue };
            if held.as_ref().is_some_and(&mut condition) {
                *held = None;
            }
        }
        // What is done behind the first goes with it.
        self.first += open.iter().take_while(|(_, held)| held.is_none()).count();
        if self.first == self.window.len() || self.first >= WORTH_A_MOVE {
            self.make_room();
        }
    }

    /// Drops what is done at the start, when it is all or most: so often as to move each place once.
    #[inline(never)]
    fn make_room(&mut self) {
        if self.first * 2 > self.window.len() {
            self.window.drain(..self.first);
            self.first = 0;
        }
    }

    /// What the open `offset` holds.
    pub(crate) fn get_mut(&mut self, offset: u64) -> Option<&mut T> {
        let open = self.window.get_mut(self.first..)?;
        let (lowest, _) = *open.first()?;
        place_of(open, lowest, offset)?.1.as_mut()
    }

    /// The lowest offset that is not done: everything below it is.
    pub(crate) fn lowest(&self) -> u64 {
        self.window.get(self.first).map_or(self.next, |(offset, _)| *offset)
    }

    /// One more than the highest offset begun or skipped.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// The offsets that are open, with what they hold.
    pub(crate) fn open_mut(&mut self) -> impl Iterator<Item = (u64, &mut T)> {
        let window = self.window.get_mut(self.first..).unwrap_or_default();
        window.iter_mut().filter_map(|(offset, value)| Some((*offset, value.as_mut()?)))
    }
}

/// Where `offset` lies in an open window that begins with `lowest`. Without gaps, it lies as far from
/// the first as it is greater than the first's.
#[inline]
fn place_of<T>(
    open: &mut [(u64, Option<T>)],
    lowest: u64,
    offset: u64,
) -> Option<&mut (u64, Option<T>)> {
    let guess = usize::try_from(offset.checked_sub(lowest)?).ok()?;
    match open.get(guess) {
        Some((found, _)) if *found == offset => open.get_mut(guess),
        _ => search(open, offset),
    }
}

/// With gaps.
#[cold]
#[inline(never)]
fn search<T>(open: &mut [(u64, Option<T>)], offset: u64) -> Option<&mut (u64, Option<T>)> {
    let place = open.binary_search_by_key(&offset, |(offset, _)| *offset).ok()?;
    open.get_mut(place)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_lowest_rises_only_over_what_is_done() {
        let mut watermark = Watermark::new(10);
        for offset in 10..14 {
            assert!(watermark.begin(offset, ()));
        }
        assert_eq!(watermark.lowest(), 10);
        assert!(watermark.done(11).is_some());
        assert!(watermark.done(13).is_some());
        assert_eq!(watermark.lowest(), 10);
        assert!(watermark.done(10).is_some());
        assert_eq!(watermark.lowest(), 12);
        assert!(watermark.done(12).is_some());
        assert_eq!(watermark.lowest(), 14);
        assert_eq!(watermark.open_mut().count(), 0);
    }

    #[test]
    fn done_twice_or_never_begun_is_nothing() {
        let mut watermark = Watermark::new(0);
        assert!(watermark.begin(0, 'a'));
        assert!(watermark.begin(1, 'b'));
        assert_eq!(watermark.done(1), Some('b'));
        assert_eq!(watermark.done(1), None);
        assert_eq!(watermark.done(7), None);
        assert!(!watermark.begin(1, 'c'), "an offset begins once");
        assert_eq!(watermark.lowest(), 0);
    }

    #[test]
    fn a_long_window_is_moved_to_its_start_and_nothing_of_it_is_lost() {
        let count = 10 * WORTH_A_MOVE as u64;
        let mut watermark = Watermark::new(0);
        watermark.begin_run(0, (0..10 * WORTH_A_MOVE).map(|place| place as u64));
        assert_eq!(watermark.next(), count);
        for offset in 0..count - 1 {
            // Each second one is done before the one ahead of it.
            let offset = offset ^ 1;
            assert_eq!(watermark.done(offset), Some(offset));
            assert_eq!(watermark.done(offset), None, "{offset} is done once");
            assert_eq!(watermark.lowest(), if offset % 2 == 0 { offset + 2 } else { offset - 1 });
        }
        assert!(watermark.window.len() < WORTH_A_MOVE, "what is done takes no room");
        let open: Vec<u64> = watermark.open_mut().map(|(offset, _)| offset).collect();
        assert_eq!(open, [count - 2]);
    }

    proptest! {
        /// The model is a set of offsets: the lowest open one, or the next when none is.
        #[test]
        fn agrees_with_a_set(
            gaps in proptest::collection::vec(1_u64..4, 1..60),
            order in proptest::collection::vec(any::<prop::sample::Index>(), 0..120),
        ) {
            let mut watermark = Watermark::new(0);
            let mut open = BTreeSet::new();
            let mut offset = 0;
            for gap in gaps {
                offset += gap;
                prop_assert!(watermark.begin(offset, offset));
                open.insert(offset);
            }
            for index in order {
                let pick = index.index(usize::try_from(offset).unwrap() + 2) as u64;
                let expected = open.remove(&pick).then_some(pick);
                prop_assert_eq!(watermark.done(pick), expected);
                let lowest = open.first().copied().unwrap_or(offset + 1);
                prop_assert_eq!(watermark.lowest(), lowest);
                let seen: Vec<u64> = watermark.open_mut().map(|(offset, _)| offset).collect();
                prop_assert_eq!(seen, open.iter().copied().collect::<Vec<_>>());
            }
        }
    }
}
