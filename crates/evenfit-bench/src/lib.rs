//! evenfit beside its peers, on the same loads in one run.

pub mod footprint;
pub mod instr;
pub mod load;
pub mod peers;
pub mod pool;
pub mod recorded;
pub mod region;
pub mod replay;
pub mod speed;
pub mod table;
