//! The library's public API is what `crates/evenfit/api.txt` lists.
//!
//! `UPDATE=1 cargo test -p evenfit-verify --test public_api` writes that file anew.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;

const FEATURES: &str = "lock_api,critical-section,pi-futex,fork,std,allocator-api2,allocator-api2-03,allocator-api2-04";

/// The items as text, one a line, or why they can't be listed.
fn listed() -> Result<String, String> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("public_api");
    let written = Command::new(env!("CARGO"))
        .args(["rustdoc", "--quiet", "--locked", "-p", "evenfit", "--lib", "--features", FEATURES])
        .args(["--", "-Zunstable-options", "--output-format", "json", "--cap-lints", "allow"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("CARGO_TARGET_DIR", &target)
        .env("RUSTC_BOOTSTRAP", "1") // The format is not stable yet.
        .env_remove("RUSTDOCFLAGS")
        .output()
        .expect("cargo runs");
    let errors = String::from_utf8_lossy(&written.stderr);
    assert!(written.status.success(), "{errors}");

    let file = target.join("doc/evenfit.json");
    let text = std::fs::read_to_string(&file).expect("rustdoc wrote it");
    let json: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
    let (version, known) = (&json["format_version"], rustdoc_types::FORMAT_VERSION);
    if *version != known {
        return Err(format!("rustdoc writes format {version}, the test reads {known}"));
    }
    let api = public_api::Builder::from_rustdoc_json(file)
        .omit_blanket_impls(true)
        .omit_auto_trait_impls(true)
        .omit_auto_derived_impls(true)
        .build()
        .expect("the format is known");
    Ok(api.items().map(|item| format!("{item}\n")).collect())
}

/// `-` is a line that is in `old` only, `+` one in `new` only.
fn differences(old: &str, new: &str) -> Vec<String> {
    let only = |sign: char, here: &str, there: &str| {
        let there: Vec<&str> = there.lines().collect();
        let lines = here.lines().filter(|line| !there.contains(line));
        lines.map(|line| format!("{sign} {line}")).collect::<Vec<_>>()
    };
    [only('-', old, new), only('+', new, old)].concat()
}

#[test]
#[cfg_attr(not(all(target_arch = "x86_64", target_os = "linux")), ignore = "lists x86-64 Linux")]
fn the_public_api_is_the_listed_one() {
    let api = match listed() {
        Ok(api) => api,
        Err(why) => {
            // Not by `eprintln!`, whose output is only shown of tests that fail.
            let _ = writeln!(std::io::stderr(), "skipped: the public API: {why}");
            return;
        }
    };
    assert!(api.lines().count() > 100, "only a part was listed:\n{api}");

    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../evenfit/api.txt");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&file, &api).expect("the list can be written");
    }
    let expected = std::fs::read_to_string(&file).expect("the list is there");
    let differences = differences(&expected, &api);
    assert!(
        differences.is_empty(),
        "The public API has changed. If that is meant, CHANGELOG.md says it, and UPDATE=1 writes \
         crates/evenfit/api.txt anew:\n{}",
        differences.join("\n")
    );
}
