//! Every JSON answer is what its schema says, and `docs/json.md` says the same.
//!
//! `EVENFIT_BLESS=1 cargo test -p evenfit-cli --test json` writes that page and
//! `docs/json-schema.json` anew.

mod common;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::process::Command;

use common::{Scratch, random_trace, save};
use evenfit_cli::schemas;
use serde_json::{Value, json};

/// A field of an answer: where it is, its type, and what it means.
struct Field {
    path: String,
    kind: String,
    meaning: String,
}

/// The type that a schema refers to, and whether it may be null.
fn resolved<'a>(mut schema: &'a Value, root: &'a Value) -> (&'a Value, bool) {
    let mut nullable = false;
    loop {
        if let Some(name) = schema["$ref"].as_str() {
            schema = root.pointer(&name[1..]).expect("a definition");
        } else if let Some(choices) = schema["anyOf"].as_array() {
            nullable = choices.iter().any(|choice| choice["type"] == "null");
            let mut others = choices.iter().filter(|choice| choice["type"] != "null");
            schema = others.next().expect("a type besides null");
        } else {
            return (schema, nullable);
        }
    }
}

/// The fields of an object, those of objects within it behind it.
fn fields(schema: &Value, root: &Value, path: &str, out: &mut Vec<Field>) {
    for variant in schema["oneOf"].as_array().into_iter().flatten() {
        fields(variant, root, path, out);
    }
    let Some(properties) = schema["properties"].as_object() else { return };
    for (name, property) in properties {
        let (target, mut nullable) = resolved(property, root);
        let mut path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let mut kind = match &target["type"] {
            Value::String(kind) => kind.clone(),
            Value::Array(kinds) => {
                nullable = true;
                kinds[0].as_str().expect("a type").to_owned()
            }
            _ => "string".to_owned(),
        };
        let mut inner = target;
        if kind == "array" {
            path.push_str("[]");
            (inner, _) = resolved(&target["items"], root);
            kind = format!("list of {}s", inner["type"].as_str().unwrap_or("object"));
        }
        if nullable {
            kind.push_str(" or null");
        }
        let described = [property, target, inner].map(|schema| schema["description"].as_str());
        let own = described.into_iter().flatten().next();
        let meaning = own.unwrap_or_default().replace('\n', " ");
        out.push(Field { path: path.clone(), kind, meaning });
        fields(inner, root, &path, out);
    }
}

/// What a field is called decides what it means: the same words in every answer.
fn page() -> String {
    let mut page = String::from(
        "# JSON answers

<!-- Written by `EVENFIT_BLESS=1 cargo test -p evenfit-cli --test json`. -->

For scripts that read what `--json` prints. Every answer is one object with the fields `schema`
(which of those below) and `schema_version`. The version rises when a field is renamed, is removed
or changes its meaning; new fields may come at any time. The same as JSON Schema:
[json-schema.json](json-schema.json).

In every answer a *region* is the memory handed to an allocator, its metadata included: what
`--pool` names. A *pool* is the part of it that blocks are cut from. Sizes are in bytes where the
name says so; operations count from 1. The exit code is 0 for yes, 1 for no, 2 for bad flags or
files.
",
    );
    for answer in schemas::all() {
        let root = answer.schema.as_value();
        let mut found = Vec::new();
        fields(root, root, "", &mut found);
        let _ = write!(
            page,
            "\n## {}\n\n`{}`\n\n| field | type | meaning |\n|---|---|---|\n",
            answer.name, answer.command
        );
        let mut seen = BTreeSet::new();
        for Field { path, kind, meaning } in found {
            if !["schema", "schema_version"].contains(&&*path) && seen.insert(path.clone()) {
                let _ = writeln!(page, "| `{path}` | {kind} | {meaning} |");
            }
        }
    }
    page
}

fn all_schemas() -> String {
    let all: serde_json::Map<String, Value> = schemas::all()
        .into_iter()
        .map(|answer| (answer.name.to_owned(), answer.schema.to_value()))
        .collect();
    serde_json::to_string_pretty(&Value::Object(all)).expect("JSON") + "\n"
}

#[test]
fn the_page_is_what_the_types_say() {
    let docs = common::root().join("docs");
    for (name, text) in [("json.md", page()), ("json-schema.json", all_schemas())] {
        let path = docs.join(name);
        if std::env::var_os("EVENFIT_BLESS").is_some() {
            std::fs::write(&path, &text).expect("the page can be written");
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            committed == text,
            "docs/{name} isn't what the types say: EVENFIT_BLESS=1 cargo test -p evenfit-cli --test json"
        );
    }
}

#[test]
fn every_field_is_explained() {
    let mut bare = BTreeSet::new();
    for answer in schemas::all() {
        let root = answer.schema.as_value();
        let mut found = Vec::new();
        fields(root, root, "", &mut found);
        bare.extend(
            found
                .into_iter()
                .filter(|field| field.meaning.is_empty())
                .map(|field| format!("{}: {}", answer.name, field.path)),
        );
    }
    assert!(bare.is_empty(), "{bare:#?}");
}

/// Runs a command that answers in JSON and compares its answer with the schema that it names.
fn valid(name: &str, args: &[&str]) -> Value {
    valid_answer(name, common::command().args(args))
}

fn valid_answer(name: &str, command: &mut Command) -> Value {
    let run = common::run(command);
    let text = if name == "run" || name == "record" { &run.stderr } else { &run.stdout };
    let at = text.find("{\n").unwrap_or_else(|| panic!("{command:?}: {text} {}", run.stderr));
    let answer: Value = serde_json::from_str(&text[at..]).expect("JSON");
    assert_eq!(answer["schema"], name);
    let known = schemas::all().into_iter().find(|known| known.name == name).expect("a schema");
    let validator = jsonschema::validator_for(known.schema.as_value()).expect("a valid schema");
    let errors: Vec<String> = validator.iter_errors(&answer).map(|e| e.to_string()).collect();
    assert!(errors.is_empty(), "{name}: {errors:#?}\n{answer:#}");
    answer
}

#[test]
fn every_answer_is_what_its_schema_says() {
    let scratch = Scratch::new("json");
    let [trace, larger, contract] =
        ["app.evt", "larger.evt", "contract.toml"].map(|name| scratch.path(name));
    save(&random_trace(3, 2000, 300), &trace);
    save(&random_trace(4, 2000, 500), &larger);
    let text = "[[site]]\nname = \"timer\"\nsize = 40\nmost_live = 3\n";
    std::fs::write(&contract, text).expect("a contract");

    valid("info", &["info", &trace, "--json"]);
    valid("replay", &["replay", &trace, "--pool", "min", "--json"]);
    let failed = valid("replay", &["replay", &trace, "--pool", "8KiB", "--json"]);
    assert!(failed["post_mortem"]["window"].is_array(), "{failed:#}");
    valid("size", &["size", &trace, "--json"]);
    valid("size-ci", &["size", "--ci", &trace, &larger, "--json"]);
    valid("bound", &["bound", &contract, "--json"]);
    valid("bound", &["bound", &contract, "--tiers", "slabs", "--pool", "1MiB", "--json"]);
    valid("report", &["report", &trace, "--json"]);
    valid("report", &["report", &trace, "--pool", "8KiB", "--json"]);
    valid("compare", &["compare", &trace, "--json"]);
    valid("top-recording", &["top", &trace, "--at", "fullest", "--json"]);

    // A field of another type is noticed.
    let info = schemas::all().remove(0);
    let validator = jsonschema::validator_for(info.schema.as_value()).expect("a valid schema");
    assert!(!validator.is_valid(&json!({ "schema": "info", "operations": "many" })));
}

/// Answers about running programs. They need the library that `evenfit run` loads.
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
#[test]
fn answers_about_running_programs_are_too() {
    let scratch = Scratch::new("json-running");
    let recording = scratch.path("sh.evt");
    let answers: [(&str, &[&str]); 3] = [
        ("run", &["run", "--json", "--", "sh", "-c", "ls / >/dev/null; true"]),
        ("record", &["record", "--json", "-o", &recording, "--", "sh", "-c", "true"]),
        ("top-list", &["top", "--list", "--json"]),
    ];
    for (name, args) in answers {
        valid_answer(name, common::command().args(args).env("EVENFIT_PRELOAD", common::preload()));
    }
}
