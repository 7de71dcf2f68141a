//! The runbooks: what is done, in which order.

mod data;
mod operate;
mod release;

pub(crate) use self::data::{backup, restore};
pub(crate) use self::operate::{start, status, stop};
pub(crate) use self::release::{deploy, return_to, verify};
