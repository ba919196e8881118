//! Thread, time and site of each event, kept only where they vary.

use crate::{Event, Record};

/// Three columns beside the events; an empty one is all zeros.
#[derive(Clone, Debug, Default)]
pub(crate) struct Columns {
    times: Vec<u64>,
    threads: Vec<u32>,
    sites: Vec<u32>,
}

impl Columns {
    /// Notes the record that comes after `len` others.
    pub fn push(&mut self, len: usize, record: &Record) {
        push(&mut self.times, len, record.time);
        push(&mut self.threads, len, record.thread);
        push(&mut self.sites, len, record.site);
    }

    /// Changes the site of the newest of `len` records, whose site is 0.
    pub fn site_of_last(&mut self, len: usize, site: u32) {
        self.sites.truncate(len - 1);
        push(&mut self.sites, len - 1, site);
    }

    pub fn record(&self, index: usize, event: Event) -> Record {
        Record {
            event,
            time: get(&self.times, index),
            thread: get(&self.threads, index),
            site: get(&self.sites, index),
        }
    }
}

fn push<T: Copy + Default + PartialEq>(column: &mut Vec<T>, len: usize, value: T) {
    if column.is_empty() {
        if value == T::default() {
            return;
        }
        column.resize(len, T::default());
    }
    column.push(value);
}

fn get<T: Copy + Default>(column: &[T], index: usize) -> T {
    column.get(index).copied().unwrap_or_default()
}
