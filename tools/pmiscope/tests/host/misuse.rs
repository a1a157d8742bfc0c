//! What a typing error, or a wrong idea of a command, comes to: one line and a status, nothing that
//! looks like success.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command as Process, Stdio};
use std::thread::sleep;
use std::time::Duration;

use assert_cmd::Command;
use rustix::process::{Pid, Signal, kill_process};

use crate::command::{VERSION, pmiscope, qemu, refused, run, stderr, stdout, text};
use crate::fixture::{file, folder, profile, profile_of_events};

/// All that shows the samples of one profile, with where its output goes.
const COMMANDS: [&[&str]; 13] = [
    &["report", "P"],
    &["report", "P", "--format", "json"],
    &["report", "P", "--tree"],
    &["report", "P", "--by", "core"],
    &["diff", "P", "P"],
    &["diff", "P", "P", "-o", "-"],
    &["timeline", "P"],
    &["timeline", "P", "--format", "json"],
    &["flamegraph", "P", "-o", "-"],
    &["export", "P", "--format", "folded", "-o", "-"],
    &["export", "P", "--format", "csv", "-o", "-"],
    &["annotate", "P", "stub"],
    &["html", "P", "-o", "-"],
];

/// The command with this profile.
fn with<'a>(command: &[&'a str], profile: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    let words = command.iter().map(|&word| match word {
        "P" => text(profile),
        word => word,
    });
    words.chain(more.iter().copied()).collect()
}

#[test]
fn a_selection_of_nothing_is_one_line_and_status_1_everywhere() {
    let path = file("nothing-chosen.pmi", &profile());
    for command in COMMANDS {
        for (options, said) in [
            (["--focus", "nowhere"], "through nowhere"),
            (["--filter", "no.where"], "with /no.where/"),
            (["--thread", "999"], "thread 999"),
            (["--time", "5s,6s"], "time 5s,6s"),
            (["--privilege", "user"], "user mode"),
        ] {
            let says = format!("the selection has no samples ({said})");
            refused(pmiscope(&with(command, &path, &options)), 1, &[&says]);
        }
    }
}

#[test]
fn what_is_neither_a_name_nor_an_expression_is_refused() {
    let path = file("no-expression.pmi", &profile());
    for command in COMMANDS {
        refused(
            pmiscope(&with(command, &path, &["--focus", "a("])),
            2,
            &[
                "--focus a(: there is no function of this name, and it is no regular expression: unclosed group",
            ],
        );
    }
    refused(
        pmiscope(&["annotate", text(&path), "a("]),
        2,
        &[
            "a(: no sample has a function of this name",
            "unclosed group",
        ],
    );
    // A name wins, whatever is in it.
    let stacks = file("no-expression.folded", b"main;f(int 3\nmain 1\n");
    let named = folder().join("no-expression-named.pmi");
    pmiscope(&["import", "--folded", text(&stacks), "-o", text(&named)]).success();
    let shown = pmiscope(&[
        "export",
        text(&named),
        "--format",
        "folded",
        "-o",
        "-",
        "--focus",
        "f(int",
    ]);
    assert_eq!(stdout(&shown.success()), "main;f(int 3\n");
}

#[test]
fn what_stands_among_frames_and_is_no_function_has_no_code() {
    let path = file("marks.pmi", &profile());
    for mark in [
        "[interrupt 0x40]",
        "[cut: frame pointer below the frame]",
        "[mark]",
    ] {
        let says = format!("{mark} is no function and has no code");
        refused(pmiscope(&["annotate", text(&path), mark]), 1, &[&says]);
    }
    // An expression may begin and end with a class.
    let shown = stdout(&pmiscope(&["annotate", text(&path), "[s]tu[b]"]).success());
    assert!(shown.starts_with("stub\n"), "{shown}");
}

#[test]
fn source_that_is_not_asked_for_is_not_said_to_be_missing() {
    let path = file("no-source.pmi", &profile());
    let code = ["annotate", text(&path), "innermost"];
    let with = stdout(&pmiscope(&code).success());
    let without = stdout(&pmiscope(&[&code[..], &["--no-source"]].concat()).success());
    assert!(with.contains("LABEL(in_innermost)"), "{with}");
    assert!(!without.contains("LABEL(in_innermost)"), "{without}");
    assert!(without.contains("   line  fixture.c\n"), "{without}");
}

#[test]
fn names_are_embedded_over_nothing_that_is_no_profile() {
    let path = file("to-embed.pmi", &profile());
    for name in ["notes.txt", "page.html"] {
        let other = file(name, b"precious");
        refused(
            pmiscope(&["embed-symbols", text(&path), "-o", text(&other)]),
            1,
            &["the file that is there is no profile, and is not written over"],
        );
        assert_eq!(std::fs::read(&other).unwrap(), b"precious");
    }
    let picture = folder().join("named.svg");
    refused(
        pmiscope(&["embed-symbols", text(&path), "-o", text(&picture)]),
        1,
        &["the flame graph has that of the profile and the ending svg"],
    );
    assert!(!picture.exists());
}

#[test]
fn a_flame_graph_in_place_of_the_difference_has_no_other_format() {
    let path = file("drawn.pmi", &profile());
    let words = ["diff", text(&path), text(&path), "-o", "-"];
    pmiscope(&words).success();
    refused(
        pmiscope(&[&words[..], &["--format", "json"]].concat()),
        2,
        &["--format: -o - writes the flame graph"],
    );
}

#[test]
fn trees_of_stacks_of_any_depth_are_shown() {
    let frames: Vec<_> = (0..20_000).map(|it| format!("f{it}")).collect();
    let stacks = format!("{} 3\nf0;g 1\n", frames.join(";"));
    let stacks = file("deep.folded", stacks.as_bytes());
    let path = folder().join("deep.pmi");
    pmiscope(&["import", "--folded", text(&stacks), "-o", text(&path)]).success();
    for more in [
        &["--tree"][..],
        &["--inverted"],
        &["--tree", "--format", "json"],
    ] {
        let words = [&["report", text(&path), "--percent-limit", "0"], more].concat();
        let shown = stdout(&pmiscope(&words).success());
        assert!(shown.contains("[deeper]"), "{more:?}");
        assert!(!shown.contains("f10000\n"), "{more:?}");
    }
}

#[test]
fn samples_of_several_events_are_not_added_without_a_word() {
    let path = file("added.pmi", &profile_of_events());
    let path = text(&path);
    const EVENTS: &str = "(cycles:k, cpu/event=0xc4,umask=0x20/u, aimed)";
    refused(
        pmiscope(&["annotate", path, "stub"]),
        1,
        &["say which by --event", EVENTS],
    );
    pmiscope(&["annotate", path, ".*", "--event", "0"]).success();
    let page = folder().join("added.html");
    let page = ["html", path, "-o", text(&page), "--base", path];
    refused(pmiscope(&page), 1, &["say which by --event", EVENTS]);
    pmiscope(&[&page[..], &["--event", "0"]].concat()).success();
    for form in [
        "folded",
        "csv",
        "callgrind",
        "speedscope",
        "firefox",
        "pprof",
        "perfetto",
    ] {
        let tells_apart = ["pprof", "perfetto"].contains(&form);
        let export = ["export", path, "--format", form, "-o", "/dev/null"];
        let said = stderr(&pmiscope(&export).success());
        let note = format!("pmiscope: note: samples of several events are added {EVENTS}");
        assert_eq!(said.contains(&note), !tells_apart, "{form}: {said}");
        let one = [&export[..], &["--event", "0"]].concat();
        assert_eq!(stderr(&pmiscope(&one).success()), "", "{form}");
    }
    let said = stderr(&pmiscope(&["flamegraph", path, "-o", "/dev/null"]).success());
    assert!(said.contains("several events are added"), "{said}");
    for (event, is_said) in [(&[][..], true), (&["--event", "0"], false)] {
        let shown = stdout(&pmiscope(&[&["report", path], event].concat()).success());
        assert_eq!(
            shown.contains("\nsamples of all events added: "),
            is_said,
            "{shown}"
        );
    }
}

#[test]
fn options_without_effect_are_refused() {
    let path = file("no-effect.pmi", &profile());
    let path = text(&path);
    for (options, status, says) in [
        (&["--percent-limit", "5"][..], 2, "--tree"),
        (
            &["--per-core"],
            1,
            "the profile has samples and no counts of events: say --by core",
        ),
        (&["--per-core", "--tree"], 2, "cannot be used with"),
        (&["--tree", "--sort", "total"], 2, "cannot be used with"),
        (
            &["--focus", "memcpy", "--sort", "total"],
            2,
            "--by function",
        ),
        (
            &["--by", "function,function"],
            2,
            "--by: function is there twice",
        ),
    ] {
        refused(
            pmiscope(&[&["report", path], options].concat()),
            status,
            &[says],
        );
    }
    for options in [
        &["--inverted", "--percent-limit", "5"][..],
        &["--by", "core", "--sort", "total"],
    ] {
        pmiscope(&[&["report", path], options].concat()).success();
    }
    let elf = text(&crate::fixture::kernel().path);
    let said = stderr(&pmiscope(&["report", path, "--program", elf]));
    assert!(
        said.contains("no sample is of a program of the user"),
        "{said}"
    );
    refused(
        pmiscope(&["annotate", path, "stub", "--top", "0"]),
        2,
        &["must be a number from 1 on"],
    );
}

#[test]
fn a_wrong_command_line_is_status_2_though_it_is_found_out_late() {
    let qemu = qemu("misuse.sh", VERSION, "boot");
    let on_qemu = ["--qemu", text(&qemu)];
    for (options, says) in [
        (
            &["--samples", "1"][..],
            "each of the 4 cores takes one at least",
        ),
        (
            &["--aim", "switch_task"],
            "--aim switch_task: must be FUNCTION:N",
        ),
        (
            &["--event", "cycles", "--source", "hpet"],
            "only the source pmu counts",
        ),
        (&["--table", "1M"], "only --keep chains has tables"),
        (&["--", "-m", "512"], "say --memory SIZE"),
    ] {
        refused(run(&[&on_qemu[..], options].concat()), 2, &[says]);
    }
}

#[test]
fn without_home_the_emulator_is_the_same() {
    let kernel = text(&crate::fixture::kernel().path);
    // The name of the profile is refused behind the emulator, which is there or not built.
    let words = [
        "run", "--kernel", kernel, "--loader", kernel, "--qemu", "lab", "-o", "-",
    ];
    let said = |change: fn(&mut Command)| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pmiscope"));
        command.args(words).env_remove("XDG_CACHE_HOME");
        change(&mut command);
        stderr(&command.timeout(Duration::from_secs(60)).assert().code(1))
    };
    let without = said(|command| {
        command.env_remove("HOME");
    });
    assert!(!without.contains("neither HOME nor"), "{without}");
}

#[test]
fn a_profile_does_not_become_a_file_with_a_dash_for_a_name() {
    let path = file("dash.pmi", &profile());
    let embed = ["embed-symbols", text(&path), "-o", "-"];
    let in_folder = Command::new(env!("CARGO_BIN_EXE_pmiscope"))
        .args(embed)
        .current_dir(folder())
        .assert();
    refused(in_folder, 1, &["-o -: a profile is a file: name one"]);
    assert!(!folder().join("-").exists());
}

#[test]
fn serve_says_what_it_waits_for_and_ends_by_an_interrupt() {
    refused(
        pmiscope(&["serve", "/no-such-folder/profile.pmi"]),
        1,
        &["there is no folder /no-such-folder"],
    );
    let tool = env!("CARGO_BIN_EXE_pmiscope");
    // As a shell does it for what a script starts in the background.
    let ignoring = format!("trap '' INT; exec {tool} serve nowhere.pmi");
    let plain = format!("exec {tool} serve nowhere.pmi");
    for script in [plain, ignoring] {
        let mut server = Process::new("sh")
            .args(["-c", &script])
            .current_dir(folder())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut said = BufReader::new(server.stderr.take().unwrap());
        said.read_line(&mut line).unwrap();
        assert_eq!(
            line,
            "pmiscope: waiting for nowhere.pmi: it is not there, and no run is writing it yet\n"
        );
        // The address comes behind the signals.
        line.clear();
        let mut address = BufReader::new(server.stdout.take().unwrap());
        address.read_line(&mut line).unwrap();
        assert!(line.starts_with("http://127.0.0.1:"), "{line}");
        kill_process(Pid::from_child(&server), Signal::INT).unwrap();
        let ended = (0..600).find_map(|_| {
            sleep(Duration::from_millis(100));
            server.try_wait().unwrap()
        });
        if ended.is_none() {
            server.kill().unwrap();
        }
        assert_eq!(ended.and_then(|status| status.code()), Some(0), "{script}");
    }
}
