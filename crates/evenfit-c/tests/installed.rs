//! Installs the library as a user would, and builds and runs the installed examples with the C and
//! C++ compilers.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// What the library may ask of its surroundings: what every compiler asks, and the C runtime's own
/// hooks.
const ALLOWED: [&str; 8] = [
    "memcpy",
    "memmove",
    "memset",
    "memcmp",
    "_ITM_deregisterTMCloneTable",
    "_ITM_registerTMCloneTable",
    "__cxa_finalize",
    "__gmon_start__",
];

/// The prefix that the library was installed under, once for all tests.
fn prefix() -> &'static Path {
    static PREFIX: OnceLock<PathBuf> = OnceLock::new();
    PREFIX.get_or_init(|| {
        let scratch = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let prefix = scratch.join("prefix");
        let _ = std::fs::remove_dir_all(&prefix);
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("install.sh");
        let mut install = Command::new(script);
        install
            .arg(&prefix)
            .env("CARGO", env!("CARGO"))
            .env("CARGO_TARGET_DIR", scratch.join("target"));
        succeeds(&mut install);
        prefix
    })
}

/// Runs a command and returns what it wrote; panics with both its outputs if it failed.
fn succeeds(command: &mut Command) -> String {
    let output =
        command.output().unwrap_or_else(|error| panic!("{command:?} can't be run: {error}"));
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}\n{stdout}\n{stderr}");
    stdout
}

fn is_here(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok();
    if !found {
        // Not by `eprintln!`, whose output is only shown of tests that fail.
        let _ = writeln!(std::io::stderr(), "skipped: {program} is not installed");
    }
    found
}

fn flags(program: &str, arguments: &[&str]) -> Vec<String> {
    let libraries = prefix().join("lib");
    let answer = succeeds(
        Command::new(program).args(arguments).env("PKG_CONFIG_PATH", libraries.join("pkgconfig")),
    );
    answer.split_whitespace().map(String::from).collect()
}

/// Compiles installed examples with `flags`, linked with `library`, and runs the result.
fn build_and_run(compiler: &str, sources: &[&str], flags: &[&str], library: &[String]) -> String {
    let examples = prefix().join("share/evenfit/examples");
    let source = Path::new(sources[0]).file_name().expect("a file").to_string_lossy();
    let name = format!("{source}{}{}.exe", flags.join(""), library.len());
    let name = name.replace(['/', '=', ','], "");
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let mut compile = Command::new(compiler);
    compile.args(["-O1", "-g", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]);
    compile.args(flags).arg("-I").arg(prefix().join("include"));
    compile.args(sources.iter().map(|source| examples.join(source)));
    compile.args(library).arg("-o").arg(&program);
    succeeds(&mut compile);
    succeeds(Command::new(&program).env("LD_LIBRARY_PATH", prefix().join("lib")))
}

fn static_library() -> Vec<String> {
    vec![prefix().join("lib/libevenfit.a").display().to_string()]
}

#[test]
fn the_c_example_runs_as_c99_and_c11() {
    if !is_here("gcc") {
        return;
    }
    for standard in ["-std=c99", "-std=c11"] {
        let said = build_and_run("gcc", &["example.c"], &[standard], &static_library());
        assert!(said.contains("a double free is refused"), "{said}");
        assert!(said.contains("; 0 failures"), "{said}");
        build_and_run("gcc", &["drop_in.c", "drop_in_main.c"], &[standard], &static_library());
    }
    let sanitizers = ["-std=c11", "-fsanitize=address,undefined"];
    build_and_run("gcc", &["example.c"], &sanitizers, &static_library());
}

/// The first code of a page in `docs`, as a file of its own.
fn first_code_of(page: &str, fence: &str, file: &str) -> PathBuf {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(page);
    let text = std::fs::read_to_string(page).expect("the page can be read");
    let code = text
        .split(&format!("```{fence}\n"))
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .expect("the page begins with code");
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(file);
    std::fs::write(&path, code).expect("scratch can be written");
    path
}

#[test]
fn the_pages_begin_with_programs_that_run() {
    for (compiler, standard, page, fence) in
        [("gcc", "-std=c11", "c.md", "c"), ("g++", "-std=c++17", "cpp.md", "cpp")]
    {
        if is_here(compiler) {
            let source = first_code_of(page, fence, &format!("page.{fence}"));
            let source = source.to_str().expect("a plain name");
            build_and_run(compiler, &[source], &[standard], &static_library());
        }
    }
}

#[test]
fn the_shared_library_is_found_by_pkg_config() {
    if !is_here("gcc") || !is_here("pkg-config") {
        return;
    }
    let library = flags("pkg-config", &["--cflags", "--libs", "evenfit"]);
    let said = build_and_run("gcc", &["example.c"], &["-std=c11"], &library);
    assert!(said.contains("; 0 failures"), "{said}");
}

#[test]
fn the_cpp_example_runs_under_sanitizers() {
    if !is_here("g++") {
        return;
    }
    for flags in [
        &["-std=c++17"][..],
        &["-std=c++20", "-O2"],
        &["-std=c++17", "-fsanitize=address,undefined", "-fno-sanitize-recover"],
    ] {
        let said = build_and_run("g++", &["example.cpp"], flags, &static_library());
        assert!(said.contains(": 0 failures"), "{said}");
    }
}

#[test]
fn cmake_finds_the_package() {
    if !is_here("cmake") || !is_here("gcc") {
        return;
    }
    let build = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cmake");
    let _ = std::fs::remove_dir_all(&build);
    let mut configure = Command::new("cmake");
    configure.arg("-S").arg(prefix().join("share/evenfit/examples"));
    configure.arg("-B").arg(&build);
    configure.arg(format!("-DCMAKE_PREFIX_PATH={}", prefix().display()));
    succeeds(&mut configure);
    succeeds(Command::new("cmake").arg("--build").arg(&build));
    for program in ["example_evenfit", "example_static"] {
        let said = succeeds(&mut Command::new(build.join(program)));
        assert!(said.contains("; 0 failures"), "{said}");
    }
}

#[test]
fn the_library_has_no_globals_and_needs_no_libc() {
    if !is_here("nm") {
        return;
    }
    let shared = prefix().join("lib/libevenfit.so");
    let wanted = succeeds(Command::new("nm").args(["-D", "-u"]).arg(&shared));
    for symbol in wanted.split_whitespace().filter(|word| word.len() > 1) {
        let name = symbol.split('@').next().expect("split gives at least one");
        assert!(ALLOWED.contains(&name), "the library needs {name}");
    }
    let own = succeeds(Command::new("nm").args(["-A", "--defined-only"]).arg(&static_library()[0]));
    let ours = own.lines().filter(|line| line.contains(":evenfit_c"));
    let data = |line: &&str| matches!(line.split(' ').nth(1), Some("b" | "B" | "d" | "D" | "C"));
    assert_eq!(ours.clone().find(data), None, "a global variable");
    assert!(ours.count() > 15, "nm saw the library's functions");
}

#[test]
fn the_installer_says_how_to_call_it() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("install.sh");
    for arguments in [&[][..], &["--help"], &["a", "b"]] {
        let output = Command::new(&script).args(arguments).output().expect("it runs");
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&output.stderr).contains("usage:"));
    }
}
