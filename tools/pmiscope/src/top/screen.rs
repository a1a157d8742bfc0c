//! What is drawn, and how.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::keys::{Keys, Order};
use super::live::Doing;
use crate::output::{one_line, padded};
use crate::units::{grouped, percent};

/// The letters of a core's bar, in the order of [`Doing::ALL`], and their colours: without colours the
/// letters say the same.
const LETTERS: [(&str, &str); Doing::ALL.len()] = [
    ("t", "task"),
    ("i", "interrupt"),
    ("n", "NMI"),
    (".", "idle"),
    ("u", "user"),
];

/// The columns of a bar's text before and behind it.
const BESIDE_BAR: usize = 30;

/// The rows that bars may take, in percent.
const BARS_PERCENT: u16 = 40;

/// A core.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Bar {
    /// Its samples by what it did, as [`Doing::ALL`].
    pub(super) counts: [u64; Doing::ALL.len()],
    pub(super) lost: u64,
}

/// A function.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct FunctionLine {
    pub(super) own: u64,
    pub(super) total: u64,
    pub(super) name: String,
}

/// What the keys have made of the view.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Facts {
    order: Order,
    filter: String,
    is_typing: bool,
    row: usize,
    is_frozen: bool,
    is_paused: bool,
    message: String,
}

impl Facts {
    pub(super) fn new(keys: &Keys, message: &str, is_paused: bool) -> Self {
        Self {
            order: keys.order,
            filter: keys.filter.clone(),
            is_typing: keys.is_typing,
            row: keys.row,
            is_frozen: keys.is_frozen(),
            is_paused,
            message: message.to_owned(),
        }
    }
}

/// All that is drawn.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Screen {
    pub(super) source: &'static str,
    pub(super) requested: u64,
    pub(super) achieved: Option<u64>,
    /// Since the beginning.
    pub(super) samples: u64,
    /// Those that shares are of.
    pub(super) all: u64,
    pub(super) bars: Vec<Bar>,
    pub(super) functions: Vec<FunctionLine>,
    pub(super) focus: Option<String>,
    pub(super) facts: Facts,
}

impl Screen {
    pub(super) fn set_facts(&mut self, facts: Facts) {
        self.facts = facts;
    }

    /// Draws all of it.
    pub(super) fn draw(&self, frame: &mut Frame<'_>) {
        let area = frame.area();
        let most = usize::from(area.height) * usize::from(BARS_PERCENT) / 100;
        let bars = self.bars.len().min(most.max(1));
        let rows = [
            Constraint::Length(2),
            Constraint::Length(u16::try_from(bars).unwrap_or(u16::MAX)),
            Constraint::Length(1),
            Constraint::Min(0),
            Constraint::Length(1),
        ];
        let [head, cores, titles, functions, foot] = Layout::vertical(rows).areas(area);
        frame.render_widget(Paragraph::new(self.head()), head);
        frame.render_widget(Paragraph::new(self.bars(bars, cores)), cores);
        let bold = Style::new().add_modifier(Modifier::REVERSED);
        let title = padded(self.title(), usize::from(titles.width));
        frame.render_widget(Paragraph::new(Line::styled(title, bold)), titles);
        frame.render_widget(Paragraph::new(self.rows(functions)), functions);
        frame.render_widget(Paragraph::new(self.foot()), foot);
    }

    fn head(&self) -> Vec<Line<'_>> {
        let lost: u64 = self.bars.iter().map(|bar| bar.lost).sum();
        let achieved = self.achieved.map_or_else(String::new, |median| {
            format!(" requested, {} achieved", grouped(median))
        });
        let state = match (self.facts.is_frozen, self.facts.is_paused) {
            (true, _) => "  (frozen)",
            (_, true) => "  (stopped)",
            _ => "",
        };
        let first = format!(
            "{} samples by {}, {} lost; period {}{achieved}{state}",
            grouped(self.samples),
            self.source,
            grouped(lost),
            grouped(self.requested),
        );
        let letters = LETTERS
            .map(|(letter, what)| format!("{letter} {what}"))
            .join("  ");
        vec![Line::raw(first), Line::raw(format!("cores: {letters}"))]
    }

    /// A line for each core that has room.
    fn bars(&self, shown: usize, area: Rect) -> Vec<Line<'_>> {
        let room = usize::from(area.width).saturating_sub(BESIDE_BAR);
        let mut lines: Vec<_> = (0..)
            .zip(&self.bars)
            .take(shown)
            .map(|(core, bar)| bar_line(core, bar, room))
            .collect();
        if shown < self.bars.len()
            && let Some(last) = lines.last_mut()
        {
            let more = self.bars.len() + 1 - shown;
            *last = Line::raw(format!(
                "… {more} more cores: a higher window has room for them"
            ));
        }
        lines
    }

    fn title(&self) -> &'static str {
        match self.facts.order {
            Order::Own => "   self↓   total  function",
            Order::Total => "   self   total↓  function",
        }
    }

    fn rows(&self, area: Rect) -> Vec<Line<'_>> {
        let room = usize::from(area.height);
        let row = self.facts.row.min(self.functions.len().saturating_sub(1));
        let first = (row + 1).saturating_sub(room);
        let shown = self.functions.iter().enumerate().skip(first).take(room);
        let line = |(place, function): (usize, &FunctionLine)| {
            let [own, total] = [function.own, function.total].map(|it| percent(it, self.all));
            let text = format!("{own:>6.2}% {total:>6.2}%  {}", one_line(&function.name));
            if place == row {
                Line::styled(text, Style::new().add_modifier(Modifier::REVERSED))
            } else {
                Line::raw(text)
            }
        };
        shown.map(line).collect()
    }

    fn foot(&self) -> Line<'_> {
        let facts = &self.facts;
        let text = if facts.is_typing {
            format!("filter: {}_", one_line(&facts.filter))
        } else if !facts.message.is_empty() {
            one_line(&facts.message).into_owned()
        } else if let Some(focus) = &self.focus {
            format!("only stacks with {} (Esc: all)", one_line(focus))
        } else if !facts.filter.is_empty() {
            format!("only names with `{}` (Esc: all)", one_line(&facts.filter))
        } else {
            "q quit  s sort  / filter  ⏎ focus  space freeze  z zero  + - period  w save".into()
        };
        Line::raw(text)
    }
}

/// A core's line: its number, its bar, the share in which it was busy, what it has lost.
fn bar_line(core: usize, bar: &Bar, room: usize) -> Line<'static> {
    let all: u64 = bar.counts.iter().sum();
    let idle = bar.counts[Doing::Idle as usize];
    let mut spans = vec![Span::raw(format!("{core:>4} ["))];
    let mut drawn = 0;
    let mut counted = 0;
    for ((letter, _), &samples) in LETTERS.iter().zip(&bar.counts) {
        counted += samples;
        // Rounded down from the left, so that all of them together have the room.
        let end = usize::try_from(u128::from(counted) * room as u128 / u128::from(all.max(1)));
        let end = end.unwrap_or(room);
        spans.push(Span::styled(letter.repeat(end - drawn), style_of(letter)));
        drawn = end;
    }
    let busy = percent(all - idle, all);
    let lost = grouped(bar.lost);
    spans.push(Span::raw(format!(
        "{}] {busy:>6.2}% busy, {lost} lost",
        " ".repeat(room - drawn)
    )));
    Line::from(spans)
}

/// The colour of a letter, if there are to be colours.
fn style_of(letter: &str) -> Style {
    use ratatui::style::Color;
    if std::env::var_os("NO_COLOR").is_some_and(|it| !it.is_empty()) {
        return Style::new();
    }
    let colour = match letter {
        "t" => Color::Green,
        "i" => Color::Yellow,
        "n" => Color::Red,
        "u" => Color::Blue,
        _ => return Style::new(),
    };
    Style::new().fg(colour)
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use ratatui::buffer::Cell;
    use ratatui::crossterm::event::KeyCode;
    use ratatui::style::Color;

    use super::*;

    fn screen() -> Screen {
        let function = |own, total, name: &str| FunctionLine {
            own,
            total,
            name: name.into(),
        };
        Screen {
            source: "pmu",
            requested: 1000,
            achieved: Some(1003),
            samples: 12_345,
            all: 20,
            bars: vec![
                Bar {
                    counts: [5, 1, 1, 2, 1],
                    lost: 0,
                },
                Bar {
                    counts: [0, 0, 0, 10, 0],
                    lost: 2,
                },
            ],
            functions: vec![
                function(12, 20, "kernel::idle"),
                function(5, 5, "evil\x1b[31m"),
                function(3, 4, "third"),
            ],
            focus: None,
            facts: Facts::default(),
        }
    }

    /// The lines that are drawn, without the blanks behind them.
    fn drawn(screen: &Screen, (width, height): (u16, u16)) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| screen.draw(frame)).unwrap();
        let buffer = terminal.backend().buffer().clone();
        let cells = |row: u16| (0..width).map(move |column| (column, row));
        let line = |row| cells(row).map(|at| buffer[at].symbol()).collect::<String>();
        (0..height)
            .map(|row| line(row).trim_end().to_owned())
            .collect()
    }

    #[test]
    fn each_cell_is_where_it_belongs() {
        let expected = [
            "12,345 samples by pmu, 2 lost; period 1,000 requested, 1,003 achieved",
            "cores: t task  i interrupt  n NMI  . idle  u user",
            "   0 [tttttttttttttttttttttttttiiiiinnnnn..........uuuuu]  80.00% busy, 0 lost",
            "   1 [..................................................]   0.00% busy, 2 lost",
            "   self↓   total  function",
            " 60.00% 100.00%  kernel::idle",
            " 25.00%  25.00%  evil\\u{1b}[31m",
            " 15.00%  20.00%  third",
            "",
            "q quit  s sort  / filter  ⏎ focus  space freeze  z zero  + - period  w save",
        ];
        let mut found = drawn(&screen(), (90, 10));
        // The bar has 60 columns there, of which ten samples have six each.
        let bar = |letters: &[(&str, usize)]| {
            letters
                .iter()
                .map(|(it, n)| it.repeat(*n))
                .collect::<String>()
        };
        let first = bar(&[("t", 30), ("i", 6), ("n", 6), (".", 12), ("u", 6)]);
        assert_eq!(found[2], format!("   0 [{first}]  80.00% busy, 0 lost"));
        let second = bar(&[(".", 60)]);
        assert_eq!(found[3], format!("   1 [{second}]   0.00% busy, 2 lost"));
        found[2] = expected[2].into();
        found[3] = expected[3].into();
        assert_eq!(found, expected);
    }

    /// The screen of the document, of a run of the mix.
    fn documented() -> Screen {
        let function = |own, total, name: &str| FunctionLine {
            own,
            total,
            name: name.into(),
        };
        let bar = |counts| Bar { counts, lost: 0 };
        let mut screen = Screen {
            source: "pmu",
            requested: 1_000,
            achieved: Some(1_000),
            samples: 1_204_377,
            all: 40_000,
            bars: vec![
                bar([8_120, 640, 90, 1_150, 0]),
                bar([5_330, 410, 80, 980, 3_200]),
                bar([6_905, 520, 75, 2_500, 0]),
                bar([2_010, 300, 60, 6_480, 1_150]),
            ],
            functions: vec![
                function(9_412, 9_412, "memcpy"),
                function(7_730, 7_760, "kernel::workload::hash::run"),
                function(6_150, 23_101, "kernel::workload::recursion::ackermann"),
                function(4_022, 11_110, "kernel::task::idle::halt"),
                function(3_871, 4_350, "fib [processes]"),
                function(2_305, 5_980, "kernel::workload::heap::run"),
                function(1_990, 2_004, "<kernel_core::heap::Classes>::take"),
                function(
                    1_340,
                    2_777,
                    "kernel::sync::ticket::Lock<kernel::memory::heap::Heap>::lock",
                ),
                function(960, 1_480, "kernel::workload::sort::quicksort"),
                function(611, 3_960, "kernel::trap::dispatch::interrupt"),
            ],
            focus: None,
            facts: Facts::default(),
        };
        screen.facts.row = 2;
        screen
    }

    /// The width and the height of a cell in a picture, and its colours.
    const CELL: (f64, u32) = (8.4, 18);
    const PAPER: &str = "#1e2127";
    const INK: &str = "#d7dae0";

    /// A screen as a picture.
    fn picture(screen: &Screen, (width, height): (u16, u16)) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| screen.draw(frame)).unwrap();
        let buffer = terminal.backend().buffer().clone();
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {:.0} {}\" font-family=\"monospace\" font-size=\"14\">\n<title>pmiscope top</title>\n<rect width=\"100%\" height=\"100%\" rx=\"6\" fill=\"{PAPER}\"/>\n",
            f64::from(width) * CELL.0 + 16.0,
            u32::from(height) * CELL.1 + 16
        );
        for row in 0..height {
            let cells: Vec<_> = (0..width).map(|it| (it, &buffer[(it, row)])).collect();
            // A text for each word of one look: blanks between would be taken for one.
            let runs = cells.chunk_by(|(_, a), (_, b)| {
                let look = |cell: &Cell| (cell.fg, cell.modifier, cell.symbol() == " ");
                look(a) == look(b)
            });
            runs.for_each(|run| draw_run(run, row, &mut svg));
        }
        svg + "</svg>\n"
    }

    /// Cells that have one look, or are blank.
    fn draw_run(run: &[(u16, &Cell)], row: u16, svg: &mut String) {
        let (column, first) = run[0];
        let ink = match first.fg {
            Color::Green => "#5fbf77",
            Color::Yellow => "#d9b44a",
            Color::Red => "#e06c75",
            Color::Blue => "#61a0e0",
            _ => INK,
        };
        let is_reversed = first.modifier.contains(Modifier::REVERSED);
        let x = 8.0 + f64::from(column) * CELL.0;
        let y = 8 + u32::from(row) * CELL.1;
        let length = f64::from(u16::try_from(run.len()).unwrap()) * CELL.0;
        if is_reversed {
            let height = CELL.1;
            let _ = writeln!(
                svg,
                "<rect x=\"{x:.1}\" y=\"{y}\" width=\"{length:.1}\" height=\"{height}\" fill=\"{ink}\"/>"
            );
        }
        let text: String = run.iter().map(|(_, cell)| cell.symbol()).collect();
        let text = text.replace('&', "&amp;").replace('<', "&lt;");
        if !text.trim().is_empty() {
            let (ink, y) = (if is_reversed { PAPER } else { ink }, y + 14);
            let _ = writeln!(
                svg,
                "<text x=\"{x:.1}\" y=\"{y}\" textLength=\"{length:.1}\" fill=\"{ink}\">{text}</text>"
            );
        }
    }

    /// `UPDATE_PICTURES=1` writes it anew.
    #[test]
    fn the_picture_in_the_documents_is_what_is_drawn() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/top.svg");
        let drawn = picture(&documented(), (100, 18));
        if std::env::var_os("UPDATE_PICTURES").is_some() {
            std::fs::write(path, &drawn).unwrap();
        }
        let known = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            known == drawn,
            "docs/top.svg is of another view: UPDATE_PICTURES=1 writes it anew"
        );
    }

    #[test]
    fn what_has_no_room_is_left_out_and_said() {
        let mut many = screen();
        many.bars = vec![Bar::default(); 300];
        let found = drawn(&many, (40, 10));
        assert_eq!(found[5], "… 297 more cores: a higher window has ro");
        let mut keys = Keys::default();
        (0..9).for_each(|_| {
            keys.on_key(KeyCode::Down.into());
        });
        many.set_facts(Facts::new(&keys, "", true));
        // The selected row is one that there is, and is seen.
        let found = drawn(&many, (60, 9));
        assert_eq!(found[7], " 15.00%  20.00%  third");
        for size in [(1, 1), (10, 3), (0, 0)] {
            drawn(&many, size);
        }
        assert_eq!(drawn(&Screen::default(), (40, 4)).len(), 4);
    }

    #[test]
    fn the_last_line_says_what_is_going_on() {
        let foot = |edit: fn(&mut Screen)| {
            let mut screen = screen();
            edit(&mut screen);
            drawn(&screen, (80, 10)).pop().unwrap()
        };
        assert_eq!(foot(|it| it.facts.is_typing = true), "filter: _");
        assert_eq!(
            foot(|it| it.facts.filter = "a".into()),
            "only names with `a` (Esc: all)"
        );
        assert_eq!(foot(|it| it.facts.message = "saved".into()), "saved");
        assert_eq!(
            foot(|it| it.focus = Some("f".into())),
            "only stacks with f (Esc: all)"
        );
        let mut frozen = screen();
        frozen.facts.is_frozen = true;
        assert!(drawn(&frozen, (110, 10))[0].ends_with("achieved  (frozen)"));
    }
}
