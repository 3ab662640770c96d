//! Linker settings of `libvulkan_vw.so`.
//!
//! rustc's own version script already hides everything but the `#[no_mangle]` functions, which are the three of
//! the loader interface (`src/icd.rs`).

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // Debian's name of the folder of this architecture's libraries, for `vw-run`.
    let architecture = std::env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    println!("cargo:rustc-env=VW_TRIPLET={architecture}-linux-gnu");
    // An older C library than this machine's, for a driver that runs where that is (`xtask/src/vm.rs` unpacks it).
    println!("cargo:rerun-if-env-changed=VW_GUEST_SYSROOT");
    if let Some(root) = std::env::var_os("VW_GUEST_SYSROOT") {
        println!("cargo:rustc-link-arg=--sysroot={}", root.display());
        println!("cargo:rustc-link-arg=-L{}/usr/lib/{architecture}-linux-gnu", root.display());
    }
    // A stable name whatever the file is called, references bound at load time (a missing symbol shows at once,
    // not in the middle of a frame), and no interposition of our own functions by the program's.
    for arg in ["-Wl,-soname,libvulkan_vw.so", "-Wl,-z,now", "-Wl,-z,defs", "-Wl,-Bsymbolic"] {
        println!("cargo:rustc-cdylib-link-arg={arg}");
    }
}
