//! Compiles the file system that fails, against the headers of the RocksDB that is linked.

use std::env;
use std::path::Path;

fn main() {
    println!("cargo::rerun-if-changed=shim.cc");
    let sys = env::var("DEP_ROCKSDB_CARGO_MANIFEST_DIR").expect("librocksdb-sys says where it is");
    let target = env::var("CARGO_CFG_TARGET_OS").expect("cargo says for what it builds");
    let mut build = cc::Build::new();
    build.cpp(true).std("c++20").file("shim.cc").warnings(false);
    build.include(Path::new(&sys).join("rocksdb/include")).include(Path::new(&sys).join("rocksdb"));
    // As the library was compiled: the layout of its classes depends on these.
    build.define("NDEBUG", Some("1"));
    build.define("HAVE_ALIGNED_NEW", None).define("HAVE_UINT128_EXTENSION", None);
    build.define("ROCKSDB_PLATFORM_POSIX", None).define("ROCKSDB_LIB_IO_POSIX", None);
    match target.as_str() {
        "macos" => build.define("OS_MACOSX", None),
        "freebsd" => build.define("OS_FREEBSD", None),
        _ => build
            .define("OS_LINUX", None)
            .define("ROCKSDB_SCHED_GETCPU_PRESENT", None)
            .define("ROCKSDB_AUXV_GETAUXVAL_PRESENT", None)
            .define("ROCKSDB_FALLOCATE_PRESENT", None)
            .define("ROCKSDB_RANGESYNC_PRESENT", None),
    };
    build.flag("-include").flag("cstdint");
    build.compile("sealvec_faults_shim");
}
