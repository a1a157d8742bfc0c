//! The page, driven in a browser where one is installed: its numbers are the report's.

mod browser;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::read::ZlibDecoder;
use profiler::format::{ChainEnd, State};
use serde_json::{Value, json};

use crate::command::{pmiscope, refused, stderr, stdout, text};
use crate::counts::whole as counted_profile;
use crate::fixture::{
    Seen, description, file, folder, kernel, profile, profile_of, profile_of_cores,
    profile_of_events, samples,
};
use crate::outside;
use crate::programs::Run;
use browser::Browser;

/// The page of a profile.
fn page_of(profile: &Path, more: &[&str]) -> PathBuf {
    let name = profile.file_stem().unwrap().to_str().unwrap();
    let page = folder().join(format!("{name}.html"));
    let mut arguments = vec!["html", text(profile), "-o", text(&page)];
    arguments.extend(more);
    pmiscope(&arguments);
    page
}

fn open(profile: &Path) -> Option<Browser> {
    Browser::open(&page_of(profile, &[]))
}

/// The samples of each function by itself and in all, as the report has them.
fn reported(profile: &Path, more: &[&str]) -> BTreeMap<String, [u64; 2]> {
    let mut arguments = vec!["report", text(profile), "--format", "json"];
    arguments.extend(more);
    let report: Value = serde_json::from_str(&stdout(&pmiscope(&arguments))).unwrap();
    let functions = report["functions"].as_array().unwrap().iter();
    let counts = functions.map(|it| {
        let counts = ["self", "total"].map(|key| it[key].as_u64().unwrap());
        (it["name"].as_str().unwrap().to_owned(), counts)
    });
    counts.collect()
}

/// The same as the page has them.
fn shown(browser: &Browser) -> BTreeMap<String, [u64; 2]> {
    let rows = browser.eval("pmiscope.functionRows().map(row => [row.name, row.self, row.total])");
    let rows = rows.as_array().unwrap().iter();
    let counts = rows.map(|row| {
        let counts = [1, 2].map(|at| row[at].as_u64().unwrap());
        (row[0].as_str().unwrap().to_owned(), counts)
    });
    counts.collect()
}

/// Forty samples of one core, one each 100 ticks: `hash` in the first ten, then `idle`.
fn in_two_halves() -> Vec<u8> {
    let kernel = kernel();
    let root = kernel.return_to("in_idle");
    let sample = |sequence: u32| {
        let name = if sequence < 10 {
            "in_hash"
        } else {
            "in_never_returns"
        };
        Seen {
            task: if sequence < 10 { 1 } else { 2 },
            ..Seen::new(sequence, kernel.at(name), &[root])
        }
    };
    let samples: Vec<_> = (0..40).map(sample).collect();
    profile_of(&description_of_one(), &samples)
}

fn description_of_one() -> profiler::format::Description {
    profiler::format::Description {
        cores: 1,
        ..description()
    }
}

#[test]
fn numbers_are_those_of_the_report() {
    for (name, profile) in [
        ("usual.pmi", profile()),
        ("events.pmi", profile_of_events()),
        ("halves.pmi", in_two_halves()),
        (
            "one.pmi",
            profile_of(&description_of_one(), &samples()[0][..1]),
        ),
        (
            "other-core.pmi",
            profile_of_cores(&description(), &[&[], &samples()[1]]),
        ),
    ] {
        let profile = file(name, &profile);
        let Some(browser) = open(&profile) else {
            return;
        };
        let reported = reported(&profile, &[]);
        assert!(!reported.is_empty());
        assert_eq!(shown(&browser), reported, "{name}");
        let root = browser.eval("pmiscope.flame.tree.root.samples");
        assert_eq!(root, browser.eval("pmiscope.all"), "{name}");
        assert_eq!(browser.troubles(), [""; 0], "{name}");
    }
}

#[test]
fn borders_of_user_code_are_frames() {
    let profile = Run::new("page-borders").profile("page-borders.pmi");
    let Some(browser) = open(&profile) else {
        return;
    };
    assert_eq!(shown(&browser), reported(&profile, &[]));
    for name in ["[system call]", "[exception 0x0e from user code]"] {
        let script = format!(
            "pmiscope.select(pmiscope.model.byName.get({})); pmiscope.go('callers')",
            json!(name)
        );
        browser.eval(&script);
        assert_eq!(
            browser.eval("pmiscope.callers.tree.root.samples"),
            1,
            "{name}"
        );
    }
    assert_eq!(browser.troubles(), [""; 0]);
}

#[test]
fn a_core_and_a_task_are_chosen_as_in_the_report() {
    let profile = file("chosen.pmi", &profile());
    let Some(browser) = open(&profile) else {
        return;
    };
    browser.eval("pmiscope.selectCore(1)");
    assert_eq!(shown(&browser), reported(&profile, &["--core", "1"]));
    assert_eq!(browser.text("#selected"), "3 of 6 samples");
    browser.eval("pmiscope.selectCore(null); pmiscope.choose('task', 'hash')");
    assert_eq!(shown(&browser), reported(&profile, &["--task", "hash"]));
    browser.eval("pmiscope.resetSelection(); pmiscope.choose('isOff', true)");
    assert_eq!(shown(&browser), reported(&profile, &["--interrupts-off"]));
    browser.eval("pmiscope.resetSelection(); pmiscope.toggleKind(0)");
    assert_eq!(shown(&browser), reported(&profile, &["--idle", "out"]));
}

#[test]
fn a_window_of_time_changes_all_views() {
    let profile = file("window.pmi", &in_two_halves());
    let Some(browser) = open(&profile) else {
        return;
    };
    // The lanes have 64 pixels of labels; 40 samples are in so many steps.
    let width = browser.eval("document.querySelector('#lanes').getBoundingClientRect().width");
    let width = width.as_f64().unwrap();
    let at = |share: f64| browser.point("#lanes", [(64.0 + (width - 64.0) * share) / width, 0.3]);
    browser.drag(at(0.0), at(0.25));
    browser.wait_for("pmiscope.all === 10");
    assert!(
        browser.text("#selected").starts_with("10 of 40 samples, 0"),
        "{}",
        browser.text("#selected")
    );
    assert_eq!(
        shown(&browser),
        reported(&profile, &["--time", "0ns,9001ns"])
    );
    let name = browser.eval(
        "pmiscope.model.functions[pmiscope.flame.tree.of(pmiscope.flame.tree.root)[0].own].name",
    );
    assert_eq!(name, "idle");
    browser.press("Escape");
    browser.wait_for("pmiscope.all === 40");
    assert_eq!(browser.text("#selected"), "");
    // By the keyboard: a tenth later, by halves.
    browser.eval("document.querySelector('#lanes').focus()");
    browser.press("+");
    browser.wait_for("pmiscope.all === 20");
    assert_eq!(browser.troubles(), [""; 0]);
}

#[test]
fn search_and_zoom() {
    let profile = file("search.pmi", &in_two_halves());
    let Some(browser) = open(&profile) else {
        return;
    };
    browser.press("/");
    browser.type_text("hash");
    browser.wait_for("document.querySelector('#found').textContent === '25.00%'");
    browser.eval("pmiscope.go('functions')");
    let rows = "[...document.querySelectorAll('.table-body .table-row .name')].map(it => it.title)";
    assert_eq!(browser.eval(rows), json!(["kernel::workload::hash::run"]));
    browser.eval("pmiscope.search(''); pmiscope.go('flame')");
    // The third row of frames has the second function, at the left what has most samples.
    let at = "(box => [box.x + 20, box.y + 2 * ROW + 8])(document.querySelector('#flame canvas').getBoundingClientRect())";
    let at = browser.eval(at);
    browser.click([0, 1].map(|it| at[it].as_f64().unwrap()));
    assert_eq!(browser.text("#crumbs button:last-child"), "never_returns");
    assert_eq!(browser.eval("pmiscope.flame.zoomed.samples"), 30);
    assert_eq!(browser.text("#details h2"), "never_returns");
    browser.eval("document.querySelector('#flame canvas').focus()");
    browser.press("Escape");
    assert_eq!(
        browser.eval("pmiscope.flame.zoomed === pmiscope.flame.tree.root"),
        true
    );
    assert_eq!(browser.troubles(), [""; 0]);
}

#[test]
fn callers_and_callees_have_all_samples_of_a_function() {
    let profile = file("callers.pmi", &profile());
    let Some(browser) = open(&profile) else {
        return;
    };
    for (name, [_, total]) in reported(&profile, &[]) {
        let script = format!(
            "pmiscope.select(pmiscope.model.byName.get({})); pmiscope.go('callers')",
            json!(name)
        );
        browser.eval(&script);
        for graph in ["callers", "callees"] {
            assert_eq!(
                browser.eval(&format!("pmiscope.{graph}.tree.root.samples")),
                total,
                "{graph} of {name}"
            );
        }
    }
    browser.eval("pmiscope.go('flame'); pmiscope.flameBy('isInverted', true)");
    let own = browser.eval("pmiscope.flame.tree.of(pmiscope.flame.tree.root).map(it => [pmiscope.model.functions[it.own].name, it.samples])");
    for it in own.as_array().unwrap() {
        let name = it[0].as_str().unwrap();
        if !name.starts_with('[') {
            assert_eq!(it[1], reported(&profile, &[])[name][0], "{name}");
        }
    }
}

#[test]
fn code_has_the_samples_that_annotate_says() {
    let profile = file("code.pmi", &profile());
    let Some(browser) = open(&profile) else {
        return;
    };
    for function in [
        "kernel::workload::hash::run",
        "innermost",
        "never_returns",
        "stub",
        // Of no known line, and without code.
        UNNAMED,
    ] {
        let annotated = stdout(&pmiscope(&[
            "annotate",
            text(&profile),
            function,
            "--format",
            "json",
        ]));
        let annotated: Value = serde_json::from_str(&annotated).unwrap();
        let own = format!("pmiscope.model.byName.get({})", json!(function));
        let lines = browser.eval(&format!(
            "[...linesOf(pmiscope.counts, {own}).values()].filter(it => it.total).map(it => [it.line, it.self, it.total]).sort((a, b) => a[0] - b[0])"
        ));
        let expected: Vec<_> = annotated[0]["lines"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| json!([it["line"], it["self"], it["total"]]))
            .collect();
        assert_eq!(lines, json!(expected), "{function}");
        let code = browser.eval(&format!(
            "pmiscope.codeView.listingsOf(pmiscope.model.shown, {}).map(it => samplesAt(pmiscope.counts, it).map(of => of.reduce((a, b) => a + b, 0)))",
            json!(function)
        ));
        let sums: Vec<_> = annotated[0]["code"]
            .as_array()
            .unwrap()
            .iter()
            .map(|code| {
                let sum = |key| {
                    code["instructions"]
                        .as_array()
                        .unwrap()
                        .iter()
                        .map(|it| it[key].as_f64().unwrap())
                        .sum::<f64>()
                };
                (sum("self"), sum("total"))
            })
            .collect();
        for ((own, total), code) in sums.iter().zip(code.as_array().unwrap()) {
            assert!(
                code[0].as_f64().unwrap() >= *own && code[1].as_f64().unwrap() >= *total,
                "{function}"
            );
        }
        browser.eval(&format!("pmiscope.open({own})"));
        let says = match function {
            UNNAMED => "Nothing is known of its code",
            _ => function,
        };
        assert!(browser.text("#code").contains(says), "{function}");
    }
    assert_eq!(browser.troubles(), [""; 0]);
}

#[test]
fn two_profiles_are_compared() {
    let before = file(
        "before.pmi",
        &profile_of(&description_of_one(), &samples()[0][..1]),
    );
    let after = file("after.pmi", &in_two_halves());
    let Some(browser) = Browser::open(&page_of(&after, &["--base", text(&before)])) else {
        return;
    };
    assert_eq!(
        browser.text("#title"),
        "after.pmi, compared with before.pmi"
    );
    let rows = browser.eval("pmiscope.functionRows().map(row => [row.name, row.self, row.total, pmiscope.baseCounts.total[row.own], points(row.totalChange.difference)])");
    let row = |name: &str| {
        rows.as_array()
            .unwrap()
            .iter()
            .find(|row| row[0] == name)
            .unwrap()
            .clone()
    };
    assert_eq!(
        row("kernel::workload::hash::run"),
        json!(["kernel::workload::hash::run", 10, 10, 1, "−75.00"])
    );
    assert_eq!(
        row("never_returns"),
        json!(["never_returns", 30, 30, 0, "+75.00"])
    );
    assert_eq!(row("idle"), json!(["idle", 0, 40, 1, "0.00"]));
    assert_eq!(browser.troubles(), [""; 0]);
}

#[test]
fn dark_is_dark() {
    let profile = file("dark.pmi", &profile());
    let Some(browser) = open(&profile) else {
        return;
    };
    let background = "getComputedStyle(document.body).backgroundColor";
    let prefer = |value: &str| {
        let feature = json!({"features": [{"name": "prefers-color-scheme", "value": value}]});
        browser.call("Emulation.setEmulatedMedia", feature);
    };
    prefer("light");
    assert_eq!(browser.eval(background), "rgb(250, 250, 249)");
    prefer("dark");
    assert_eq!(browser.eval(background), "rgb(20, 22, 26)");
    assert_eq!(browser.eval("pmiscope.isDark"), true);
    browser.eval("pmiscope.toggleTheme()");
    assert_eq!(browser.eval(background), "rgb(250, 250, 249)");
}

#[test]
fn nothing_in_a_profile_is_a_script() {
    let profile = file("hostile.pmi", &outside::profile_with(HOSTILE));
    let page = page_of(&profile, &[]);
    let html = fs::read_to_string(&page).unwrap();
    assert!(!html.contains("onerror"), "names are there as they are");
    assert_eq!(html.matches("</script>").count(), 2);
    let Some(browser) = Browser::open(&page) else {
        return;
    };
    for view in ["flame", "functions", "callers", "code", "run"] {
        browser.eval(&format!("pmiscope.select(0); pmiscope.go('{view}')"));
    }
    assert_eq!(
        browser.eval("document.querySelectorAll('img, iframe, script[src], a').length"),
        0
    );
    assert_eq!(browser.eval("typeof window.hacked"), "undefined");
    assert!(browser.text("#run").contains(HOSTILE));
    assert_eq!(browser.troubles(), [""; 0]);
    // And if it were: the page's policy lets nothing run.
    browser.eval("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.hacked = 1\">')");
    browser.eval("const it = document.createElement('script'); it.textContent = 'window.hacked = 2'; document.body.append(it)");
    browser.eval("new Promise(done => setTimeout(done, 50))");
    assert_eq!(browser.eval("typeof window.hacked"), "undefined");
}

/// What a text of the guest is.
const HOSTILE: &str = "</script><img src=x onerror=window.hacked=1>";

#[test]
fn profiles_with_little_in_them_are_shown() {
    let mut chains = samples()[1].clone();
    chains[0].end = ChainEnd::FrameBelow;
    chains[0].state = State::NMI;
    for (name, profile, samples) in [
        ("empty.pmi", profile_of(&description_of_one(), &[]), 0),
        (
            "single.pmi",
            profile_of(&description_of_one(), &samples()[0][..1]),
            1,
        ),
        (
            "cut-chain.pmi",
            profile_of_cores(&description(), &[&[], &chains]),
            3,
        ),
    ] {
        let Some(browser) = open(&file(name, &profile)) else {
            return;
        };
        assert_eq!(browser.eval("pmiscope.all"), samples, "{name}");
        for view in ["flame", "functions", "callers", "code", "run"] {
            browser.eval(&format!("pmiscope.go('{view}')"));
        }
        assert_eq!(browser.troubles(), [""; 0], "{name}");
    }
    let whole = profile();
    let cut = file("cut.pmi", &whole[..whole.len() - 200]);
    let Some(browser) = open(&cut) else { return };
    assert!(
        browser.text("#warnings").contains("incomplete"),
        "{}",
        browser.text("#warnings")
    );
}

#[test]
fn a_run_that_goes_on_is_followed() {
    let path = folder().join("followed.pmi");
    let mut server = Process::new(env!("CARGO_BIN_EXE_pmiscope"))
        .args(["serve", text(&path)])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut url = String::new();
    BufReader::new(server.stdout.take().unwrap())
        .read_line(&mut url)
        .unwrap();
    let browser = Browser::at(
        url.trim(),
        "document.body?.textContent.includes('waiting for')",
    );
    if let Some(browser) = browser {
        // Cut at the ends of chunks: before the end of the run, as it is while the run goes on.
        let all = in_two_halves();
        let cut = file(
            "half.pmi",
            &profile_of(&description_of_one(), &samples()[0][..2]),
        );
        let some = fs::read(&cut).unwrap();
        fs::write(&path, &some[..some.len() - 100]).unwrap();
        browser.wait_for("document.body?.dataset.ready === 'true' && pmiscope.all === 2");
        assert!(browser.text("#warnings").contains("incomplete"));
        browser.eval("pmiscope.select(pmiscope.model.byName.get('idle'))");
        fs::write(&path, all).unwrap();
        browser.wait_for("pmiscope.all === 40");
        assert_eq!(browser.text("#details h2"), "idle");
        assert_eq!(browser.text("#warnings"), "");
        assert_eq!(shown(&browser), reported(&path, &[]));
    }
    server.kill().unwrap();
    let said = server.wait_with_output().unwrap().stderr;
    let waits = format!(
        "pmiscope: waiting for {}: it is not there, and no run is writing it yet\n",
        path.display()
    );
    assert_eq!(String::from_utf8(said).unwrap(), waits);
}

/// Code that no symbol names.
const UNNAMED: &str = "0xffffffff8fff0000";

/// The texts that a page has, without a browser.
fn texts_of(page: &Path) -> Value {
    let page = fs::read_to_string(page).unwrap();
    let (_, data) = page.split_once(r#"id="data">"#).unwrap();
    let (data, _) = data.split_once('<').unwrap();
    let mut bytes = Vec::new();
    let packed = STANDARD.decode(data).unwrap();
    ZlibDecoder::new(&*packed).read_to_end(&mut bytes).unwrap();
    let (length, rest) = bytes.split_first_chunk().unwrap();
    let length = u32::from_le_bytes(*length) as usize;
    serde_json::from_slice(&rest[..length]).unwrap()
}

#[test]
fn the_run_is_told_as_the_report_tells_it() {
    let profile = file("told.pmi", &profile());
    let texts = texts_of(&page_of(&profile, &[]));
    let run = &texts["profiles"][0]["run"];
    let head = |text: &str| text.split("\n\n").next().unwrap().to_owned();
    let report = stdout(&pmiscope(&["report", text(&profile)]).success());
    assert_eq!(head(run["report"].as_str().unwrap()), head(&report));
    let facts = run["facts"].as_array().unwrap();
    for (name, says) in [
        ("Handler", "300 instructions a sample (median), at most 310"),
        (
            "Progress",
            "the workload ran 100 instructions between samples, the handler 300",
        ),
        ("Run", "finished"),
    ] {
        let fact = facts.iter().find(|fact| fact[0] == name);
        assert!(
            fact.unwrap()[1].as_str().unwrap().starts_with(says),
            "{facts:?}"
        );
    }
}

#[test]
fn counts_are_refused() {
    let counts = file("counts.pmi", &counted_profile());
    for command in [
        &["html", text(&counts), "-o", "-"][..],
        &["annotate", text(&counts), "f"],
    ] {
        refused(pmiscope(command), 1, &["counts of events and no samples"]);
    }
}

#[test]
fn a_function_that_no_sample_has_is_one_line() {
    let profile = file("none.pmi", &profile());
    refused(
        pmiscope(&["annotate", text(&profile), "nowhere"]),
        1,
        &["no sample has a function nowhere"],
    );
}

#[test]
fn annotate_has_each_sample_at_its_line_and_instruction() {
    let profile = file("annotate.pmi", &in_two_halves());
    let assert = pmiscope(&[
        "annotate",
        text(&profile),
        "never_returns",
        "--format",
        "json",
    ]);
    let annotated: Value = serde_json::from_str(&stdout(&assert)).unwrap();
    let it = &annotated[0];
    assert_eq!(
        [&it["samples"], &it["self"], &it["total"]],
        [40, 30, 30],
        "{it}"
    );
    let lines: Vec<_> = it["lines"].as_array().unwrap().iter().collect();
    assert_eq!(lines.len(), 1, "{it}");
    assert_eq!([&lines[0]["self"], &lines[0]["total"]], [30, 30]);
    assert_eq!(lines[0]["text"], "  LABEL(in_never_returns);");
    let instructions = it["code"][0]["instructions"].as_array().unwrap();
    let at = format!("{:#x}", kernel().at("in_never_returns").0);
    for row in instructions {
        let expected = if row["address"] == at { 30 } else { 0 };
        assert_eq!(row["self"], expected, "{row}");
    }
    // Its caller's call: the last byte of the instruction is what the chain has.
    let assert = pmiscope(&["annotate", text(&profile), "idle", "--format", "json"]);
    let annotated: Value = serde_json::from_str(&stdout(&assert)).unwrap();
    assert_eq!([&annotated[0]["self"], &annotated[0]["total"]], [0, 40]);
    let sum: u64 = annotated[0]["code"][0]["instructions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["total"].as_u64().unwrap())
        .sum();
    assert_eq!(sum, 40);
    let shown = stdout(&pmiscope(&["annotate", text(&profile), "never_returns"]));
    assert!(
        shown.contains("self 75.00% (30), total 75.00% (30) of 40 samples"),
        "{shown}"
    );
    assert!(shown.contains(" 75.00%   75.00%  ffffffff80"), "{shown}");
    assert!(stderr(&assert).is_empty(), "{}", stderr(&assert));
}

#[test]
fn annotate_has_the_samples_of_the_report() {
    // A function that calls itself is among them, and one that is inlined.
    let profile = file("all.pmi", &profile());
    let all = pmiscope(&[
        "annotate",
        text(&profile),
        ".",
        "--top",
        "100",
        "--format",
        "json",
    ]);
    let annotated: Value = serde_json::from_str(&stdout(&all)).unwrap();
    let mut functions = BTreeMap::new();
    for it in annotated.as_array().unwrap() {
        let [own, total] = ["self", "total"].map(|key| it[key].as_u64().unwrap());
        let lines = it["lines"].as_array().unwrap();
        let sum: u64 = lines
            .iter()
            .map(|line| line["self"].as_u64().unwrap())
            .sum();
        assert_eq!(sum, own, "{it}");
        functions.insert(it["function"].as_str().unwrap().to_owned(), [own, total]);
    }
    assert_eq!(functions, reported(&profile, &[]));
    assert_eq!(functions["kernel::workload::hash::run"], [1, 3]);
    let core = pmiscope(&[
        "annotate",
        text(&profile),
        "hash::run",
        "--core",
        "0",
        "--format",
        "json",
    ]);
    let annotated: Value = serde_json::from_str(&stdout(&core)).unwrap();
    assert_eq!(annotated[0]["samples"], 3);
}
