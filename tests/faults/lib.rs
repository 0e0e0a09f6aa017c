//! A file system for RocksDB that fails when it is told to: loses what was not synced, as a power
//! cut does, or refuses the n-th operation, as a bad disk does.
//!
//! The work is done in `shim.cc`, over RocksDB's own `FaultInjectionTestFS`, which is in the library
//! that is linked anyway. This is the only file outside the kernels with `unsafe`, and it is in no
//! build but that of the tests.
//!
//! One [`FaultFs`] serves one open database. After [`cut`](FaultFs::cut), close the database and call
//! [`restore`](FaultFs::restore); the directory is then as after a power cut and is opened by the
//! usual means.

use std::fmt;
use std::ptr::{NonNull, null_mut};

use librocksdb_sys::rocksdb_env_t;
use rocksdb::Env;

#[repr(C)]
struct Raw {
    _opaque: [u8; 0],
}

// `bool` and `u64` are those of C++; the functions take a lock of their own.
unsafe extern "C" {
    fn sealvec_fault_fs_new(env: *mut *mut rocksdb_env_t) -> *mut Raw;
    fn sealvec_fault_fs_free(fs: *mut Raw);
    fn sealvec_fault_fs_fail(fs: *mut Raw, kinds: u32, nth: u64, on: bool, no_space: bool);
    fn sealvec_fault_fs_count(fs: *mut Raw) -> u64;
    fn sealvec_fault_fs_failed(fs: *mut Raw) -> u64;
    fn sealvec_fault_fs_cut(fs: *mut Raw);
    fn sealvec_fault_fs_restore(fs: *mut Raw, mode: i32, seed: u64) -> u64;
}

/// What may fail; add them up.
pub mod kind {
    /// Making a file.
    pub const CREATE: u32 = 1;
    /// Writing to a file; what fails writes half.
    pub const APPEND: u32 = 2;
    /// An fsync of a file; what fails syncs nothing.
    pub const SYNC: u32 = 4;
    /// Renaming, linking and deleting.
    pub const NAME: u32 = 8;
    /// An fsync of a directory.
    pub const DIRECTORY: u32 = 16;
    /// Closing a file.
    pub const CLOSE: u32 = 32;
    /// Opening for reading, and reading.
    pub const READ: u32 = 64;
    /// Everything that changes something.
    pub const WRITES: u32 = CREATE | APPEND | SYNC | NAME | DIRECTORY | CLOSE;
}

/// What is left of what was written but not synced when the power went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// Nothing.
    Nothing,
    /// All of it: the process died, and not the machine.
    All,
    /// The first part, which may end in the middle of a record.
    Torn,
    /// The first part with its last byte changed.
    Garbled,
    /// Nothing, and files whose directory was not synced are gone.
    NoNewFiles,
}

impl Left {
    /// Every one of them.
    pub const EACH: [Self; 5] =
        [Self::Nothing, Self::All, Self::Torn, Self::Garbled, Self::NoNewFiles];
}

/// A file system that fails.
pub struct FaultFs {
    raw: NonNull<Raw>,
    env: Env,
}

impl fmt::Debug for FaultFs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultFs").finish_non_exhaustive()
    }
}

// SAFETY: every function of the shim takes the lock of what it works on.
unsafe impl Send for FaultFs {}
// SAFETY: as for `Send`.
unsafe impl Sync for FaultFs {}

impl Default for FaultFs {
    fn default() -> Self {
        Self::new()
    }
}

impl FaultFs {
    /// One that does not fail yet.
    #[must_use]
    pub fn new() -> Self {
        let mut env = null_mut();
        // SAFETY: the shim makes both and gives them away; `env` is a valid place for a pointer.
        let raw = unsafe { sealvec_fault_fs_new(&raw mut env) };
        // SAFETY: `env` is as `rocksdb_env_destroy` wants it, and nobody else frees it.
        let env = unsafe { Env::from_raw(env) };
        Self { raw: NonNull::new(raw).expect("the shim makes one or dies"), env }
    }

    /// For `Database::open_on`.
    #[must_use]
    pub const fn env(&self) -> &Env {
        &self.env
    }

    /// Counts operations of these kinds anew and fails the `nth`, from 1, or none if that is 0; those
    /// after it too if it goes `on`; as a full disk or as a bad one.
    pub fn fail(&self, kinds: u32, nth: u64, on: bool, no_space: bool) {
        // SAFETY: `raw` is what the shim made.
        unsafe { sealvec_fault_fs_fail(self.raw.as_ptr(), kinds, nth, on, no_space) }
    }

    /// Operations since [`fail`](Self::fail).
    #[must_use]
    pub fn count(&self) -> u64 {
        // SAFETY: as in `fail`.
        unsafe { sealvec_fault_fs_count(self.raw.as_ptr()) }
    }

    /// Operations that failed since [`fail`](Self::fail).
    #[must_use]
    pub fn failed(&self) -> u64 {
        // SAFETY: as in `fail`.
        unsafe { sealvec_fault_fs_failed(self.raw.as_ptr()) }
    }

    /// The power goes: nothing reaches the disk from now on.
    pub fn cut(&self) {
        // SAFETY: as in `fail`.
        unsafe { sealvec_fault_fs_cut(self.raw.as_ptr()) }
    }

    /// The power is back: makes of the files what the disk has. Says how many bytes are lost.
    ///
    /// The database must be closed.
    #[must_use]
    pub fn restore(&self, left: Left, seed: u64) -> u64 {
        // SAFETY: as in `fail`.
        unsafe { sealvec_fault_fs_restore(self.raw.as_ptr(), left as i32, seed) }
    }
}

impl Drop for FaultFs {
    fn drop(&mut self) {
        // SAFETY: `raw` is what the shim made, and this is its end. The environment holds a share of
        // the state behind it.
        unsafe { sealvec_fault_fs_free(self.raw.as_ptr()) }
    }
}
