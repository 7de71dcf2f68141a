//! The progress view: what is known of a run ([`ViewState`]), how that looks as text ([`frame`],
//! [`settled`]), and how the run ended ([`summary`]). All of it is a function of events.

mod fleet;
mod frame;
mod node;
mod order;
mod people;
mod settled;
mod state;
mod summary;
#[cfg(test)]
mod tests;

pub(crate) use self::frame::frame;
pub(crate) use self::node::{Kind, Node, State};
pub(crate) use self::settled::{settled, without_title};
pub(crate) use self::state::{Settled, ViewState};
pub(crate) use self::summary::{
    Ending, check_summary, next_commands, question_commands, summary, unfinished,
};
