//! Everything in evenfit that uses atomics, in every interleaving and with every value that C11's
//! memory model lets a load return, as far as loom explores them.
//!
//! The library is built again with loom's atomics (`--cfg loom`). So an ordinary `cargo test`
//! starts the models in a child process, with a target directory of their own:
//!
//! ```sh
//! RUSTFLAGS="--cfg loom" cargo test -p evenfit --features pi-futex --test models
//! ```

#[cfg(loom)]
mod explored;

/// Runs the models by the command above.
#[cfg(not(loom))]
#[test]
#[cfg_attr(
    not(target_pointer_width = "64"),
    ignore = "cargo builds them for the machine that builds, not for this target"
)]
fn every_model_holds() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let target = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("loom");
    let models = std::process::Command::new(cargo)
        .args(["test", "-p", "evenfit", "--test", "models"])
        .args(["--features", "pi-futex"])
        // loom itself is slow without optimisation.
        .args(["--config", "profile.dev.opt-level=1", "--config", "profile.dev.debug=false"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("RUSTFLAGS", "--cfg loom")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env("CARGO_TARGET_DIR", target)
        .output()
        .expect("cargo runs");
    let said = String::from_utf8_lossy(&models.stdout);
    assert!(
        models.status.success() && said.contains(" passed; 0 failed"),
        "{said}{}",
        String::from_utf8_lossy(&models.stderr)
    );
    println!("{said}");
}
