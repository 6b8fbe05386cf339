//! Versioned resources.

use std::collections::HashMap;

use crate::{
    ids::IdSource,
    types::{NamedResources, ResourcesId, ResourcesUpdate, Timestamp},
};

/// Sets of resources with all their versions.
#[derive(Debug, Default)]
pub(super) struct ResourceTable {
    /// In the order of their creation.
    sets: Vec<Set>,
    places: HashMap<ResourcesId, usize>,
    latest: Option<usize>,
    /// How many versions were stored so far.
    stored: u64,
}

#[derive(Debug, Default)]
struct Set {
    /// From version 1 on; at least one.
    versions: Vec<ResourcesUpdate>,
    /// Orders the sets by when their last version was stored, where their update times are equal.
    stored: u64,
}

impl Set {
    fn update_time(&self) -> Option<Timestamp> {
        self.versions.last().map(|update| update.update_time)
    }
}

impl ResourceTable {
    /// Stores resources under a fresh id.
    pub(super) fn add(
        &mut self,
        ids: &dyn IdSource,
        resources: NamedResources,
        now: Timestamp,
    ) -> ResourcesUpdate {
        let id = loop {
            let id = ResourcesId::from(format!("rs-{}", ids.hex(12)));
            if !self.places.contains_key(&id) {
                break id;
            }
        };
        self.update(id, resources, now)
    }

    /// Stores the next version, the first one if the id is new.
    pub(super) fn update(
        &mut self,
        id: ResourcesId,
        resources: NamedResources,
        now: Timestamp,
    ) -> ResourcesUpdate {
        let first = self.get(&id, Some(1));
        let update = ResourcesUpdate {
            create_time: first.map_or(now, |first| first.create_time),
            update_time: now,
            version: self.get(&id, None).map_or(1, |latest| latest.version + 1),
            resources_id: id,
            resources,
        };
        self.put(update.clone());
        update
    }

    /// Stores the next version of a set as it is.
    pub(super) fn put(&mut self, update: ResourcesUpdate) {
        let place = *self.places.entry(update.resources_id.clone()).or_insert_with(|| {
            self.sets.push(Set::default());
            self.sets.len() - 1
        });
        let greatest = self.latest().map(|update| update.update_time);
        self.stored += 1;
        let now = update.update_time;
        let set = &mut self.sets[place];
        set.stored = self.stored;
        set.versions.push(update);
        if greatest.is_none_or(|greatest| now >= greatest) {
            self.latest = Some(place);
        } else if self.latest == Some(place) {
            // The clock went back, so what was the latest until now may be so no longer.
            self.latest = (0..self.sets.len())
                .max_by_key(|&place| (self.sets[place].update_time(), self.sets[place].stored));
        }
    }

    /// Takes sets out for good, but not the latest. Those that were taken out are given back.
    pub(super) fn purge(&mut self, ids: Vec<ResourcesId>) -> Vec<ResourcesId> {
        let latest = self.latest().map(|update| update.resources_id.clone());
        let mut purged = Vec::new();
        for id in ids {
            if Some(&id) != latest.as_ref() && self.places.remove(&id).is_some() {
                purged.push(id);
            }
        }
        if !purged.is_empty() {
            // Nothing else knows the places, so they may be given anew.
            let Self { sets, places, .. } = self;
            sets.retain(|set| {
                let id = set.versions.first().map(|first| &first.resources_id);
                id.is_some_and(|id| places.contains_key(id))
            });
            for (place, set) in sets.iter().enumerate() {
                if let Some(first) = set.versions.first() {
                    places.insert(first.resources_id.clone(), place);
                }
            }
            self.latest = latest.and_then(|id| self.places.get(&id).copied());
        }
        purged
    }

    /// Every set in its latest version, in the order of creation.
    pub(super) fn current(&self) -> impl Iterator<Item = &ResourcesUpdate> {
        self.sets.iter().filter_map(|set| set.versions.last())
    }

    /// The set with the greatest update time; among equals, that which was stored last.
    pub(super) fn latest(&self) -> Option<&ResourcesUpdate> {
        self.sets.get(self.latest?)?.versions.last()
    }

    /// One version of a set, or its latest.
    pub(super) fn get(&self, id: &ResourcesId, version: Option<u64>) -> Option<&ResourcesUpdate> {
        let versions = &self.sets[*self.places.get(id)?].versions;
        match version {
            None => versions.last(),
            Some(version) => versions.get(usize::try_from(version.checked_sub(1)?).ok()?),
        }
    }

    /// How many sets there are.
    pub(super) fn len(&self) -> usize {
        self.sets.len()
    }
}
