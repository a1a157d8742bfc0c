//! `top`: the terminal view of a run that goes on. What is drawn is a function of [`Screen`], what a key
//! does one of [`Keys`], and what is counted is [`Live`]: none of them knows a terminal.

mod keys;
mod live;
mod screen;

use std::io::{self, IsTerminal as _};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use profiler::contract::mailbox::Request;
use profiler::contract::settings::Settings;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEventKind};

use crate::control::{self, Command};
use crate::signals;
use keys::{Action, Keys};
pub(crate) use live::Live;
use screen::{Facts, Screen};

/// Between two pictures.
const REFRESH: Duration = Duration::from_millis(500);

/// What the user wants of the run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wanted {
    /// Nothing.
    Nothing,
    /// To end it.
    End,
    /// A profile of what there is so far.
    Save,
}

/// How the run stands.
#[derive(Clone, Debug, Default)]
pub(crate) struct Standing {
    /// Records that each core has lost.
    pub lost: Vec<u64>,
    pub is_paused: bool,
}

/// The view, with its terminal.
pub(crate) struct Top {
    terminal: DefaultTerminal,
    live: Live,
    keys: Keys,
    /// What is shown while nothing is to move.
    frozen: Option<Screen>,
    drawn: Option<Instant>,
    message: String,
    /// What the run says to what it was asked for.
    answer: Option<Receiver<String>>,
}

impl Top {
    /// Takes the terminal.
    ///
    /// # Errors
    ///
    /// There is none.
    pub(crate) fn new(live: Live) -> io::Result<Self> {
        if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
            return Err(io::Error::other("it is none: pmiscope run needs none"));
        }
        signals::before_exit(ratatui::restore);
        Ok(Self {
            terminal: ratatui::try_init()?,
            live,
            keys: Keys::default(),
            frozen: None,
            drawn: None,
            message: String::new(),
            answer: None,
        })
    }

    pub(crate) fn live(&mut self) -> &mut Live {
        &mut self.live
    }

    /// Shows this until the next key.
    pub(crate) fn say(&mut self, message: &str) {
        message.clone_into(&mut self.message);
        self.drawn = None;
    }

    /// Does what keys were typed for, and draws if it is time to.
    ///
    /// # Errors
    ///
    /// Those of the terminal.
    pub(crate) fn look(&mut self, standing: &Standing) -> io::Result<Wanted> {
        while event::poll(Duration::ZERO)? {
            self.drawn = None;
            let Event::Key(key) = event::read()? else {
                continue;
            };
            if key.kind != KeyEventKind::Press {
                continue;
            }
            self.message.clear();
            let action = self.keys.on_key(key);
            let wanted = self.act(action);
            if wanted != Wanted::Nothing {
                return Ok(wanted);
            }
        }
        if let Some(said) = self.answer.as_ref().and_then(|it| it.try_recv().ok()) {
            self.answer = None;
            self.say(&said);
        }
        if self.drawn.is_none_or(|drawn| drawn.elapsed() >= REFRESH) {
            self.draw(standing)?;
        }
        Ok(Wanted::Nothing)
    }

    fn act(&mut self, action: Action) -> Wanted {
        match action {
            Action::Nothing => {}
            Action::End => return Wanted::End,
            Action::Save => return Wanted::Save,
            Action::Zero => self.live.forget(),
            Action::Focus => self.keys.focus(self.live.selected(&self.keys)),
            Action::Longer => self.ask_for_period(|period| period.saturating_mul(2)),
            Action::Shorter => self.ask_for_period(|period| (period / 2).max(1)),
        }
        Wanted::Nothing
    }

    /// Asks for another period, as `pmiscope ctl` does: the run answers between two looks.
    fn ask_for_period(&mut self, other: impl Fn(u64) -> u64) {
        let (low, high) = Settings::PERIODS.into_inner();
        let period = other(self.live.requested_period()).clamp(low, high);
        let (sender, receiver) = mpsc::channel();
        self.answer = Some(receiver);
        self.message = format!("asking for a period of {period} …");
        self.live.set_requested_period(period);
        thread::spawn(move || {
            let command = Command::Request(Request::Period(period));
            let said = match control::send(Some(std::process::id()), &command) {
                Ok(_) => format!("the period is {period}"),
                Err(error) => format!("{error:#}"),
            };
            // Nobody hears it any more.
            let _ = sender.send(said);
        });
    }

    fn draw(&mut self, standing: &Standing) -> io::Result<()> {
        let is_new = self.drawn.is_some();
        self.drawn = Some(Instant::now());
        if self.keys.is_frozen() {
            if self.frozen.is_none() {
                self.frozen = Some(self.live.screen(&self.keys, standing));
            }
        } else {
            self.frozen = None;
        }
        let mut screen = match &self.frozen {
            Some(frozen) => frozen.clone(),
            None => self.live.screen(&self.keys, standing),
        };
        let facts = Facts::new(&self.keys, &self.message, standing.is_paused);
        screen.set_facts(facts);
        self.terminal.draw(|frame| screen.draw(frame))?;
        // What keys have asked for is no step in time.
        if is_new && !self.keys.is_frozen() && !standing.is_paused {
            self.live.decay();
        }
        Ok(())
    }
}

impl Drop for Top {
    fn drop(&mut self) {
        ratatui::restore();
    }
}
