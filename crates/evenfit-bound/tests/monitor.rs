//! The monitor of a contract in generated source.

use std::alloc::Layout;

use evenfit_bound::{Contract, ViolationKind};

#[allow(missing_docs, dead_code, reason = "as generated")]
mod sensor {
    include!("contracts/sensor.rs");
}

fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).unwrap()
}

#[test]
fn the_generated_classes_are_the_contract() {
    let contract = Contract::parse(include_str!("contracts/sensor.toml")).unwrap();
    assert_eq!(contract.sites.len(), sensor::CONTRACT.len());
    for (site, class) in contract.sites.iter().zip(sensor::CONTRACT) {
        assert_eq!((site.name.as_str(), site.min_bytes), (class.name, class.min_bytes as u64));
        assert_eq!(
            (site.max_bytes, site.align_bytes),
            (class.max_bytes as u64, class.align_bytes as u64)
        );
        assert_eq!(site.most_live, u64::from(class.most_live));
    }
}

#[test]
fn a_kept_contract_is_silent_and_the_first_violation_stays() {
    let mut monitor = sensor::monitor();
    for _ in 0..1000 {
        for _ in 0..4 {
            monitor.allocated(sensor::PACKET_0, layout(1500, 8));
        }
        monitor.allocated(sensor::FRAME_BUFFER_1, layout(4096, 64));
        for _ in 0..4 {
            monitor.freed(sensor::PACKET_0);
        }
        monitor.freed(sensor::FRAME_BUFFER_1);
    }
    assert_eq!(monitor.first_violation(), None);
    monitor.allocated(sensor::FRAME_BUFFER_1, layout(4097, 64));
    monitor.freed(sensor::TIMER_2);
    let violation = monitor.first_violation().unwrap();
    assert_eq!((violation.class, violation.kind), (sensor::FRAME_BUFFER_1, ViolationKind::Size));
    assert_eq!(violation.to_string(), "frame buffer: a block of 4097 bytes, outside its range");
}

#[test]
fn each_kind_of_violation_is_told_apart() {
    let first = |act: fn(&mut evenfit_bound::Monitor<3>)| {
        let mut monitor = sensor::monitor();
        act(&mut monitor);
        monitor.first_violation().map(|violation| violation.kind)
    };
    assert_eq!(first(|m| m.allocated(0, layout(19, 8))), Some(ViolationKind::Size));
    assert_eq!(first(|m| m.allocated(0, layout(20, 16))), Some(ViolationKind::Align));
    assert_eq!(first(|m| m.freed(0)), Some(ViolationKind::FreedTooOften));
    assert_eq!(
        first(|m| (0..3).for_each(|_| m.allocated(1, layout(4096, 8)))),
        Some(ViolationKind::TooMany)
    );
    assert_eq!(first(|m| m.allocated(9, layout(1, 1))), None);
}
