//! evenfit beside its peers, on the same loads in one run.

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
compile_error!(
    "evenfit-bench measures with x86-64's trap flag and time stamps: it needs x86-64 Linux"
);

pub mod adversary;
pub mod derived;
pub mod footprint;
pub mod holes;
pub mod instr;
pub mod latency;
pub mod load;
pub mod misuse;
pub mod peers;
pub mod plots;
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
