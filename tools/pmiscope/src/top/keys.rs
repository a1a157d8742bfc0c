//! What keys do.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use crate::symbols::FunctionId;

/// What functions are sorted by.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) enum Order {
    #[default]
    Own,
    Total,
}

/// What the view cannot do by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Action {
    Nothing,
    End,
    Save,
    /// Begin to count anew.
    Zero,
    /// Show only stacks with the selected function.
    Focus,
    /// Twice and half the period.
    Longer,
    Shorter,
}

/// What was typed so far.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Keys {
    pub(super) order: Order,
    /// A part of names; all if it is empty.
    pub(super) filter: String,
    /// Whether the filter is being typed.
    pub(super) is_typing: bool,
    /// The row that is selected.
    pub(super) row: usize,
    pub(super) focus: Option<FunctionId>,
    is_frozen: bool,
}

impl Keys {
    pub(super) fn is_frozen(&self) -> bool {
        self.is_frozen
    }

    pub(super) fn focus(&mut self, function: Option<FunctionId>) {
        self.focus = function;
        self.row = 0;
    }

    /// Does what a key is for.
    pub(super) fn on_key(&mut self, key: KeyEvent) -> Action {
        let is_interrupt = key.modifiers.contains(KeyModifiers::CONTROL);
        if is_interrupt && key.code == KeyCode::Char('c') {
            return Action::End;
        }
        if self.is_typing {
            self.type_filter(key.code);
            return Action::Nothing;
        }
        match key.code {
            KeyCode::Char('q') => return Action::End,
            KeyCode::Char('w') => return Action::Save,
            KeyCode::Char('z') => return Action::Zero,
            KeyCode::Char('+') => return Action::Longer,
            KeyCode::Char('-') => return Action::Shorter,
            KeyCode::Enter => return Action::Focus,
            KeyCode::Char('s') => {
                self.order = match self.order {
                    Order::Own => Order::Total,
                    Order::Total => Order::Own,
                };
            }
            KeyCode::Char('/') => self.is_typing = true,
            KeyCode::Char(' ' | 'f') => self.is_frozen = !self.is_frozen,
            KeyCode::Up | KeyCode::Char('k') => self.row = self.row.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => self.row += 1,
            KeyCode::Home => self.row = 0,
            KeyCode::Esc => {
                self.focus = None;
                self.filter.clear();
            }
            _ => {}
        }
        Action::Nothing
    }

    fn type_filter(&mut self, key: KeyCode) {
        match key {
            KeyCode::Enter => self.is_typing = false,
            KeyCode::Esc => {
                self.is_typing = false;
                self.filter.clear();
            }
            KeyCode::Backspace => {
                self.filter.pop();
            }
            KeyCode::Char(c) => self.filter.push(c),
            _ => {}
        }
        self.row = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(keys: &mut Keys, text: &str) -> Vec<Action> {
        let key = |c: char| match c {
            '\n' => KeyCode::Enter,
            '\x1b' => KeyCode::Esc,
            '\x08' => KeyCode::Backspace,
            c => KeyCode::Char(c),
        };
        let actions = text.chars().map(|c| keys.on_key(key(c).into()));
        actions
            .filter(|&action| action != Action::Nothing)
            .collect()
    }

    #[test]
    fn keys_that_are_typed_into_the_filter_do_nothing_else() {
        let mut keys = Keys {
            row: 3,
            ..Keys::default()
        };
        assert_eq!(typed(&mut keys, "/qwx\x08"), []);
        assert_eq!((&*keys.filter, keys.is_typing, keys.row), ("qw", true, 0));
        assert_eq!(typed(&mut keys, "\nq"), [Action::End]);
        assert_eq!(&*keys.filter, "qw");
        // Escape takes it away, typed or not.
        assert_eq!(typed(&mut keys, "\x1b"), []);
        assert_eq!(keys.filter, "");
        typed(&mut keys, "/abc\x1b");
        assert_eq!((&*keys.filter, keys.is_typing), ("", false));
        let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        typed(&mut keys, "/");
        assert_eq!(keys.on_key(interrupt), Action::End);
    }

    #[test]
    fn each_key_has_its_action() {
        let mut keys = Keys::default();
        let actions = typed(&mut keys, "jjkswz+-\n f");
        let expected = [
            Action::Save,
            Action::Zero,
            Action::Longer,
            Action::Shorter,
            Action::Focus,
        ];
        assert_eq!(actions, expected);
        assert_eq!(
            (keys.row, keys.order, keys.is_frozen()),
            (1, Order::Total, false)
        );
        typed(&mut keys, " s");
        assert_eq!((keys.order, keys.is_frozen()), (Order::Own, true));
    }
}
