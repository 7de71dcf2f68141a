//! Where runs are recorded, and which run somebody means.

use std::path::PathBuf;

use runbook_core::{Error, JournalError, JournalStore, RunId};

use super::args::Global;
use super::io::Surroundings;

/// The folder of the journals: `--journal DIR`; else the catalog's folder in the platform's state
/// folder: `$XDG_STATE_HOME`, for root `/var/lib`, else `~/.local/state`.
///
/// Root's runs are in one place whoever used sudo, so that all administrators of a machine see
/// each other's runs and locks.
///
/// # Errors
/// There is no home folder.
pub(crate) fn journal_dir(
    catalog: &str,
    global: &Global,
    surroundings: &Surroundings,
) -> Result<PathBuf, Error> {
    if let Some(dir) = &global.journal {
        return Ok(surroundings.dir.join(dir));
    }
    let state = match surroundings.var("XDG_STATE_HOME").map(PathBuf::from) {
        // The specification says that a relative path is to be ignored.
        Some(dir) if dir.is_absolute() => dir,
        _ if surroundings.process && rustix::process::geteuid().is_root() => "/var/lib".into(),
        _ => match surroundings.var("HOME") {
            Some(home) => PathBuf::from(home).join(".local/state"),
            None => {
                return Err(Error::usage(
                    "there is no place for the journals: HOME is not set; give --journal DIR",
                ));
            }
        },
    };
    Ok(state.join(catalog.replace(['/', '\\'], "-")))
}

/// The run that `text` means: its id, the beginning or end of one, or `last`.
///
/// # Errors
/// There is none, or there are several; the error lists what there is.
pub(crate) async fn find_run(store: &dyn JournalStore, text: &str) -> Result<RunId, Error> {
    match store.find(text).await {
        Err(JournalError::NotFound { .. }) => {}
        found => return Ok(found?),
    }
    let runs = store.list().await?;
    let latest: Vec<_> = runs.iter().rev().take(3).map(RunId::as_str).collect();
    Err(Error::usage(match (latest.as_slice(), text) {
        ([], "last") => "there are no runs yet".to_owned(),
        ([], _) => format!("no run is called `{text}`: there are no runs yet"),
        _ => format!("no run is called `{text}`; the latest are: {}", latest.join(", ")),
    }))
}

#[cfg(test)]
mod tests {
    use runbook_core::MemoryStore;

    use super::*;
    use crate::cli::io::Io;

    #[test]
    fn journals_are_in_the_state_folder_of_the_user() {
        let place = |vars: &[(&str, &str)], journal: Option<&str>| {
            let (mut io, _) = Io::captured("");
            for (name, value) in vars {
                io = io.var(*name, *value);
            }
            let io = io.dir("/srv");
            let global = Global { journal: journal.map(PathBuf::from), ..Global::default() };
            let dir = journal_dir("shop", &global, &io.surroundings);
            dir.map_or_else(|error| error.to_string(), |dir| dir.display().to_string())
        };
        let home = ("HOME", "/home/ops");
        assert_eq!(place(&[home], None), "/home/ops/.local/state/shop");
        assert_eq!(place(&[home, ("XDG_STATE_HOME", "/state")], None), "/state/shop");
        assert_eq!(place(&[home, ("XDG_STATE_HOME", "x")], None), "/home/ops/.local/state/shop");
        assert_eq!(place(&[home], Some("runs")), "/srv/runs");
        assert!(place(&[], None).contains("give --journal DIR"));
    }

    #[tokio::test]
    async fn a_run_is_found_by_its_id_a_part_of_it_or_last() {
        let store = MemoryStore::new();
        let find = async |text: &str| match find_run(&store, text).await {
            Ok(run) => run.to_string(),
            Err(error) => error.to_string(),
        };
        assert_eq!(find("last").await, "there are no runs yet");
        assert_eq!(find("x").await, "no run is called `x`: there are no runs yet");
        for run in ["20260314-150926-k7xq", "20260314-160000-aaaa", "20260315-080000-k7xz"] {
            drop(store.create(&RunId::new(run)).await.unwrap());
        }
        assert_eq!(find("last").await, "20260315-080000-k7xz");
        assert_eq!(find("k7xq").await, "20260314-150926-k7xq");
        assert_eq!(find("20260315").await, "20260315-080000-k7xz");
        assert_eq!(
            find("20260314").await,
            "`20260314` fits 2 runs: `20260314-150926-k7xq`, `20260314-160000-aaaa`; give more of \
             the id"
        );
        assert_eq!(
            find("zzzz").await,
            "no run is called `zzzz`; the latest are: 20260315-080000-k7xz, 20260314-160000-aaaa, \
             20260314-150926-k7xq"
        );
    }
}
