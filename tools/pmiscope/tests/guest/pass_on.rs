//! What users add to QEMU's command line.

use pmiscope::internals::Profile;

use crate::fixture::{Run, run};

/// A run with these words behind `--`.
fn with(arguments: &str, added: &str) -> Run {
    run(&format!("{arguments} -- {added}"))
}

/// QEMU's arguments, as the profile has them.
fn recorded(run: &Run) -> Vec<String> {
    let profile = std::fs::read(&run.profile).expect("a profile");
    Profile::read(profile).unwrap().host.arguments
}

#[test]
fn words_are_added_recorded_and_change_no_sample() {
    let arguments = "--smp 2 --samples 2000";
    let plain = run(arguments).ended_with(0);
    let added = "-machine smm=off -serial null -device edu -netdev user,id=n";
    let more = with(arguments, added).ended_with(0);
    more.samples().assert_same(&plain.samples());
    let words = recorded(&more);
    assert!(words.join(" ").ends_with(added), "{words:?}");
    assert!(
        more.said()
            .contains("the world outside reaches the guest by -netdev user,id=n")
    );
    assert!(!plain.said().contains("the world outside"));

    // On a screen that is shown the kernel draws how far it is, in code that is sampled.
    let shown = run(&format!("{arguments} --display vnc=none")).ended_with(0);
    assert_eq!(shown.samples().all().count(), 2000);
    let words = recorded(&shown).join(" ");
    assert!(
        words.contains("-display vnc=none") && words.contains("-device ramfb"),
        "{words}"
    );
}

#[test]
fn what_qemu_refuses_is_its_own_words_in_one_line() {
    let run = with("--smp 1", "-device nosuch").ended_with(4);
    let said = run.said();
    let line = "QEMU failed: exit status 1; qemu-system-x86_64: -device nosuch: 'nosuch' is not a valid device model name";
    assert_eq!(
        said.lines().filter(|said| said.contains(line)).count(),
        1,
        "{said}"
    );
}
