//! Reports: functions of an [`Outline`](crate::Outline) and events. They never see the engine.
