//! All revocations, whatever their source, as the control thread keeps them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::revocation::{Revocation, Source, Target};
use super::snapshot::{End, Snapshot};

/// The most revocations that are kept, all sources together. Those that have ended make room.
pub const REVOCATIONS_MAX: usize = 100_000;

/// There is no room for another revocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{REVOCATIONS_MAX} revocations are kept already; lift some, or revoke by client or owner")]
pub struct RegisterFull;

/// Revocations by id, which is in the order in which they were made.
#[derive(Debug, Default)]
pub struct Register {
    by_id: BTreeMap<String, Entry>,
}

/// A revocation and when it ends; that counts from when it was taken in.
#[derive(Debug)]
struct Entry {
    revocation: Arc<Revocation>,
    end: End,
}

// === impl Entry ===

impl Entry {
    /// Taken in now; one that was there before and is the same keeps its end.
    fn new(revocation: Arc<Revocation>, before: Option<Self>) -> Self {
        let same = |entry: &Self| entry.revocation == revocation;
        let end = match before.filter(same) {
            Some(entry) => entry.end,
            None => End::from_now(revocation.until),
        };
        Self { revocation, end }
    }
}

// === impl Register ===

impl Register {
    /// Takes one more.
    ///
    /// # Errors
    /// When there is no room, even without those that have ended.
    pub fn add(&mut self, revocation: Arc<Revocation>, now_unix: u64) -> Result<(), RegisterFull> {
        if self.by_id.len() >= REVOCATIONS_MAX {
            self.take_ended(now_unix);
        }
        if self.by_id.len() >= REVOCATIONS_MAX {
            return Err(RegisterFull);
        }
        self.put(revocation, None);
        Ok(())
    }

    fn put(&mut self, revocation: Arc<Revocation>, before: Option<Entry>) {
        let id = revocation.id.clone();
        self.by_id.insert(id, Entry::new(revocation, before));
    }

    /// The one with this id.
    #[must_use]
    pub fn find(&self, id: &str) -> Option<&Arc<Revocation>> {
        self.by_id.get(id).map(|entry| &entry.revocation)
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Revocation>> {
        self.by_id.values().map(|entry| &entry.revocation)
    }

    /// Puts these in the place of all from one source; those that are the same keep their ends.
    fn replace(&mut self, source: Source, revocations: Vec<Arc<Revocation>>) {
        let is_of = |_: &String, entry: &mut Entry| entry.revocation.source == source;
        let mut before: BTreeMap<String, Entry> = self.by_id.extract_if(.., is_of).collect();
        for revocation in revocations {
            let known = before.remove(&revocation.id);
            self.put(revocation, known);
        }
    }

    /// The ids of those that `by` made of exactly this target through the API.
    #[must_use]
    pub fn made(&self, target: &Target, by: &str) -> Vec<String> {
        self.all()
            .filter(|it| it.source == Source::Api && it.by == by && it.target == *target)
            .map(|it| it.id.clone())
            .collect()
    }

    /// Takes one out.
    pub fn remove(&mut self, id: &str) -> Option<Arc<Revocation>> {
        self.by_id.remove(id).map(|entry| entry.revocation)
    }

    /// Takes out all that have ended; their ids.
    pub fn take_ended(&mut self, now_unix: u64) -> Vec<String> {
        let ended: Vec<String> = self
            .by_id
            .values()
            .filter(|it| it.end.is_over(now_unix) && it.revocation.source == Source::Api)
            .map(|it| it.revocation.id.clone())
            .collect();
        ended.iter().for_each(|id| drop(self.by_id.remove(id)));
        ended
    }

    /// Puts these in the place of all that came from the file.
    ///
    /// # Errors
    /// When there is no room for all of them; then nothing has changed.
    pub fn replace_file(&mut self, revocations: Vec<Arc<Revocation>>) -> Result<(), RegisterFull> {
        if self.count(Source::Api) + revocations.len() > REVOCATIONS_MAX {
            return Err(RegisterFull);
        }
        self.replace(Source::File, revocations);
        Ok(())
    }

    /// Puts these in the place of all that came through the API; whether that changes anything.
    ///
    /// # Errors
    /// When there is no room for all of them; then nothing has changed.
    pub fn replace_api(&mut self, revocations: Vec<Arc<Revocation>>) -> Result<bool, RegisterFull> {
        let fresh: BTreeMap<&String, &Arc<Revocation>> =
            revocations.iter().map(|it| (&it.id, it)).collect();
        let before = self.all().filter(|it| it.source == Source::Api);
        if before.eq(fresh.values().copied()) {
            return Ok(false);
        }
        if self.count(Source::File) + fresh.len() > REVOCATIONS_MAX {
            return Err(RegisterFull);
        }
        self.replace(Source::Api, revocations);
        Ok(true)
    }

    /// At most `limit` in the order of their ids, behind `after`.
    pub fn page(&self, after: Option<&str>, limit: usize) -> Vec<Arc<Revocation>> {
        use std::ops::Bound;
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.by_id
            .range::<str, _>((from, Bound::Unbounded))
            .take(limit)
            .map(|(_, entry)| entry.revocation.clone())
            .collect()
    }

    /// How many there are, by source.
    #[must_use]
    pub fn count(&self, source: Source) -> usize {
        self.all().filter(|it| it.source == source).count()
    }

    /// What follows for the cores.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::lasting(self.by_id.values().map(|it| (&it.revocation, it.end)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revocation(id: usize, source: Source, until: Option<u64>) -> Arc<Revocation> {
        Arc::new(Revocation {
            id: format!("{id:08}"),
            target: Target::Key {
                key: format!("k{id}"),
            },
            until,
            reason: "test".to_owned(),
            by: "test".to_owned(),
            source,
            created: Some(0),
        })
    }

    #[test]
    fn what_has_ended_makes_room_and_nothing_else_does() {
        let mut register = Register::default();
        for id in 0..REVOCATIONS_MAX {
            let until = (id < 2).then_some(5);
            let added = register.add(revocation(id, Source::Api, until), 0);
            assert_eq!(added, Ok(()));
        }
        let one_more = revocation(REVOCATIONS_MAX, Source::Api, None);
        assert_eq!(register.add(one_more.clone(), 4), Err(RegisterFull));
        assert_eq!(register.add(one_more, 5), Ok(()));
        assert_eq!(register.count(Source::Api), REVOCATIONS_MAX - 1);
        let file = vec![revocation(9, Source::File, None); 2];
        assert_eq!(register.replace_file(file), Err(RegisterFull));
    }

    #[test]
    fn the_file_replaces_what_came_from_it_alone() {
        let mut register = Register::default();
        register.add(revocation(1, Source::Api, None), 0).unwrap();
        let of_file = |ids: &[usize]| {
            let make = |id: &usize| revocation(*id, Source::File, None);
            ids.iter().map(make).collect::<Vec<_>>()
        };
        register.replace_file(of_file(&[2, 3])).unwrap();
        register.replace_file(of_file(&[4])).unwrap();
        let ids: Vec<String> = register
            .page(None, 9)
            .iter()
            .map(|it| it.id.clone())
            .collect();
        assert_eq!(ids, ["00000001", "00000004"]);
        let own = |id| vec![revocation(id, Source::Api, None)];
        assert_eq!(register.replace_api(own(1)), Ok(false));
        assert_eq!(register.replace_api(own(2)), Ok(true));
        assert!(register.find("00000001").is_none() && register.find("00000004").is_some());
        assert_eq!(register.replace_api(own(1)), Ok(true));
        let page = register.page(Some("00000001"), 9);
        assert_eq!((page.len(), page[0].source), (1, Source::File));
        assert_eq!(register.snapshot().count(), 2);
    }

    #[test]
    fn a_clock_that_is_set_forward_takes_nothing_out() {
        let now = crate::exchange::unix_seconds();
        let mut register = Register::default();
        let until = [Some(now + 3600), Some(now), None];
        let all: Vec<_> = (0..)
            .zip(until)
            .map(|(id, it)| revocation(id, Source::Api, it))
            .collect();
        assert_eq!(register.replace_api(all.clone()), Ok(true));
        assert_eq!(register.take_ended(now + 86_400), ["00000001"]);
        // Read again in that moment, what is the same lasts as long as before.
        let ends: Vec<End> = register.by_id.values().map(|it| it.end).collect();
        assert_eq!(register.replace_api(all), Ok(true));
        let again: Vec<End> = ["00000000", "00000002"]
            .map(|id| register.by_id[id].end)
            .into();
        assert_eq!(again, ends);
        assert_eq!(register.take_ended(now + 86_400), ["00000001"]);
    }
}
