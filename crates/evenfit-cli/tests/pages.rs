//! The repository's pages: links lead somewhere, the book is complete, `ARCHITECTURE.md` is right.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

use common::root;

fn read(page: &Path) -> String {
    fs::read_to_string(root().join(page)).unwrap_or_else(|error| panic!("{page:?}: {error}"))
}

/// The `.md` files in a folder, relative to the root.
fn pages_in(folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join(folder)).unwrap();
    let names = entries.map(|entry| Path::new(folder).join(entry.unwrap().file_name()));
    names.filter(|path| path.extension().is_some_and(|kind| kind == "md")).collect()
}

fn all_pages() -> Vec<PathBuf> {
    let packages = ["evenfit", "evenfit-trace", "evenfit-bound", "evenfit-cli"];
    let packages = packages.map(|package| format!("crates/{package}"));
    let folders = ["", "docs", "traces"].into_iter().chain(packages.iter().map(String::as_str));
    folders.flat_map(pages_in).collect()
}

/// The lines of a page outside of its code blocks.
fn prose(page: &str) -> impl Iterator<Item = &str> {
    let mut in_code = false;
    page.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        in_code ^= is_fence;
        !in_code && !is_fence
    })
}

/// What stands between backquotes in a line.
fn code_spans(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// The targets of a page's links and pictures.
fn links(page: &str) -> Vec<String> {
    let mut links = Vec::new();
    for line in prose(page) {
        // A link in backquotes is text.
        let text: String = line.split('`').step_by(2).collect();
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        links.extend(targets.map(str::to_owned));
    }
    links
}

fn headings(page: &str) -> Vec<&str> {
    let lines = prose(page).filter(|line| line.starts_with('#'));
    lines.map(|line| line.trim_start_matches('#').trim()).collect()
}

/// The anchor of a heading, as both mdBook and the usual forges make it.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|&c| c.is_alphanumeric() || "-_ ".contains(c));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

/// `folder/../file` as `file`. `None`: it leaves the repository.
fn normal(path: &Path) -> Option<PathBuf> {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir if !normal.pop() => return None,
            Component::ParentDir | Component::CurDir => {}
            other => normal.push(other),
        }
    }
    Some(normal)
}

/// What is wrong with a link of `page`, or `None`.
fn fault(page: &Path, link: &str) -> Option<&'static str> {
    if link.starts_with("https://") || link.starts_with("http://") {
        return None;
    }
    let (file, fragment) = link.split_once('#').unwrap_or((link, ""));
    let target = if file.is_empty() {
        page.to_owned()
    } else {
        match normal(&page.parent().unwrap().join(file)) {
            Some(target) => target,
            None => return Some("leads out of the repository"),
        }
    };
    if !root().join(&target).exists() {
        return Some("no such file");
    }
    if page.starts_with("docs") && !target.starts_with("docs") {
        return Some("leads out of the book");
    }
    if page.starts_with("crates") && !target.starts_with(page.parent().unwrap()) {
        return Some("leads out of the package");
    }
    let is_known = fragment.is_empty()
        || headings(&read(&target)).into_iter().any(|heading| anchor(heading) == fragment);
    (!is_known).then_some("no such heading")
}

#[test]
fn every_link_leads_to_a_file_and_a_heading() {
    let mut count = 0;
    let mut faults = Vec::new();
    for page in all_pages() {
        for link in links(&read(&page)) {
            count += 1;
            faults.extend(fault(&page, &link).map(|what| format!("{page:?}: {link}: {what}")));
        }
    }
    assert!(count > 50, "only {count} links were found");
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn every_page_of_the_book_is_in_its_summary() {
    let summary = links(&read(Path::new("docs/SUMMARY.md")));
    let listed: BTreeSet<PathBuf> =
        summary.iter().map(|link| Path::new("docs").join(link)).collect();
    assert_eq!(listed.len(), summary.len(), "a page is listed twice");
    let mut pages: BTreeSet<PathBuf> = pages_in("docs").into_iter().collect();
    assert!(pages.remove(Path::new("docs/SUMMARY.md")));
    assert_eq!(listed, pages);
}

/// Whether `text` has `word`, with no letter of an identifier at either end.
fn has_word(text: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).any(|(at, _)| {
        !text[..at].ends_with(is_part) && !text[at + word.len()..].starts_with(is_part)
    })
}

/// Whether the file at `path` defines `symbol`: a heading of a page, a function of a script, an
/// item in Rust. `Type::name` is a function in an `impl` of that type.
fn defines(path: &str, symbol: &str) -> bool {
    let text = read(Path::new(path));
    let has_line = |begins: &dyn Fn(&str) -> bool| text.lines().any(|line| begins(line.trim()));
    match path.rsplit_once('.').unwrap().1 {
        "md" => headings(&text).contains(&symbol),
        "sh" => has_line(&|line| line.starts_with(&format!("{symbol}()"))),
        "js" => has_line(&|line| line.starts_with(&format!("function {symbol}("))),
        "rs" => {
            let (owner, name) = symbol.rsplit_once("::").unwrap_or(("", symbol));
            let is_owned = owner.is_empty()
                || has_line(&|line| line.starts_with("impl") && has_word(line, owner));
            let kinds = ["fn", "struct", "enum", "trait", "type", "const", "macro_rules!"];
            let is_item = |line: &str| {
                !line.starts_with("//")
                    && kinds.iter().any(|kind| has_word(line, &format!("{kind} {name}")))
            };
            is_owned && has_line(&is_item)
        }
        kind => panic!("{path}: what defines a symbol in .{kind}?"),
    }
}

/// The cells of a page's table whose first heading is `first`.
fn table<'a>(page: &'a str, first: &str) -> Vec<Vec<&'a str>> {
    let begin = format!("| {first} |");
    let rows = page.lines().skip_while(|line| !line.starts_with(&begin));
    let rows = rows.skip(2).take_while(|line| line.starts_with('|'));
    rows.map(|row| row.trim_matches('|').split(" | ").map(str::trim).collect()).collect()
}

#[test]
fn what_the_architecture_answers_with_exists() {
    let page = read(Path::new("ARCHITECTURE.md"));
    let answers = table(&page, "question");
    assert_eq!(answers.len(), 10);
    for row in answers {
        let [question, answer] = row[..] else { panic!("{row:?}") };
        let mut path = None;
        let mut symbols = 0;
        for span in code_spans(answer) {
            if span.contains('/') {
                assert!(root().join(span).is_file(), "{question} {span}: no such file");
                path = Some(span);
            } else {
                let path = path.expect("a path stands before each symbol");
                assert!(defines(path, span), "{question} {path} does not define {span}");
                symbols += 1;
            }
        }
        assert!(symbols > 0, "{question} has no symbol for an answer");
    }
}

#[test]
fn every_file_that_a_root_page_names_exists() {
    for page in pages_in("") {
        // The changelog names files that are gone.
        if page == Path::new("CHANGELOG.md") {
            continue;
        }
        for line in prose(&read(&page)) {
            for span in code_spans(line).filter(|span| span.starts_with("crates/")) {
                let path = span.split([' ', ':']).next().unwrap();
                let is_pattern = path.contains(|c: char| c.is_uppercase() || c == '*');
                assert!(is_pattern || root().join(path).exists(), "{page:?} names {path}");
            }
        }
    }
}

#[test]
fn packages_import_only_what_the_architecture_allows() {
    let page = read(Path::new("ARCHITECTURE.md"));
    let mut packages = Vec::new();
    for row in table(&page, "package") {
        let [package, _, allowed] = row[..] else { panic!("{row:?}") };
        let package = package.trim_matches('`');
        let manifest = read(&Path::new("crates").join(package).join("Cargo.toml"));
        let dependencies = manifest.split("\n[dependencies]\n").nth(1).unwrap_or_default();
        let dependencies = dependencies.split("\n[").next().unwrap();
        let names = dependencies.lines().filter_map(|line| line.split(['=', '.', ' ']).next());
        let imported: BTreeSet<&str> = names.filter(|name| name.starts_with("evenfit")).collect();
        assert_eq!(imported, code_spans(allowed).collect(), "{package}");
        packages.push(package.to_owned());
    }
    packages.sort();
    let mut folders: Vec<String> = fs::read_dir(root().join("crates"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    folders.sort();
    assert_eq!(packages, folders);
}

#[test]
fn the_figures_of_the_readme_are_those_of_the_book() {
    let readme = read(Path::new("README.md"));
    let costs = readme.split("\n## What it costs\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let book: String = ["benchmarks", "bounds", "size"]
        .map(|page| read(&Path::new("docs").join(page).with_extension("md")))
        .concat();
    let cells = costs.lines().filter(|line| line.starts_with('|')).skip(2);
    let figures = cells.flat_map(|line| line.split(|c: char| !c.is_ascii_digit() && c != '.'));
    let figures: Vec<&str> = figures.filter(|figure| figure.len() > 2).collect();
    assert!(figures.len() > 20);
    for figure in figures {
        assert!(has_word(&book, figure), "the book has no {figure}");
    }
}

#[test]
fn these_tests_can_fail() {
    let page = "[a](b.md) `[not](this)` ![c](d.png)\n```\n[nor](this)\n```\n# E, or `f`?";
    assert_eq!(links(page), ["b.md", "d.png"]);
    assert_eq!(headings(page), ["E, or `f`?"]);
    assert_eq!(anchor("E, or `f`?"), "e-or-f");
    let page = Path::new("docs/bounds.md");
    assert_eq!(fault(page, "#the-theorem"), None);
    assert_eq!(fault(page, "#no-theorem"), Some("no such heading"));
    assert_eq!(fault(page, "none.md"), Some("no such file"));
    assert_eq!(fault(page, "../README.md"), Some("leads out of the book"));
    assert_eq!(fault(page, "../../README.md"), Some("leads out of the repository"));
    let page = Path::new("crates/evenfit/README.md");
    assert_eq!(fault(page, "../../README.md"), Some("leads out of the package"));
    let free = "crates/evenfit/src/slabs/free.rs";
    assert!(defines(free, "Slabs::free"));
    assert!(!defines(free, "Slabs::fre"));
    assert!(!defines(free, "Blocks::free"));
    assert!(!defines(free, "allocate"));
}
