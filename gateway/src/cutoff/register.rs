//! All revocations, whatever their source, as the control thread keeps them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::revocation::{Revocation, Source, Target};
use super::snapshot::Snapshot;

/// The most revocations that are kept, all sources together. Those that have ended make room.
pub const REVOCATIONS_MAX: usize = 100_000;

/// There is no room for another revocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{REVOCATIONS_MAX} revocations are kept already; lift some, or revoke by client or owner")]
pub struct RegisterFull;

/// Revocations by id, which is in the order in which they were made.
#[derive(Debug, Default)]
pub struct Register {
    by_id: BTreeMap<String, Arc<Revocation>>,
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
        self.by_id.insert(revocation.id.clone(), revocation);
        Ok(())
    }

    /// The one with this id.
    #[must_use]
    pub fn find(&self, id: &str) -> Option<&Arc<Revocation>> {
        self.by_id.get(id)
    }

    /// The ids of those that `by` made of exactly this target through the API.
    #[must_use]
    pub fn made(&self, target: &Target, by: &str) -> Vec<String> {
        self.by_id
            .values()
            .filter(|it| it.source == Source::Api && it.by == by && it.target == *target)
            .map(|it| it.id.clone())
            .collect()
    }

    /// Takes one out.
    pub fn remove(&mut self, id: &str) -> Option<Arc<Revocation>> {
        self.by_id.remove(id)
    }

    /// Takes out all that have ended; their ids.
    pub fn take_ended(&mut self, now_unix: u64) -> Vec<String> {
        let over = |it: &Revocation| it.until.is_some_and(|end| end <= now_unix);
        let ended: Vec<String> = self
            .by_id
            .values()
            .filter(|revocation| over(revocation) && revocation.source == Source::Api)
            .map(|revocation| revocation.id.clone())
            .collect();
        ended.iter().for_each(|id| drop(self.by_id.remove(id)));
        ended
    }

    /// Puts these in the place of all that came from the file.
    ///
    /// # Errors
    /// When there is no room for all of them; then nothing has changed.
    pub fn replace_file(&mut self, revocations: Vec<Arc<Revocation>>) -> Result<(), RegisterFull> {
        let of_file = |it: &Arc<Revocation>| it.source == Source::File;
        let others = self.by_id.values().filter(|it| !of_file(it)).count();
        if others + revocations.len() > REVOCATIONS_MAX {
            return Err(RegisterFull);
        }
        self.by_id.retain(|_, revocation| !of_file(revocation));
        let named = revocations.into_iter().map(|it| (it.id.clone(), it));
        self.by_id.extend(named);
        Ok(())
    }

    /// Puts these in the place of all that came through the API; whether that changes anything.
    ///
    /// # Errors
    /// When there is no room for all of them; then nothing has changed.
    pub fn replace_api(&mut self, revocations: Vec<Arc<Revocation>>) -> Result<bool, RegisterFull> {
        let of_api = |it: &Revocation| it.source == Source::Api;
        let fresh: BTreeMap<String, Arc<Revocation>> = revocations
            .into_iter()
            .map(|it| (it.id.clone(), it))
            .collect();
        let before = self.by_id.iter().filter(|(_, it)| of_api(it));
        if before.eq(&fresh) {
            return Ok(false);
        }
        let others = self.by_id.values().filter(|it| !of_api(it)).count();
        if others + fresh.len() > REVOCATIONS_MAX {
            return Err(RegisterFull);
        }
        self.by_id.retain(|_, revocation| !of_api(revocation));
        self.by_id.extend(fresh);
        Ok(true)
    }

    /// At most `limit` in the order of their ids, behind `after`.
    pub fn page(&self, after: Option<&str>, limit: usize) -> Vec<Arc<Revocation>> {
        use std::ops::Bound;
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.by_id
            .range::<str, _>((from, Bound::Unbounded))
            .take(limit)
            .map(|(_, revocation)| revocation.clone())
            .collect()
    }

    /// How many there are, by source.
    #[must_use]
    pub fn count(&self, source: Source) -> usize {
        self.by_id.values().filter(|it| it.source == source).count()
    }

    /// What follows for the cores.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::of(self.by_id.values())
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
}
