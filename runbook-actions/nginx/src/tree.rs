//! [`Tree`]: the main file with all that it includes, and a copy of it with one file changed that
//! nginx can test before anything is switched.

use std::path::{Component, Path, PathBuf};

use runbook::{Context, FileKind, Host, Observer, Result, WriteOptions};

use crate::error::NginxError;
use crate::splice::Edits;
use crate::syntax::{Document, quoted};

/// Deeper includes are a loop.
const DEPTH: usize = 16;

/// The files of a configuration, as they are on the disk.
pub(crate) struct Tree {
    pub(crate) files: Vec<File>,
}

/// One of them; the main one is the first.
pub(crate) struct File {
    /// The path by which it is included.
    pub(crate) path: PathBuf,
    /// Where that leads, links followed.
    pub(crate) real: PathBuf,
    pub(crate) document: Document,
    /// The `include` directives: their range, and the files that they stand for.
    includes: Vec<Include>,
}

struct Include {
    range: std::ops::Range<usize>,
    pattern: PathBuf,
    found: Vec<usize>,
}

/// A file that is still to be read.
struct Pending {
    path: PathBuf,
    /// The number of a file, and of an include in it.
    included_by: Option<(usize, usize)>,
    depth: usize,
}

impl Tree {
    pub(crate) async fn load(cx: &Observer, host: &Host, main: &Path) -> Result<Self> {
        let mut tree = Self { files: Vec::new() };
        let base = main.parent().unwrap_or(Path::new("/")).to_owned();
        let mut left = vec![Pending { path: main.to_owned(), included_by: None, depth: 0 }];
        while let Some(Pending { path, included_by, depth }) = left.pop() {
            let real = follow(cx, host, &path).await?;
            let text = cx.on(host).read_text(&real).await?;
            let document = Document::parse(text).map_err(|error| {
                let (line, why) = (error.line, error.why);
                NginxError::Syntax { file: path.clone(), line, why }.into_failure()
            })?;
            let index = tree.files.len();
            if let Some((file, include)) = included_by {
                let file: &mut File = &mut tree.files[file];
                file.includes[include].found.push(index);
            }
            let mut includes = Vec::new();
            for one in document.walk() {
                if one.name != "include" || one.args.len() != 1 {
                    continue;
                }
                // Relative to the folder of the main file, whichever file it is in.
                let pattern = base.join(&one.args[0]);
                if depth >= DEPTH {
                    let why = format!("more than {DEPTH} files include one another");
                    return Err(NginxError::Edit { file: path, why }.into_failure());
                }
                for found in expand(cx, host, &pattern).await? {
                    let included_by = Some((index, includes.len()));
                    left.push(Pending { path: found, included_by, depth: depth + 1 });
                }
                includes.push(Include { range: one.range.clone(), pattern, found: Vec::new() });
            }
            tree.files.push(File { path, real, document, includes });
        }
        Ok(tree)
    }

    /// Writes a configuration in which the file at `changed` holds `text`, beside the one that is
    /// used: every file on the way from the main file to it gets a hidden twin, which no include
    /// pattern matches. `paths` gets every file before
    /// it is written, the main one's twin last.
    pub(crate) async fn stage(
        &self,
        cx: &Context,
        host: &Host,
        changed: &Path,
        text: &str,
        paths: &mut Vec<PathBuf>,
    ) -> Result<()> {
        let mut written = Vec::new();
        let staged = self.twin(0, changed, text, &mut written);
        if staged.is_none() {
            let main = self.files[0].path.clone();
            let file = changed.to_owned();
            return Err(NginxError::NotIncluded { file, main }.into_failure());
        }
        for (path, text) in written {
            if paths.contains(&path) {
                continue;
            }
            paths.push(path.clone());
            // Only for nginx itself: a configuration may hold passwords.
            cx.on(host).write_with(&path, text, &WriteOptions::mode(0o600)).await?;
        }
        Ok(())
    }

    /// The twin of a file, if it or one that it includes is the changed one.
    fn twin(
        &self,
        index: usize,
        changed: &Path,
        text: &str,
        written: &mut Vec<(PathBuf, String)>,
    ) -> Option<PathBuf> {
        let file = &self.files[index];
        let path = hidden_twin(&file.path);
        if file.real == changed {
            written.push((path.clone(), text.to_owned()));
            return Some(path);
        }
        let mut edits = Edits::default();
        let mut any = false;
        for include in &file.includes {
            let mut lines = Vec::new();
            let mut here = false;
            for found in &include.found {
                let twin = self.twin(*found, changed, text, written);
                here |= twin.is_some();
                lines.push((self.files[*found].path.clone(), twin));
            }
            let known = include.found.iter().any(|found| self.files[*found].real == changed);
            if !known && matches(&include.pattern, changed) {
                // A new file, which only the pattern can name.
                let twin = hidden_twin(changed);
                written.push((twin.clone(), text.to_owned()));
                lines.push((changed.to_owned(), Some(twin)));
                here = true;
            }
            if here {
                // In the order in which nginx would read them.
                lines.sort();
                let lines: Vec<_> = lines
                    .into_iter()
                    .map(|(path, twin)| twin.unwrap_or(path))
                    .map(|path| format!("include {};", quoted(&path.to_string_lossy())))
                    .collect();
                edits.replace(include.range.clone(), lines.join(" "));
                any = true;
            }
        }
        if !any {
            return None;
        }
        written.push((path.clone(), edits.apply(file.document.text())));
        Some(path)
    }
}

/// `/etc/nginx/conf.d/.app.conf.untested`: a leading dot is matched by no `*`.
pub(crate) fn hidden_twin(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.untested"))
}

/// Where `path` leads: links followed, of the file itself only.
pub(crate) async fn follow(cx: &Observer, host: &Host, path: &Path) -> Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..DEPTH {
        match cx.on(host).stat(&path).await? {
            Some(info) if info.kind == FileKind::Link => {
                let link = info.link.unwrap_or_default();
                path = clean(&path.parent().unwrap_or(Path::new("/")).join(link));
            }
            _ => return Ok(path),
        }
    }
    let why = format!("more than {DEPTH} links lead to one another");
    Err(NginxError::Edit { file: path, why }.into_failure())
}

/// Without `.` and `..`.
fn clean(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                out.pop();
            }
            Component::CurDir => {}
            part => out.push(part),
        }
    }
    out
}

/// The files that an include stands for.
async fn expand(cx: &Observer, host: &Host, pattern: &Path) -> Result<Vec<PathBuf>> {
    let mut found = vec![PathBuf::new()];
    for part in pattern.components() {
        let name = part.as_os_str().to_string_lossy();
        if !name.contains(['*', '?']) {
            found.iter_mut().for_each(|path| path.push(part));
            continue;
        }
        let mut deeper = Vec::new();
        for folder in &found {
            if cx.on(host).exists(folder).await? {
                for entry in cx.on(host).list(folder).await? {
                    let one = entry.path.file_name().unwrap_or_default().to_string_lossy();
                    if fits(&name, &one) {
                        deeper.push(folder.join(&*one));
                    }
                }
            }
        }
        found = deeper;
    }
    found.sort();
    // Loaded from the last to the first.
    found.reverse();
    Ok(found)
}

/// Whether an include with this pattern would read `path`.
fn matches(pattern: &Path, path: &Path) -> bool {
    let parts = |path: &Path| -> Vec<String> {
        path.components().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect()
    };
    let (pattern, path) = (parts(pattern), parts(path));
    pattern.len() == path.len() && pattern.iter().zip(&path).all(|(one, name)| fits(one, name))
}

/// `*` and `?` as in a shell.
fn fits(pattern: &str, name: &str) -> bool {
    if name.starts_with('.') && !pattern.starts_with('.') {
        return false;
    }
    let (pattern, name): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(c) if *c == '?' || *c == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match star {
                // The last star takes one more.
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    p = at + 1;
                    n = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_as_in_a_shell() {
        for (pattern, name, yes) in [
            ("*.conf", "app.conf", true),
            ("*.conf", ".app.conf", false),
            ("*", ".app.untested", false),
            ("a?c*", "abcde", true),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxbyy", false),
            ("app", "app", true),
            ("app", "apps", false),
        ] {
            assert_eq!(fits(pattern, name), yes, "{pattern} {name}");
        }
        assert!(matches(
            Path::new("/etc/nginx/conf.d/*.conf"),
            Path::new("/etc/nginx/conf.d/a.conf")
        ));
        assert!(!matches(Path::new("/etc/nginx/*.conf"), Path::new("/etc/nginx/conf.d/a.conf")));
    }
}
