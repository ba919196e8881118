//! Blocks of which the contract speaks.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use core::alloc::Layout;
use core::cell::RefCell;
use core::ops::{Deref, DerefMut};

use critical_section::Mutex;
use evenfit_bound::{Monitor, Violation};

use crate::contract;

static MONITOR: Mutex<RefCell<Monitor<{ contract::CONTRACT.len() }>>> =
    Mutex::new(RefCell::new(contract::monitor()));

/// A block of the contract's class `CLASS`, counted while it lives.
pub struct Kept<T, const CLASS: usize>(T);

impl<T: ?Sized, const CLASS: usize> Kept<Box<T>, CLASS> {
    pub fn new(block: Box<T>) -> Self {
        allocated(CLASS, Layout::for_value(&*block));
        Self(block)
    }
}

impl<T, const CLASS: usize> Kept<VecDeque<T>, CLASS> {
    pub fn queue(queue: VecDeque<T>) -> Self {
        let layout = Layout::array::<T>(queue.capacity());
        allocated(CLASS, layout.expect("it is allocated"));
        Self(queue)
    }
}

impl<T, const CLASS: usize> Deref for Kept<T, CLASS> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T, const CLASS: usize> DerefMut for Kept<T, CLASS> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T, const CLASS: usize> Drop for Kept<T, CLASS> {
    fn drop(&mut self) {
        freed(CLASS);
    }
}

pub fn allocated(class: usize, layout: Layout) {
    critical_section::with(|token| MONITOR.borrow_ref_mut(token).allocated(class, layout));
}

pub fn freed(class: usize) {
    critical_section::with(|token| MONITOR.borrow_ref_mut(token).freed(class));
}

pub fn first_violation() -> Option<Violation> {
    critical_section::with(|token| MONITOR.borrow_ref(token).first_violation())
}
