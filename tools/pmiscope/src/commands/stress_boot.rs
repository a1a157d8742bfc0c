//! `pmiscope stress-boot`.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use rustix::process::{Pid, Signal, kill_process};

use super::run::plan::output;
use crate::cli::{GivenArgs, StressBootArgs};
use crate::collect::guest_memory;
use crate::doctor::host::Kvm;
use crate::exit::Exit;
use crate::output::{one_line, say};
use crate::profile::Mode;
use crate::qemu::{Choice, Qemu, has_lab};
use crate::signals::Interrupt;
use crate::stress::{AtHand, Emulator, MOST_MEMORY, Plan, Remains, Summary, Verdict};

/// Between two looks at a boot.
const POLL: Duration = Duration::from_millis(20);
/// How long a boot may take beyond the limit by which it ends itself.
const GRACE: Duration = Duration::from_secs(60);
/// Lines of a failed boot's messages that are shown.
const SHOWN: usize = 8;

/// The boots of a storm.
struct Storm<'a> {
    at_hand: AtHand,
    seed: u64,
    /// The folder for what is left of boots.
    folder: &'a Path,
    program: PathBuf,
    interrupt: Interrupt,
}

/// A boot that has ended.
struct Ended {
    plan: Plan,
    remains: Remains,
    verdict: Verdict,
}

/// Executes `pmiscope stress-boot`.
pub(super) fn run(arguments: &StressBootArgs) -> Result<Exit> {
    let at_hand = find(&arguments.given)?;
    let numbers = numbers(arguments)?;
    if arguments.dry_run {
        return dry_run(&at_hand, arguments.seed, &numbers);
    }
    let folder = output(arguments.output.as_deref(), "stress-boot")?;
    fs::create_dir_all(&folder)
        .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let storm = Storm {
        at_hand,
        seed: arguments.seed,
        folder: &folder,
        program: env::current_exe().context("cannot find the own program")?,
        interrupt: Interrupt::catch().context("cannot catch signals")?,
    };
    let started = Instant::now();
    let summary = storm.boot(&numbers, arguments.jobs)?;
    let text = summary.text(&storm.at_hand.missing(), started.elapsed());
    super::print(&text)?;
    Ok(match storm.interrupt.wanted_by() {
        Some(_) => Exit::Interrupted,
        None if summary.has_failed() => Exit::Failure,
        None => Exit::Success,
    })
}

/// The numbers of the boots.
fn numbers(arguments: &StressBootArgs) -> Result<Vec<u32>> {
    match arguments.only {
        None => Ok((0..arguments.times).collect()),
        Some(only) if only < arguments.times => Ok(vec![only]),
        Some(only) => bail!(
            "--only {only}: the boots are 0 to {}: raise --times",
            arguments.times - 1
        ),
    }
}

/// Shows what would be booted.
fn dry_run(at_hand: &AtHand, seed: u64, numbers: &[u32]) -> Result<Exit> {
    let mut text = String::new();
    for &number in numbers {
        let plan = Plan::draw(at_hand, seed, number);
        text += &format!("{}\n  # {number}: {}\n", plan.command(), plan.expected);
    }
    super::print(&text)?;
    Ok(Exit::Success)
}

/// Looks what there is to boot by.
fn find(given: &GivenArgs) -> Result<AtHand> {
    let stock = Qemu::find(&Choice::Stock);
    let mut emulators = Vec::new();
    if stock.is_ok() {
        emulators.push(Emulator::Stock);
    }
    if has_lab() {
        emulators.extend([Emulator::Lab, Emulator::Strict]);
    }
    for (number, path) in given.qemu.iter().enumerate() {
        Qemu::find(&Choice::Path(path.clone()))?;
        emulators.push(Emulator::Other(number));
    }
    let mut modes = vec![Mode::Deterministic, Mode::Deterministic, Mode::Realtime];
    match &stock {
        Ok(qemu) if Kvm::find(Some(qemu)).is_usable() => modes.push(Mode::Kvm),
        Ok(_) => {}
        Err(problem) if emulators.is_empty() => bail!("{problem}"),
        Err(_) => {}
    }
    let named = [&given.disc, &given.firmware, &given.kernel];
    for file in named.into_iter().chain([&given.loader]).flatten() {
        File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
    }
    Ok(AtHand {
        emulators,
        others: given.qemu.clone(),
        modes,
        memory: most_memory(),
        disc: given.disc.clone(),
        firmware: given.firmware.clone(),
        kernel: given.kernel.clone(),
        loader: given.loader.clone(),
    })
}

/// The most memory of a machine for which there is room, of what is asked for.
fn most_memory() -> u64 {
    let halves = (0..16).map(|times| MOST_MEMORY >> times);
    let mut fitting = halves.filter(|&bytes| guest_memory(bytes).is_ok());
    fitting.next().unwrap_or_default()
}

impl Storm<'_> {
    /// Boots all of these, so many at a time.
    fn boot(&self, numbers: &[u32], jobs: u32) -> Result<Summary> {
        let bar = ProgressBar::new(numbers.len() as u64);
        let style = ProgressStyle::with_template("{bar:32} {human_pos} of {human_len}, {msg}");
        bar.set_style(style.context("the template is a constant")?);
        let next = AtomicU32::new(0);
        let (sender, ended) = mpsc::channel();
        let mut summary = Summary::default();
        let mut failures = 0;
        thread::scope(|scope| -> Result<()> {
            for _ in 0..jobs {
                let (sender, next) = (sender.clone(), &next);
                scope.spawn(move || self.work(numbers, next, &sender));
            }
            drop(sender);
            for ended in ended {
                let ended: Ended = ended?;
                summary.add(&ended.plan, &ended.verdict);
                if let Verdict::Failed(problem) = &ended.verdict {
                    failures += 1;
                    bar.suspend(|| self.explain(&ended, problem));
                } else if numbers.len() == 1 {
                    bar.suspend(|| say_all(&ended.remains.said, usize::MAX));
                }
                bar.set_message(format!("{failures} failed"));
                bar.inc(1);
            }
            Ok(())
        })?;
        bar.finish_and_clear();
        Ok(summary)
    }

    /// Boots what is next until all is done, or an end is wanted.
    fn work(&self, numbers: &[u32], next: &AtomicU32, done: &Sender<Result<Ended>>) {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(&number) = numbers.get(at as usize) else {
                return;
            };
            let ended = self.boot_one(Plan::draw(&self.at_hand, self.seed, number));
            // A boot that was ended has shown nothing.
            if self.interrupt.wanted_by().is_some() || done.send(ended).is_err() {
                return;
            }
        }
    }

    fn boot_one(&self, plan: Plan) -> Result<Ended> {
        let file = |ending: &str| self.folder.join(format!("{}.{ending}", plan.number));
        let [log, report, profile] = ["log", "json", "pmi"].map(file);
        let create = |path: &Path| {
            File::create(path).with_context(|| format!("cannot write {}", path.display()))
        };
        let mut child = Command::new(&self.program)
            .args(["run", "--format", "json", "-o"])
            .arg(&profile)
            .args(&plan.words)
            .stdin(Stdio::null())
            .stdout(create(&report)?)
            .stderr(create(&log)?)
            .spawn()
            .context("cannot start the own program")?;
        let status = self.wait(&mut child, plan.limit() + GRACE)?;
        let read = |path: &Path| {
            let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()));
            bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        };
        let remains = Remains {
            status,
            said: read(&log)?,
            report: read(&report)?,
        };
        let verdict = remains.judge(&plan.expected);
        if !matches!(verdict, Verdict::Failed(_)) {
            for path in [log, report, profile, file("svg")] {
                let _ = fs::remove_file(path);
            }
        }
        Ok(Ended {
            plan,
            remains,
            verdict,
        })
    }

    /// Waits for the end of a boot, which this makes if it takes too long, or the storm is over.
    fn wait(&self, child: &mut Child, limit: Duration) -> Result<Option<i32>> {
        let started = Instant::now();
        let mut is_told = false;
        loop {
            if let Some(status) = child.try_wait().context("cannot wait for a boot")? {
                return Ok(status.code());
            }
            let is_late = started.elapsed() > limit;
            if (is_late || self.interrupt.wanted_by().is_some()) && !is_told {
                is_told = true;
                // It ends its QEMU, too.
                let id = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
                id.map(|id| kill_process(id, Signal::TERM));
            }
            thread::sleep(POLL);
        }
    }

    /// Says what has failed, and how to have it again.
    fn explain(&self, ended: &Ended, problem: &str) {
        let Ended { plan, remains, .. } = ended;
        let number = plan.number;
        say!(
            "pmiscope: boot {number} of seed {} failed: {problem}",
            self.seed
        );
        say!("  {}", plan.command());
        say!("  expected: {}", plan.expected);
        say_all(&remains.said, SHOWN);
        say!(
            "  kept: {}",
            self.folder.join(format!("{number}.*")).display()
        );
    }
}

/// The last lines of what a boot has said.
fn say_all(said: &str, most: usize) {
    let lines: Vec<_> = said.lines().collect();
    let from = lines.len().saturating_sub(most);
    for line in &lines[from..] {
        say!("  {}", one_line(line));
    }
}
