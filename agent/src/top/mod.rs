//! `homeport top`: what leaves now, by owner, destination and country, and what is out of policy.
//!
//! | file | what for |
//! |---|---|
//! | `rows` | two answers of the agent become rows with rates |
//! | `state` | what is shown and how: view, order, filter, pause; keys change it |
//! | `draw` | the state on a screen of any size |
//! | `terminal` | the loop: asks, draws, reads keys, gives the terminal back |
//! | `once` | the same rows as plain text |
//!
//! All but `terminal` are plain functions. Names come from whoever is watched: none reaches the screen with its control
//! characters.

mod draw;
mod once;
mod rows;
mod state;
mod terminal;

pub use once::once;
pub use rows::Sample;
pub use state::{Order, View};
pub use terminal::run;

#[cfg(test)]
mod tests;
