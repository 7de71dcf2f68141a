//! What SSH and containers share.

pub(crate) mod channel;
