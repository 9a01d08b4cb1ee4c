//! Compiles the sources of pondsocket for the model checker, without their features.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-cfg=pond_loom");
    println!("cargo::rustc-check-cfg=cfg(feature, values(\"axum\", \"server\", \"testing\", \"tls\"))");
}
