//! evenfit beside its peers, on the same loads in one run.

pub mod adversary;
pub mod footprint;
pub mod holes;
pub mod instr;
pub mod latency;
pub mod load;
pub mod peers;
pub mod plots;
pub mod random;
pub mod recorded;
pub mod region;
pub mod replay;
pub mod speed;
pub mod suite;
pub mod svg;
pub mod synthetic;
pub mod table;
pub mod workload;
pub mod worst;
