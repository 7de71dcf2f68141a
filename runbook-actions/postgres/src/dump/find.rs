//! Finding dumps that are there.

use std::path::{Path, PathBuf};

use runbook_core::{FileKind, Observer, Result, Timestamp, Verdict};
use runbook_macros::check;

use super::{Dump, Format, name_of, stem, verify};
use crate::client::Postgres;
use crate::error::Error;

/// A dump is there, with its checksum beside it
#[check(title = "There is a dump {path}")]
pub(crate) async fn existing_dump(
    cx: &Observer,
    db: &Postgres,
    path: PathBuf,
) -> Result<Verdict<Dump>> {
    let dump = look(cx, db, &path).await?;
    let why = format!("{} bytes, {}, of {}", dump.bytes, dump.format, dump.taken);
    Ok(Verdict::pass(dump, why))
}

/// There is a dump of the database
#[check(title = "There is a dump of {db}", preview = "ls {folder}")]
pub(crate) async fn latest_dump(
    cx: &Observer,
    db: &Postgres,
    folder: &Path,
) -> Result<Verdict<Dump>> {
    let mut dumps = dumps_in(cx, db, folder).await?;
    dumps.retain(|file| !file.schema_only);
    let Some(last) = dumps.last() else {
        return Err(Error::Unusable {
            host: db.host().name().into(),
            path: folder.join(format!("{}-*", stem(db))),
            why: "there is none".into(),
        }
        .into_failure());
    };
    let dump = look(cx, db, &last.path).await?;
    let why = format!("{}, {} bytes, of {}", dump.path.display(), dump.bytes, dump.taken);
    Ok(Verdict::pass(dump, why))
}

async fn look(cx: &Observer, db: &Postgres, path: &Path) -> Result<Dump> {
    let host = cx.on(db.host());
    let unusable = |why: String| {
        let host = db.host().name().to_owned();
        Error::Unusable { host, path: path.to_owned(), why }.into_failure()
    };
    let Some(info) = host.stat(path).await? else {
        return Err(unusable("there is no such file".into()));
    };
    if info.kind != FileKind::File {
        return Err(unusable("it is no file".into()));
    }
    let sha256 = verify::recorded(cx, db, path).await?;
    let mut head = [0; 5];
    let mut file = host.open(path).await?;
    let mut read = 0;
    while read < head.len() {
        match tokio::io::AsyncReadExt::read(&mut file, &mut head[read..]).await? {
            0 => break,
            n => read += n,
        }
    }
    let format = match &head[..read] {
        b"PGDMP" => Format::Custom,
        [0x1f, 0x8b, ..] => Format::Gzip,
        _ => Format::Plain,
    };
    Ok(Dump {
        path: path.to_owned(),
        host: db.host().name().to_owned(),
        database: None,
        schema_only: name_of(path).contains(".schema."),
        format,
        bytes: info.size,
        sha256,
        taken: info.modified.into(),
    })
}

/// A file that has the name of a dump.
pub(super) struct DumpFile {
    pub(super) path: PathBuf,
    pub(super) modified: Timestamp,
    pub(super) schema_only: bool,
}

/// The dumps of this database in a folder, oldest first; links are not followed.
pub(super) async fn dumps_in(cx: &Observer, db: &Postgres, folder: &Path) -> Result<Vec<DumpFile>> {
    let stem = stem(db);
    let mut dumps = Vec::new();
    for info in cx.on(db.host()).list(folder).await? {
        let name = name_of(&info.path);
        let rest = name.strip_prefix(stem.as_str()).and_then(|rest| rest.strip_prefix('-'));
        let Some(rest) = rest.filter(|_| info.kind == FileKind::File) else { continue };
        let Some((at, extension)) = rest.split_once('.') else { continue };
        let dated = at.len() >= 17
            && at.bytes().take(17).enumerate().all(|(i, c)| match i {
                4 | 7 | 10 => c == b'-',
                _ => c.is_ascii_digit(),
            });
        let schema_only = extension.starts_with("schema.");
        let extension = extension.strip_prefix("schema.").unwrap_or(extension);
        if dated && ["sql", "sql.gz", "dump"].contains(&extension) {
            let modified = info.modified.into();
            // By the time in the name, which a copy keeps; `-2` after the one without a number.
            let key = (at[..17].to_owned(), at.len(), at.to_owned());
            dumps.push((key, DumpFile { modified, path: info.path, schema_only }));
        }
    }
    dumps.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(dumps.into_iter().map(|(_, file)| file).collect())
}
