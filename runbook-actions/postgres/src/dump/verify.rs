//! [`Verified`]: a dump that was read to its end and is what it was when it was written.

use std::fmt;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use runbook_core::{Failure, Observer, Result, Verdict};
use runbook_macros::check;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

use super::{Dump, Format, name_of};
use crate::client::Postgres;
use crate::error::Error;
use crate::identifier::Table;
use crate::program::Program;

/// Something that was verified; only [`Postgres::verify`] makes one.
///
/// It can be written down and read back, as an output in a journal is. What is read back carries a
/// seal over its content, so that a [`Dump`] can't be taken for a verified one by mistake; and
/// whatever takes a verified dump compares its checksum once more just before it drops anything.
///
/// ```
/// use runbook_postgres::{Dump, Verified};
/// let forged = r#"{"value": {"path": "/tmp/x.dump", "host": "db-1", "database": "shop",
///     "schema_only": false, "format": "custom",
///     "bytes": 1, "sha256": "00", "taken": "2026-03-14T15:09:26Z"},
///     "contents": {"tables": [], "large_objects": 0, "objects": 0}, "seal": "00"}"#;
/// let error = serde_json::from_str::<Verified<Dump>>(forged).unwrap_err();
/// assert!(error.to_string().contains("was never verified"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified<T> {
    value: T,
    contents: Contents,
}

/// What is in a dump.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Contents {
    /// The tables, sorted.
    pub tables: Vec<Table>,
    /// How many large objects; of a dump of PostgreSQL 17 or later, how many groups of them.
    pub large_objects: u64,
    /// How many things else: tables, indexes, functions ..
    pub objects: u64,
}

impl fmt::Display for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tables, large_objects, objects } = self;
        write!(f, "{} tables, {large_objects} large objects, {objects} things in all", tables.len())
    }
}

impl<T> Verified<T> {
    /// What is in it.
    #[must_use]
    pub fn contents(&self) -> &Contents {
        &self.contents
    }

    /// What was verified, without the word that it was.
    #[must_use]
    pub fn into_inner(self) -> T {
        self.value
    }
}

impl<T> Deref for Verified<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

#[derive(Serialize, Deserialize)]
struct Sealed<T> {
    value: T,
    contents: Contents,
    seal: String,
}

fn seal<T: Serialize>(value: &T, contents: &Contents) -> Result<String, serde_json::Error> {
    let text = serde_json::to_vec(&("runbook-postgres: verified", value, contents))?;
    Ok(hex(&Sha256::digest(text)))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl<T: Serialize> Serialize for Verified<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let seal = seal(&self.value, &self.contents).map_err(serde::ser::Error::custom)?;
        Sealed { value: &self.value, contents: self.contents.clone(), seal }.serialize(serializer)
    }
}

impl<'de, T: Serialize + Deserialize<'de>> Deserialize<'de> for Verified<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Sealed { value, contents, seal: given } = Sealed::<T>::deserialize(deserializer)?;
        let expected = seal(&value, &contents).map_err(serde::de::Error::custom)?;
        if given == expected {
            Ok(Self { value, contents })
        } else {
            Err(serde::de::Error::custom("it was never verified, or was changed since"))
        }
    }
}

/// The dump is whole and as it was written
#[check(title = "The dump of {db} is whole", preview = "sha256sum, pg_restore --list")]
pub(crate) async fn verify(
    cx: &Observer,
    db: &Postgres,
    dump: Dump,
) -> Result<Verdict<Verified<Dump>>> {
    unchanged(cx, db, &dump).await?;
    let contents = check_format(cx, db, &dump.path, dump.format).await?;
    let why = format!("its checksum is right; {contents}");
    Ok(Verdict::pass(Verified { value: dump, contents }, why))
}

/// The dump is on this host, and its SHA-256 is what it was.
pub(super) async fn unchanged(cx: &Observer, db: &Postgres, dump: &Dump) -> Result<()> {
    as_recorded(cx, db, dump).await?;
    let now = checksum(cx, db, &dump.path).await?;
    if now != dump.sha256 {
        return Err(changed(dump, format!("its SHA-256 is {now}, and was {}", dump.sha256)));
    }
    Ok(())
}

/// The dump is on this host, and the checksum beside it is what it was; the dump itself is not
/// read.
pub(super) async fn as_recorded(cx: &Observer, db: &Postgres, dump: &Dump) -> Result<()> {
    if dump.host != db.host().name() {
        return Err(changed(dump, format!("the database is on another host, {}", db.host())));
    }
    let recorded = recorded(cx, db, &dump.path).await?;
    if recorded != dump.sha256 {
        let sum = &dump.sha256;
        return Err(changed(dump, format!("the checksum beside it is {recorded}, and was {sum}")));
    }
    Ok(())
}

pub(super) fn changed(dump: &Dump, why: String) -> Failure {
    Error::Changed { host: dump.host.clone(), path: dump.path.clone(), why }.into_failure()
}

/// The file with the checksum.
pub(super) fn sidecar(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".sha256");
    name.into()
}

/// The checksum beside a dump.
pub(super) async fn recorded(cx: &Observer, db: &Postgres, path: &Path) -> Result<String> {
    let unusable = |why: String| {
        let (host, path) = (db.host().name().to_owned(), path.to_owned());
        Error::Unusable { host, path, why }.into_failure()
    };
    let beside = sidecar(path);
    if !cx.on(db.host()).exists(&beside).await? {
        let why = format!("its checksum {} is missing", beside.display());
        return Err(unusable(why).next(format!(
            "if you trust the file, write it there: sha256sum {0} > {0}.sha256",
            name_of(path)
        )));
    }
    let text = cx.on(db.host()).read_text(&beside).await?;
    // A backslash marks a name that has been escaped.
    let sum = text.split_whitespace().next().unwrap_or_default().trim_start_matches('\\');
    if sum.len() != 64 || !sum.bytes().all(|c| c.is_ascii_hexdigit()) {
        return Err(unusable(format!("{} holds no SHA-256", beside.display())));
    }
    Ok(sum.to_ascii_lowercase())
}

/// The SHA-256 of a file, computed on its host.
pub(super) async fn checksum(cx: &Observer, db: &Postgres, path: &Path) -> Result<String> {
    const SUM: &str = concat!(SUM_OF!(), r#"sum_of "$1""#);
    let file = path.display().to_string();
    let shown = format!("sha256sum {}", runbook_core::quote(&file));
    let program = Program::script(db, "sha256sum", SUM, &[&file], shown);
    let text = program.offline().read(cx).await?.text();
    sum_in(&text).ok_or_else(|| {
        let doing = format!("computing the SHA-256 of {}", path.display());
        Failure::msg(format!("it said {text:?}")).while_doing(doing)
    })
}

/// Computes the SHA-256 of a file: by openssl where it is, which has the processor do it and takes
/// a third of the time.
macro_rules! SUM_OF {
    () => {
        r#"
sum_of() { openssl dgst -sha256 -r <"$1" 2>/dev/null || sha256sum <"$1"; }
"#
    };
}
pub(super) use SUM_OF;

/// The checksum that it has printed.
pub(super) fn sum_in(text: &str) -> Option<String> {
    let sum = text.split_whitespace().next()?;
    let is_one = sum.len() == 64 && sum.bytes().all(|c| c.is_ascii_hexdigit());
    is_one.then(|| sum.to_ascii_lowercase())
}

/// Whether a dump ends as a complete one does, and a line on each of its tables and on how much
/// else there is. No row of it is printed: what is printed is kept beside the journal. Lines of rows
/// that look like parts of a dump are passed over.
pub(crate) const ENTRIES: &str = r#"
entries() {
    awk '
        copying { if ($0 == "\\.") copying = 0; next }
        /^COPY .* FROM stdin;$/ { copying = 1; next }
        /^-- Name: .*; Type: BLOB( METADATA)?; / { large++; next }
        /^-- Name: .*; Type: / { objects++ }
        /^-- Name: .*; Type: TABLE; / { print }
        END { print "objects", objects + 0; print "large objects", large + 0 }
    '
}
complete() {
    tail -c 1000 | grep -q "^-- PostgreSQL database dump complete" || echo cut short
}
case $1 in
    plain) complete <"$2" && entries <"$2" ;;
    gzip) gzip -t -- "$2" && gzip -dc -- "$2" | complete && gzip -dc -- "$2" | entries ;;
    custom)
        # What has no rows has no large objects either, as pg_restore sees it: those are of the list.
        pg_restore --list -- "$2" >/dev/null &&
            pg_restore --schema-only --file=- -- "$2" | entries &&
            pg_restore --list -- "$2" |
            awk '$2 == 2613 && $4 == "BLOB" { large++ } END { print "large objects", large + 0 }'
        ;;
    plain-end) complete <"$2" ;;
esac
"#;

/// A dump of this format is complete and can be read; gives what is in it.
pub(super) async fn check_format(
    cx: &Observer,
    db: &Postgres,
    path: &Path,
    format: Format,
) -> Result<Contents> {
    let (program, shown) = match format {
        Format::Plain => ("awk", "tail"),
        Format::Gzip => ("gzip", "gzip -t"),
        Format::Custom => ("pg_restore", "pg_restore --list"),
    };
    entries(cx, db, path, format.word(), program, shown).await
}

/// What pg_dump has just written is complete. It said so by its exit code, too; to read all of it
/// once more is up to [`Postgres::verify`].
pub(super) async fn check_end(
    cx: &Observer,
    db: &Postgres,
    path: &Path,
    format: Format,
) -> Result<()> {
    match format {
        Format::Plain => entries(cx, db, path, "plain-end", "tail", "tail").await.map(drop),
        Format::Custom => {
            let file = path.display().to_string();
            let list = Program::script(
                db,
                "pg_restore",
                r#"pg_restore --list -- "$1" >/dev/null"#,
                &[&file],
                format!("pg_restore --list {}", runbook_core::quote(&file)),
            );
            list.offline().read(cx).await.map(drop)
        }
        Format::Gzip => Ok(()),
    }
}

async fn entries(
    cx: &Observer,
    db: &Postgres,
    path: &Path,
    way: &str,
    program: &'static str,
    shown: &str,
) -> Result<Contents> {
    let file = path.display().to_string();
    let shown = format!("{shown} {}", runbook_core::quote(&file));
    let read = Program::script(db, program, ENTRIES, &[way, &file], shown).offline();
    let text = read.read(cx).await?.text();
    if text.lines().any(|line| line == "cut short") {
        return Err(Error::Unusable {
            host: db.host().name().into(),
            path: path.to_owned(),
            why: "the mark at the end of a complete dump is missing: it was cut short".into(),
        }
        .into_failure());
    }
    Ok(contents(&text))
}

/// Reads `-- Name: orders; Type: TABLE; Schema: public; Owner: shop`, `objects 7` and
/// `large objects 2`.
fn contents(text: &str) -> Contents {
    let mut contents = Contents::default();
    for line in text.lines() {
        if let Some(count) = line.strip_prefix("objects ") {
            contents.objects = count.parse().unwrap_or(0);
        } else if let Some(count) = line.strip_prefix("large objects ") {
            // An archive says so twice, the first time without those that it has.
            contents.large_objects = contents.large_objects.max(count.parse().unwrap_or(0));
        } else if let Some(table) = line.strip_prefix("-- Name: ").and_then(table) {
            contents.tables.push(table);
        }
    }
    contents.tables.sort();
    contents
}

/// From the end: a name may hold anything.
fn table(entry: &str) -> Option<Table> {
    let (entry, _owner) = entry.rsplit_once("; Owner: ")?;
    let (entry, schema) = entry.rsplit_once("; Schema: ")?;
    let (name, kind) = entry.rsplit_once("; Type: ")?;
    (kind == "TABLE").then(|| Table::new(schema, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_hold_anything() {
        let found = contents(
            "-- Name: a; Type: TABLE; b; Type: TABLE; Schema: public; Owner: shop\n\
             -- Name: f(); Type: TABLE; x; Type: FUNCTION; Schema: public; Owner: shop\n\
             objects 3\nlarge objects 0\nlarge objects 2\n",
        );
        assert_eq!(found.tables, [Table::new("public", "a; Type: TABLE; b")]);
        assert_eq!((found.large_objects, found.objects), (2, 3));
    }
}
