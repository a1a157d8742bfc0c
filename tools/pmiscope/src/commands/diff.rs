//! `diff`: two profiles, by the names of their functions.

use anyhow::{Context as _, Result, bail};

use super::print;
use super::show::{CountedProfile, LoadedProfile, destination};
use crate::cli::{DiffArgs, ProfileArgs, ReportFormat};
use crate::exit::Exit;
use crate::flame::{self, Stacks};
use crate::output::{Destination, json, say};
use crate::report::counts::Counts;
use crate::report::diff::{self, Diff, DiffOptions, Side};
use crate::symbols::BuildId;

/// Functions in a text, unless asked otherwise.
const TOP: usize = 30;

pub(super) fn diff(arguments: &DiffArgs) -> Result<Exit> {
    let profiles = arguments.profiles();
    let output = arguments.output.as_deref();
    // Over neither of the two.
    let output = output.map(|path| {
        destination(path, &profiles[0])?;
        destination(path, &profiles[1])
    });
    let output = output.transpose()?;
    let before = Counted::new(&profiles[0], arguments)?;
    let after = Counted::new(&profiles[1], arguments)?;
    if let Some(output) = &output {
        if before.stacks.is_empty() || after.stacks.is_empty() {
            bail!("there is nothing to draw: one of the two has no samples");
        }
        let mut picture = Vec::new();
        flame::draw_diff([&before.stacks, &after.stacks], &mut picture)
            .context("cannot draw the flame graph")?;
        output.write(&picture)?;
    }
    if !matches!(output, Some(Destination::Stdout)) {
        print(&text(&before, &after, arguments)?).context("cannot write the difference")?;
    }
    let exit = before.counted.leave();
    Ok(exit.or(after.counted.leave()))
}

fn text(before: &Counted, after: &Counted, arguments: &DiffArgs) -> Result<String> {
    let top = match arguments.format {
        ReportFormat::Text => Some(arguments.top.unwrap_or(TOP)),
        ReportFormat::Json => arguments.top,
    };
    let options = DiffOptions {
        sort: arguments.sort,
        functions: top,
        stacks: top.map(|top| top.div_ceil(3)),
    };
    let sides = [before, after].map(|it| (it.side.clone(), &it.stacks));
    let diff = Diff::new(sides, after.counted.only(), options);
    Ok(match arguments.format {
        ReportFormat::Text => diff::text::text(&diff, arguments.sort),
        ReportFormat::Json => json(&diff)?,
    })
}

/// One of the profiles, counted.
struct Counted {
    counted: CountedProfile,
    stacks: Stacks,
    side: Side,
}

impl Counted {
    fn new(profile: &ProfileArgs, arguments: &DiffArgs) -> Result<Self> {
        let path = profile.profile.display().to_string();
        let mut loaded = LoadedProfile::new(profile)?;
        if Counts::are_in(&loaded.profile.description) {
            bail!("{path} has counts of events and no samples: nothing to compare");
        }
        let selection = loaded
            .select(&arguments.select)
            .with_context(|| path.clone())?;
        let counted = loaded.count(selection)?;
        counted.check_one_event().with_context(|| path.clone())?;
        if counted.tally.samples() == 0 {
            say!("pmiscope: {path}: {}", counted.lacks_samples());
        }
        let stacks = Stacks::by_name(&counted.profile, &counted.tally, &counted.symbols)?;
        let side = Side {
            profile: path,
            build_id: BuildId(counted.profile.description.build_id).to_string(),
            samples: counted.tally.samples(),
        };
        Ok(Self {
            counted,
            stacks,
            side,
        })
    }
}
