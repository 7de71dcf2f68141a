//! Redis and BullMQ as typed steps and checks of runbooks.
