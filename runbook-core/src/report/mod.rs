//! Reports: functions of an [`Outline`](crate::Outline) and events. They never see the engine.
//!
//! | of | function | gives |
//! | --- | --- | --- |
//! | a runbook | [`page`], [`how_to_run`], [`catalog_page`] | the Markdown page that an operator reads |
//! | a runbook | [`mermaid`] | the flow chart |
//! | a run | [`Timeline`] | what happened, as a value; can follow a live run |
//! | a run | [`summary`] | what to know first: what happened, what is left, what to do next |
//! | a run | [`timeline_markdown`], [`timeline_html`] | the report of an incident |
//! | a run | [`json`], [`run_report`] | the same for programs |
//! | a run | [`junit`] | the same for CI |
//!
//! Every text of a run is treated as hostile: a title, an error or a line of output can't add
//! markup of its own to any report.

mod fleet;
mod html;
mod incident;
mod json;
mod junit;
mod markdown;
mod mermaid;
mod page;
mod summary;
mod text;
mod timeline;
mod words;

pub use self::fleet::{HostLine, HostStatus};
pub use self::html::timeline_html;
pub use self::incident::Response;
pub use self::json::{RunFacts, RunReport, SCHEMA_VERSION, json, run_report};
pub use self::junit::junit;
pub use self::markdown::timeline_markdown;
pub use self::mermaid::mermaid;
pub use self::page::{catalog_page, how_to_run, page};
pub use self::summary::{Summary, SummaryLine, summary};
use self::timeline::block_title;
pub use self::timeline::{
    Activity, Answered, BlockLine, Decided, Look, Moment, MomentKind, Process, ProcessEnd, Retried,
    RunStatus, Span, SpanEnd, Timeline, UnitLine, UnitStatus,
};
