//! Fingerprints: whether a plan is the one that a run was started with.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use crate::plan::{BlockKind, OutlineNode, UnitOutline};

/// 16 hex digits over what makes a unit this unit: its id, kind, code id, arguments, hosts, wiring,
/// undo, checks and question. Not its documentation, retries or time limits.
pub(crate) fn unit(unit: &UnitOutline, code: &str) -> String {
    let mut text = String::with_capacity(128);
    let _ = writeln!(text, "{}\n{:?}\n{code}\n{:?}", unit.id, unit.kind, unit.undo);
    for (name, value) in &unit.args {
        let _ = writeln!(text, "{name}={}:{value}", value.len());
    }
    for (name, identity) in &unit.hosts {
        let _ = writeln!(text, "@{name}={}:{identity}", identity.len());
    }
    for id in &unit.needs {
        let _ = writeln!(text, "<{id}");
    }
    for (mark, checks) in [('r', &unit.requires), ('v', &unit.verify)] {
        for title in checks {
            let _ = writeln!(text, "{mark}{title}");
        }
    }
    if let Some(question) = &unit.question {
        let _ = writeln!(text, "?{question}");
    }
    hex(&Sha256::digest(text.as_bytes())[..8])
}

/// Adds units, blocks and locks to the fingerprint of the whole plan.
pub(crate) fn nodes(list: &[OutlineNode], all: &mut Sha256) {
    for node in list {
        match node {
            OutlineNode::Unit(unit) => {
                all.update(unit.id.as_str());
                all.update(&unit.fingerprint);
            }
            OutlineNode::Lock { resource } => {
                all.update(b"lock ");
                all.update(resource);
            }
            OutlineNode::Block(block) => {
                // Whom to call may change while a run waits for them.
                let kind = match &block.kind {
                    BlockKind::Ladder { check, .. } => format!("Ladder {check:?}"),
                    kind => format!("{kind:?}"),
                };
                all.update(format!("{kind} {} {{", block.id));
                nodes(&block.children, all);
                all.update(b"}");
            }
        }
        all.update(b"\n");
    }
}

/// Lower-case hex digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    text.extend(bytes.iter().flat_map(|byte| digits(*byte)).map(char::from));
    text
}

/// The two lower-case hex digits of a byte.
pub(crate) fn digits(byte: u8) -> [u8; 2] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]
}
