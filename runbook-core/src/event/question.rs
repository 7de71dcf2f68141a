//! What people are asked, answer, and decide.

use serde::{Deserialize, Serialize};

use super::UnitId;

/// What a suspended run waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// The unit that waits.
    pub unit: UnitId,
    /// Its question.
    pub question: Question,
}

/// What a unit asks a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// What sort of answer it takes.
    pub kind: QuestionKind,
    /// The words.
    pub text: String,
}

/// The sort of answer that a question takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QuestionKind {
    /// Yes, before a step runs.
    Approval,
    /// Done, after a person did it.
    Confirmation,
    /// A value.
    Value {
        /// What is accepted, e.g. `a whole number from 0 to 65535`.
        accepts: String,
    },
    /// What to do with an interrupted unit.
    Interrupted,
}

/// What a person answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Yes, or done.
    Yes,
    /// No: the unit fails.
    No,
    /// This value.
    Value(String),
}

/// What the operator decided about a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// Run it again.
    Retry,
    /// Take it as done; only for a unit without output or whose output nobody reads.
    Skip,
    /// Undo it, and the run with it.
    Rollback,
    /// Take it as undone: a person put it back (a stuck rollback).
    Restored,
}
