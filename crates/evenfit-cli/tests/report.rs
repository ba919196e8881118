//! `evenfit report`: the page in a real browser, the pictures, and the numbers.
//!
//! Tests that need the browser say so and pass where it is absent (Debian:
//! `apt-get install chromium`).

mod common;

use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use common::{Scratch, evenfit, random_trace, save, shipped};
use evenfit_trace::{Event, Record, Site, Trace, TraceBuilder};
use serde_json::Value;

fn json(args: &[&str]) -> Value {
    let run = evenfit(args);
    assert_eq!(run.stderr, "");
    serde_json::from_str(&run.stdout).unwrap()
}

/// What a browser makes of a page: the document after it ran, and what it logged.
struct Browsed {
    document: String,
    log: String,
}

/// Opens `page` in headless Chromium, or says that there is none.
fn browse(page: &str, scratch: &Scratch) -> Option<Browsed> {
    browse_in(1400, page, scratch)
}

/// As [`browse`], on a screen of this width in pixels. What the page's script has seen is then in
/// the document around it: a browser's window may not be narrower than 500 pixels, a frame may.
fn browse_at(width: u32, page: &str, scratch: &Scratch) -> Option<Browsed> {
    let around = scratch.path("around.html");
    let text = format!(
        "<body><script>onmessage = (event) => {{
           const out = document.createElement('pre'); out.id = 'seen'; out.textContent = event.data;
           document.body.append(out); }}</script>
         <iframe src='file://{page}' style='width: {width}px; height: 1200px; border: 0'></iframe>"
    );
    std::fs::write(&around, text).unwrap();
    browse_in(2600, &around, scratch)
}

fn browse_in(width: u32, page: &str, scratch: &Scratch) -> Option<Browsed> {
    let found = ["chromium", "chromium-browser", "google-chrome"].into_iter().find(|name| {
        Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success())
    });
    let Some(browser) = found else {
        // Not by `eprintln!`, whose output is only shown of tests that fail.
        let _ = writeln!(std::io::stderr(), "skipped: this test needs chromium in the PATH");
        return None;
    };
    let profile = format!("--user-data-dir={}", scratch.path("profile"));
    let output = Command::new(browser)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--hide-scrollbars",
        ])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .args(["--enable-logging=stderr", "--virtual-time-budget=20000"])
        .args([
            &format!("--window-size={width},1200"),
            &profile,
            "--dump-dom",
            &format!("file://{page}"),
        ])
        .output()
        .unwrap();
    Some(Browsed {
        document: String::from_utf8_lossy(&output.stdout).into_owned(),
        log: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// Appends a script that acts like a person and writes what it sees into the document.
fn with_script(page: &str, script: &str) -> String {
    let acting = format!(
        "<script>(async () => {{\n\
           const root = document.documentElement;\n\
           const frame = () => new Promise((go) => requestAnimationFrame(() => requestAnimationFrame(go)));\n\
           const key = async (key, more) => {{\n\
             document.body.dispatchEvent(new KeyboardEvent('keydown', {{ key, bubbles: true, ...more }})); await frame(); }};\n\
           while (!root.dataset.ready) await new Promise((go) => setTimeout(go, 5));\n\
           const seen = {{}};\n\
           {script}\n\
           const out = document.createElement('pre'); out.id = 'seen'; out.textContent = JSON.stringify(seen);\n\
           document.body.append(out);\n\
           if (parent !== window) parent.postMessage(out.textContent, '*');\n\
         }})()</script>"
    );
    // A headless browser that only writes the document out draws no frames of its own accord.
    let frames = "<body><script>window.requestAnimationFrame = (f) => { queueMicrotask(f); return 0; };</script>";
    page.replacen("<body>", frames, 1).replace("</body>", &format!("{acting}</body>"))
}

fn seen(document: &str) -> Value {
    let from = document
        .find("<pre id=\"seen\">")
        .unwrap_or_else(|| panic!("the page's script did not end"))
        + 15;
    let text = &document[from..from + document[from..].find("</pre>").unwrap()];
    serde_json::from_str(
        &text
            .replace("&quot;", "\"")
            .replace("&amp;", "&")
            .replace("&lt;", "<")
            .replace("&gt;", ">"),
    )
    .unwrap()
}

/// A program with two call sites, the second leaving blocks among the first's.
fn sited(path: &str) {
    let mut builder = TraceBuilder::default();
    let mut id = 0;
    let mut alloc = |builder: &mut TraceBuilder, size, site| {
        let event = Event::Alloc { id, size, align_log2: 3, zeroed: false };
        builder.push(Record { site, ..Record::from(event) }).unwrap();
        id += 1;
        id - 1
    };
    let mut frames = Vec::new();
    for _ in 0..40 {
        frames.push(alloc(&mut builder, 4000, 1));
        alloc(&mut builder, 48, 2);
    }
    for frame in frames {
        builder.free(frame).unwrap();
    }
    alloc(&mut builder, 2000, 1);
    let site = |id, name: &str| Site { id, name: name.into(), ..Site::default() };
    builder.sites([site(1, "decode_frame"), site(2, "log <event> & more")]);
    save(&builder.finish(), path);
}

#[test]
fn the_page_opens_without_errors_and_its_numbers_are_the_json() {
    let scratch = Scratch::new("report-page");
    let (trace, page) = (scratch.path("sited.evt"), scratch.path("page.html"));
    sited(&trace);
    let report = json(&["report", &trace, "--pool", "256KiB", "-o", &page, "--json"]);
    let html = std::fs::read_to_string(&page).unwrap();
    for outside in ["http://", "https://", "src=\"", "@import", "<link"] {
        assert!(!html.contains(outside), "the page must need no network: {outside}");
    }
    let script = "
        for (const number of document.querySelectorAll('[data-key]')) seen[number.dataset.key] = Number(number.dataset.value);
        seen.title = document.getElementById('title').textContent;
        seen.verdict = document.getElementById('verdict').textContent;
        seen.pinning = document.getElementById('pinning').innerText;
        seen.sites = document.getElementById('sites').innerText;
        const now = [...document.querySelectorAll('#now-list [data-value]')].map((e) => Number(e.dataset.value));
        [seen.live, seen.blocks] = now;";
    std::fs::write(&page, with_script(&html, script)).unwrap();
    let Some(browsed) = browse(&page, &scratch) else {
        return;
    };
    assert!(!browsed.log.contains("CONSOLE"), "{}", browsed.log);
    let seen = seen(&browsed.document);
    for key in ["region_bytes", "reach_bytes", "operations_done", "footprint"] {
        assert_eq!(seen[key].as_f64(), report[key].as_f64(), "{key}");
    }
    assert_eq!(seen["peak.live_bytes"], report["peak"]["live_bytes"]);
    assert_eq!(seen["worst.largest_free_bytes"], report["worst"]["largest_free_bytes"]);
    // The page opens at the fullest moment.
    assert_eq!(seen["live"], report["peak"]["live_bytes"]);
    assert_eq!(seen["blocks"], report["peak"]["live_blocks"]);
    assert_eq!(
        (seen["title"].as_str(), seen["verdict"].as_str()),
        (Some("sited.evt"), Some("fits"))
    );
    assert!(seen["sites"].as_str().unwrap().contains("log <event> & more"), "{seen}");
}

#[test]
fn scrubbing_zooming_and_choosing_work_by_keyboard_and_mouse() {
    let scratch = Scratch::new("report-keys");
    let (trace, page) = (scratch.path("random.evt"), scratch.path("page.html"));
    save(&random_trace(11, 4000, 900), &trace);
    let run = evenfit(&["report", &trace, "--pool", "1MiB", "-o", &page]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let html = std::fs::read_to_string(&page).unwrap();
    let script = "
        const state = () => ({ op: Number(root.dataset.op), map: root.dataset.map, strip: root.dataset.strip });
        seen.first = state();
        await key('Home'); seen.home = state();
        await key('ArrowRight'); seen.right = state();
        await key('ArrowRight', { shiftKey: true }); seen.one = state();
        await key('End'); seen.end = state();
        await key('+'); seen.zoomed = state();
        await key('0'); seen.all = state();
        await key('c'); seen.byAge = state();
        seen.theme = root.dataset.theme; await key('d'); seen.otherTheme = root.dataset.theme;
        await key('p'); await key('Enter'); seen.story = document.getElementById('story').innerText;
        const scrub = document.getElementById('scrub');
        scrub.value = 1000; scrub.dispatchEvent(new Event('input')); await frame(); seen.slid = state();
        const map = document.getElementById('map'), box = map.getBoundingClientRect();
        const at = { clientX: box.left + box.width / 2, clientY: box.bottom - 40, bubbles: true, pointerId: 1 };
        await key('Escape'); seen.escaped = document.getElementById('story').innerText;
        // Where blocks lie is the heap's affair: click upwards until one is hit.
        const story = () => document.getElementById('story').innerText;
        for (at.clientY = box.bottom - 8; at.clientY > box.top && !story().includes('asked for'); at.clientY -= 5) {
            map.dispatchEvent(new PointerEvent('pointerdown', at)); map.dispatchEvent(new PointerEvent('pointerup', at));
            await frame();
        }
        seen.clicked = { story: story(), ...state() };
        map.dispatchEvent(new WheelEvent('wheel', { ...at, deltaY: -120, cancelable: true })); await frame(); seen.wheeled = state();";
    std::fs::write(&page, with_script(&html, script)).unwrap();
    let Some(browsed) = browse(&page, &scratch) else {
        return;
    };
    assert!(!browsed.log.contains("CONSOLE"), "{}", browsed.log);
    let seen = seen(&browsed.document);
    let (op, map, strip) = (
        |at: &str| seen[at]["op"].as_u64().unwrap(),
        |at: &str| &seen[at]["map"],
        |at: &str| &seen[at]["strip"],
    );
    assert_eq!(op("home"), 0);
    assert!(op("right") > 1);
    assert_eq!(op("one"), op("right") + 1);
    let operations = Trace::open(&trace).unwrap().events().len() as u64;
    assert_eq!(op("end"), operations - 1);
    assert_ne!(strip("home"), strip("end"), "scrubbing changes the pool that is shown");
    assert_ne!(strip("right"), strip("first"));
    assert_ne!(map("zoomed"), map("end"), "zooming changes the map");
    assert_eq!(map("all"), map("end"), "and back");
    assert_ne!(seen["theme"], seen["otherTheme"]);
    assert!(seen["story"].as_str().unwrap().contains("asked for"), "{seen}");
    assert!(seen["escaped"].as_str().unwrap().contains("Click a block"), "{seen}");
    assert_eq!(op("slid"), 1000);
    assert!(op("clicked").abs_diff(operations / 2) < operations / 10, "{seen}");
    assert!(seen["clicked"]["story"].as_str().unwrap().contains("asked for"), "{seen}");
    assert_ne!(map("wheeled"), map("clicked"));
}

#[test]
fn a_failure_is_shown_with_its_reason() {
    let scratch = Scratch::new("report-failure");
    let (trace, page) = (scratch.path("sited.evt"), scratch.path("page.html"));
    sited(&trace);
    let run = evenfit(&["report", &trace, "--pool", "100KiB", "-o", &page]);
    assert_eq!(run.code, 1);
    let report = json(&["report", &trace, "--pool", "100KiB", "--json"]);
    let failed = report["post_mortem"]["operation"].as_u64().unwrap();
    assert_eq!(report["fits"], false);
    assert_eq!(report["operations_done"], failed - 1);
    let html = std::fs::read_to_string(&page).unwrap();
    let script = "
        seen.verdict = document.getElementById('verdict').textContent;
        seen.shown = !document.getElementById('failure').hidden;
        await key('f'); seen.op = Number(root.dataset.op);";
    std::fs::write(&page, with_script(&html, script)).unwrap();
    let Some(browsed) = browse(&page, &scratch) else {
        return;
    };
    assert!(!browsed.log.contains("CONSOLE"), "{}", browsed.log);
    let seen = seen(&browsed.document);
    assert_eq!(seen["verdict"], format!("fails at operation {failed}"));
    assert_eq!(seen["shown"], true);
    assert_eq!(seen["op"], failed - 2);
}

/// On screens of any width no text covers another, and nothing is wider than the screen.
#[test]
fn nothing_overlaps_at_any_width() {
    let scratch = Scratch::new("report-widths");
    let trace = scratch.path("sited.evt");
    let unnamed = scratch.path("unnamed.evt");
    sited(&trace);
    save(&random_trace(5, 3000, 400), &unnamed);
    let script = "
        const shown = [...document.body.querySelectorAll('*')].filter((element) =>
            [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim()) &&
            !['SCRIPT', 'STYLE', 'PRE'].includes(element.tagName) &&
            (element.tagName === 'SUMMARY' || !element.closest('details:not([open])')));
        const boxes = shown.flatMap((element) => [...element.getClientRects()].map((box) => [element, box]));
        const name = (element) => `${element.tagName} ${element.textContent.trim().slice(0, 30)}`;
        seen.overlaps = [];
        boxes.forEach(([a, p], i) => boxes.slice(i + 1).forEach(([b, q]) => {
            if (a.contains(b) || b.contains(a)) return;
            const wide = Math.min(p.right, q.right) - Math.max(p.left, q.left);
            const tall = Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top);
            if (wide > 1 && tall > 1) seen.overlaps.push([name(a), name(b)]);
        }));
        seen.beyond = boxes.filter(([, p]) => p.right > innerWidth + 1).map(([a]) => name(a));
        seen.width = innerWidth;
        seen.title = document.getElementById('title').getBoundingClientRect().height;
        seen.site = document.querySelector('[data-colour=site]').disabled;";
    for (trace, pool, has_sites) in
        [(&trace, "256KiB", true), (&trace, "100KiB", true), (&unnamed, "1MiB", false)]
    {
        let page = scratch.path("page.html");
        evenfit(&["report", trace, "--pool", pool, "-o", &page]);
        let html = std::fs::read_to_string(&page).unwrap();
        std::fs::write(&page, with_script(&html, script)).unwrap();
        for width in [380, 768, 1400, 2560] {
            let Some(browsed) = browse_at(width, &page, &scratch) else { return };
            let seen = seen(&browsed.document);
            let none = Value::Array(Vec::new());
            assert_eq!((&seen["overlaps"], &seen["beyond"]), (&none, &none), "{pool} {width}");
            assert_eq!(seen["width"], width);
            assert!(seen["title"].as_f64() < Some(60.0), "the title is broken up: {seen}");
            assert_eq!(seen["site"], !has_sites);
        }
    }
}

#[test]
fn a_program_of_a_million_operations_stays_small() {
    let scratch = Scratch::new("report-large");
    let page = scratch.path("page.html");
    let report = json(&["report", &shipped("cc1plus"), "--pool", "16MiB", "-o", &page, "--json"]);
    let bytes = std::fs::metadata(&page).unwrap().len();
    assert!(bytes < 10_000_000, "{bytes} bytes");
    assert!(report["places_shown"].as_u64().unwrap() <= 500_000);
    assert_eq!(report["peak"]["live_bytes"], 7_101_108);
    assert_eq!(report["operations"], 1_723_553);
    let Some(browsed) = browse(&page, &scratch) else {
        return;
    };
    assert!(!browsed.log.contains("CONSOLE"), "{}", browsed.log);
    assert!(browsed.document.contains("data-ready=\"true\""));
}

#[test]
fn the_pinning_sites_are_those_that_stay_between_holes() {
    let scratch = Scratch::new("report-pinning");
    let trace = scratch.path("sited.evt");
    sited(&trace);
    // Fails once all frames are gone: what is left are the second site's blocks.
    let mut program = Trace::open(&trace).unwrap();
    program.add_fact("program", "test");
    let mut builder = TraceBuilder::default();
    for record in program.records() {
        builder.push(record).unwrap();
    }
    builder.sites(program.sites().to_vec());
    builder.alloc(150_000, 8).unwrap();
    save(&builder.finish(), &trace);
    let report = json(&["report", &trace, "--pool", "170KiB", "--json"]);
    assert_eq!(report["fits"], false);
    assert_eq!(report["pinning"][0]["name"], "log <event> & more");
    assert!(report["pinning"][0]["keeps_apart_bytes"].as_u64().unwrap() > 30 * 4000);
    // Every live block of that site stands between two free pieces, but for those at an edge.
    assert!(report["pinning"][0]["blocks"].as_u64().unwrap() >= 38, "{report:#}");
    assert_eq!(report["post_mortem"]["in_the_way"][0]["name"], "log <event> & more");
}

#[test]
fn pictures_are_written_whole() {
    let scratch = Scratch::new("report-pictures");
    let (trace, svg, png) =
        (scratch.path("sited.evt"), scratch.path("map.svg"), scratch.path("map.png"));
    sited(&trace);
    let run = evenfit(&["report", &trace, "--pool", "256KiB", "--svg", &svg, "--png", &png]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let svg = std::fs::read_to_string(&svg).unwrap();
    assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
    assert!(
        svg.contains("<polyline")
            && svg.contains("data:image/png;base64,")
            && svg.contains("sited.evt")
    );
    let png = std::fs::read(&png).unwrap();
    let mut reader = png::Decoder::new(std::io::Cursor::new(png)).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let frame = reader.next_frame(&mut pixels).unwrap();
    assert_eq!((frame.width, frame.height), (1400, 810));
    let colours: std::collections::HashSet<&[u8]> = pixels.chunks(3).collect();
    assert!(colours.len() > 5, "there is something to see");
    assert_eq!(scratch.names(), ["map.png", "map.svg", "sited.evt"]);
}

#[test]
fn what_can_not_be_done_is_named() {
    let scratch = Scratch::new("report-bad");
    let (trace, empty) = (scratch.path("sited.evt"), scratch.path("empty.evt"));
    sited(&trace);
    save(&TraceBuilder::default().finish(), &empty);
    let page = scratch.path("page.html");
    let nowhere = scratch.path("no/such/page.html");
    for (args, part) in [
        (&["report", &trace][..], "-o OUT.html"),
        (&["report", "no-such.evt", "-o", &page], "no-such.evt"),
        (&["report", &trace, "-o", &nowhere], "page.html"),
        (&["report", &trace, "-o", &page, "--pool", "much"], "16MiB"),
        (&["report", &trace, "-o", &page, "--pool", "1MiB", "--allocator", "compact"], "compact"),
    ] {
        let run = evenfit(args);
        assert_eq!(run.code, 2, "{args:?}: {}", run.stdout);
        assert!(run.stderr.contains(part), "{args:?}: {}", run.stderr);
        assert!(!Path::new(&page).exists());
    }
    let run = evenfit(&["report", &empty, "--pool", "4KiB", "-o", &page]);
    assert_eq!(run.code, 0, "{}", run.stderr);
}
