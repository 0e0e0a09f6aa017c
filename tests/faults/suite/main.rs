//! sealvec on storage that fails: processes killed, power cut, disks that refuse, files damaged.
//!
//! Every suite prints how many cases it ran; docs/testing.md has the table. `SEALVEC_SOAK=1` runs ten
//! times as many. One binary, because it links RocksDB.

#[cfg(unix)]
#[path = "../../it/children.rs"]
mod children;
mod corruption;
mod errors;
#[cfg(unix)]
mod kill;
mod ledger;
mod power;
mod secrecy;
mod workload;

/// What `children` takes its random numbers from.
mod tree {
    pub(crate) use crate::workload::Random;
}
