//! What is shown, and how. Keys change it; no key changes anything at the agent.

use std::cmp::Reverse;

use clap::ValueEnum;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::rows::{Row, Sample, rows};

/// Letters of a filter: longer ones are typed by cats.
const MAX_FILTER: usize = 64;

/// What the rows are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum View {
    /// Who sends.
    #[default]
    Owners,
    /// To which address.
    Destinations,
    /// To which country, site or other place.
    Countries,
    /// Open episodes.
    Violations,
}

impl View {
    pub(super) const ALL: [(Self, &'static str); 4] = [
        (Self::Owners, "owners"),
        (Self::Destinations, "destinations"),
        (Self::Countries, "countries"),
        (Self::Violations, "violations"),
    ];

    fn next(self, by: usize) -> Self {
        let at = Self::ALL.iter().position(|(view, _)| *view == self).unwrap_or(0);
        Self::ALL[(at + by) % Self::ALL.len()].0
    }
}

/// What comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Order {
    /// What sends most now.
    #[default]
    Rate,
    /// What has sent most.
    Bytes,
    /// What is against policy.
    Verdict,
    /// A to Z.
    Name,
}

impl Order {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Bytes => "bytes",
            Self::Verdict => "verdict",
            Self::Name => "name",
        }
    }

    const fn next(self) -> Self {
        match self {
            Self::Rate => Self::Bytes,
            Self::Bytes => Self::Verdict,
            Self::Verdict => Self::Name,
            Self::Name => Self::Rate,
        }
    }

    pub(super) fn sort(self, rows: &mut [Row]) {
        let by_bytes = |row: &Row| (Reverse(row.wire), row.name.clone());
        match self {
            Self::Rate => rows.sort_by_cached_key(|row| (Reverse(row.rate), by_bytes(row))),
            Self::Bytes => rows.sort_by_cached_key(by_bytes),
            Self::Verdict => rows.sort_by_cached_key(|row| (Reverse(row.standing), by_bytes(row))),
            Self::Name => rows.sort_by_cached_key(|row| (row.name.clone(), row.detail.clone())),
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) view: View,
    pub(super) order: Order,
    pub(super) filter: String,
    /// Letters go to the filter.
    pub(super) is_typing: bool,
    pub(super) is_paused: bool,
    pub(super) shows_help: bool,
    /// Rows above the first one that is shown.
    pub(super) offset: usize,
    pub(super) latest: Option<Sample>,
    before: Option<Sample>,
    /// Why there is no newer sample.
    pub(super) trouble: Option<String>,
}

/// What a key asks of the loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    GoOn,
    Quit,
}

impl State {
    pub(super) fn new(view: View, order: Order, filter: String) -> Self {
        Self { view, order, filter, ..Self::default() }
    }

    /// A new answer, or why there is none. While paused the old one stays.
    pub(super) fn take(&mut self, answer: Result<Sample, String>) {
        if self.is_paused {
            return;
        }
        match answer {
            Ok(sample) => {
                self.before = self.latest.replace(sample);
                self.trouble = None;
            }
            Err(trouble) => self.trouble = Some(trouble),
        }
    }

    pub(super) const fn before(&self) -> Option<&Sample> {
        self.before.as_ref()
    }

    /// The rows that pass the filter, in order.
    pub(super) fn rows(&self) -> Vec<Row> {
        let Some(latest) = &self.latest else { return Vec::new() };
        let mut rows = rows(self.view, latest, self.before.as_ref());
        let wanted = self.filter.to_lowercase();
        rows.retain(|row| {
            let has = |text: &str| text.to_lowercase().contains(&wanted);
            wanted.is_empty() || has(&row.name) || has(&row.detail) || has(row.standing.word())
        });
        self.order.sort(&mut rows);
        rows
    }

    pub(super) fn key(&mut self, key: KeyEvent) -> Wish {
        if key.modifiers.contains(KeyModifiers::CONTROL) && matches!(key.code, KeyCode::Char('c' | 'd')) {
            return Wish::Quit;
        }
        if self.is_typing {
            self.type_key(key.code);
            return Wish::GoOn;
        }
        if self.shows_help {
            self.shows_help = false;
            return if key.code == KeyCode::Char('q') { Wish::Quit } else { Wish::GoOn };
        }
        match key.code {
            KeyCode::Char('q') => return Wish::Quit,
            KeyCode::Esc if self.filter.is_empty() => return Wish::Quit,
            KeyCode::Esc => self.filter.clear(),
            KeyCode::Char('?' | 'h') | KeyCode::F(1) => self.shows_help = true,
            KeyCode::Char('p' | ' ') => self.is_paused = !self.is_paused,
            KeyCode::Char('s') => self.order = self.order.next(),
            KeyCode::Char('/') => self.is_typing = true,
            KeyCode::Tab | KeyCode::Right => self.go(self.view.next(1)),
            KeyCode::BackTab | KeyCode::Left => self.go(self.view.next(View::ALL.len() - 1)),
            KeyCode::Char(digit @ '1'..='4') => self.go(View::ALL[digit as usize - '1' as usize].0),
            KeyCode::Down | KeyCode::Char('j') => self.offset += 1,
            KeyCode::Up | KeyCode::Char('k') => self.offset = self.offset.saturating_sub(1),
            KeyCode::PageDown => self.offset += 10,
            KeyCode::PageUp => self.offset = self.offset.saturating_sub(10),
            KeyCode::Home | KeyCode::Char('g') => self.offset = 0,
            _ => {}
        }
        Wish::GoOn
    }

    fn type_key(&mut self, code: KeyCode) {
        match code {
            KeyCode::Enter => self.is_typing = false,
            KeyCode::Esc => {
                self.is_typing = false;
                self.filter.clear();
            }
            KeyCode::Backspace => drop(self.filter.pop()),
            KeyCode::Char(letter) if self.filter.chars().count() < MAX_FILTER && !letter.is_control() => {
                self.filter.push(letter);
            }
            _ => {}
        }
        self.offset = 0;
    }

    const fn go(&mut self, view: View) {
        self.view = view;
        self.offset = 0;
    }
}
