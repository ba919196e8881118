//! The committed header is the one that the source says. `EVENFIT_BLESS=1 cargo test -p evenfit-c`
//! writes it anew.

use std::path::Path;

#[test]
fn the_header_agrees_with_the_source() {
    let crate_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(crate_dir.join("cbindgen.toml"))
        .expect("cbindgen.toml can be read");
    let mut builder = cbindgen::Builder::new().with_config(config);
    for file in ["status", "options", "control", "operations", "observe"] {
        builder = builder.with_src(crate_dir.join(format!("src/{file}.rs")));
    }
    let mut generated = Vec::new();
    builder.generate().expect("the source parses").write(&mut generated);
    let generated = without_notes(&String::from_utf8(generated).expect("UTF-8"));

    let path = crate_dir.join("include/evenfit.h");
    if std::env::var_os("EVENFIT_BLESS").is_some() {
        std::fs::write(&path, &generated).expect("the header can be written");
    }
    let committed = std::fs::read_to_string(&path).expect("the header is committed");
    assert!(
        committed == generated,
        "include/evenfit.h is not what the source says: run EVENFIT_BLESS=1 cargo test -p evenfit-c --test header"
    );
}

/// Without Rust's section headings, which say nothing to a C programmer, and the gaps that
/// annotations leave.
fn without_notes(header: &str) -> String {
    let mut lines: Vec<&str> = Vec::new();
    for line in header.lines().filter(|line| line.trim() != "// # Safety") {
        let after_gap = lines.last().is_some_and(|last| last.trim() == "//");
        if after_gap && !line.trim().starts_with("// ") {
            lines.pop();
        }
        lines.push(line);
    }
    lines.join("\n") + "\n"
}
