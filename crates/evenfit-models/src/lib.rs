//! Models of everything in evenfit that uses atomics: see `tests/models.rs`.
