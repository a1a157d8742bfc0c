//! Cores over time, of samples whose times are known.

use std::path::PathBuf;
use std::sync::OnceLock;

use serde_json::{Value, json};

use crate::command::{pmiscope, refused, stdout, text};
use crate::fixture::{description, file, profile, profile_of_cores};

fn timeline(arguments: &[&str]) -> Value {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    let path = PATH.get_or_init(|| file("timeline.pmi", &profile()));
    let whole = [&["timeline", text(path), "--format", "json"], arguments].concat();
    serde_json::from_str(&stdout(&pmiscope(&whole).success())).unwrap()
}

fn cells(timeline: &Value, key: &str) -> [Value; 2] {
    [0, 1].map(|core| timeline["cores"][core][key].clone())
}

#[test]
fn samples_stand_in_the_columns_of_their_times() {
    // 0, 1000 and 2000 on the first core, 0, 1000 and 4000 on the second, which was halted at first.
    let busy = timeline(&["--width", "5"]);
    assert_eq!(
        [&busy["from"], &busy["to"], &busy["ticks_per_column"]],
        [0, 4001, 801]
    );
    assert_eq!(busy["show"], "busy");
    let samples = [json!([1, 1, 1, 0, 0]), json!([1, 1, 0, 0, 1])];
    assert_eq!(cells(&busy, "samples"), samples);
    assert_eq!(
        cells(&busy, "shown"),
        [json!([1, 1, 1, 0, 0]), json!([0, 0, 0, 0, 1])]
    );
    let of_function = timeline(&["--width", "5", "--filter", "stub"]);
    assert_eq!(of_function["show"], "selected");
    assert_eq!(
        cells(&of_function, "samples"),
        samples,
        "all are what the share is of"
    );
    assert_eq!(
        cells(&of_function, "shown"),
        [json!([0, 0, 0, 0, 0]), json!([1, 1, 0, 0, 0])]
    );
    let off = timeline(&["--width", "5", "--show", "interrupts-off"]);
    assert_eq!(cells(&off, "shown")[1], json!([1, 1, 0, 0, 0]));
    let window = timeline(&["--width", "2", "--time", "1000t,3000t"]);
    assert_eq!([&window["from"], &window["to"]], [1000, 3000]);
    assert_eq!(cells(&window, "samples"), [json!([1, 1]), json!([1, 0])]);
    let one = timeline(&["--core", "1", "--width", "5"]);
    assert_eq!(one["cores"].as_array().unwrap().len(), 1);
    assert_eq!(one["cores"][0]["samples"], samples[1]);
}

#[test]
fn a_core_has_a_line() {
    let path = file("lines.pmi", &profile());
    let shown = stdout(&pmiscope(&["timeline", text(&path), "--width", "5"]).success());
    let lines = "\ncore   0 |@@@  | 100.00%\ncore   1 |..  @| 33.33%\n";
    assert!(shown.ends_with(lines), "{shown}");
    assert!(
        shown.contains("0 ns to 4.00 µs; each column 801 ns"),
        "{shown}"
    );
    assert!(
        !shown.contains('\x1b'),
        "colours are for a terminal: {shown}"
    );
    let counts = ["timeline", text(&path), "--width", "5", "--show", "samples"];
    let shown = stdout(&pmiscope(&counts).success());
    assert!(shown.ends_with("core   1 |@@  @| 3\n"), "{shown}");
}

#[test]
fn without_samples_there_is_no_timeline() {
    let path = file(
        "no-time.pmi",
        &profile_of_cores(&description(), &[&[], &[]]),
    );
    refused(
        pmiscope(&["timeline", text(&path)]),
        1,
        &["there are no samples to show over time"],
    );
    let path = file("no-window.pmi", &profile());
    refused(
        pmiscope(&["timeline", text(&path), "--time", "5ms,6ms"]),
        1,
        &["the selection has no samples (time 5ms,6ms)"],
    );
}
