//! A file system in memory, with modes, links and times.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::time::SystemTime;

use crate::target::{FileInfo, FileKind, WriteOptions};

type Refused<T> = Result<T, String>;

/// Paths are absolute; a relative one is taken from `/`.
pub(super) struct Files {
    nodes: BTreeMap<PathBuf, Node>,
}

#[derive(Clone)]
struct Node {
    what: What,
    mode: u32,
    modified: SystemTime,
}

#[derive(Clone)]
pub(super) enum What {
    File(Vec<u8>),
    Dir,
    Link(PathBuf),
}

impl Node {
    fn new(what: What, mode: u32) -> Self {
        Self { what, mode, modified: SystemTime::now() }
    }

    fn info(&self, path: &Path) -> FileInfo {
        let (kind, size, link) = match &self.what {
            What::File(content) => (FileKind::File, content.len() as u64, None),
            What::Dir => (FileKind::Dir, 0, None),
            What::Link(to) => (FileKind::Link, to.as_os_str().len() as u64, Some(to.clone())),
        };
        FileInfo {
            path: path.to_owned(),
            kind,
            size,
            mode: self.mode,
            uid: 0,
            gid: 0,
            modified: self.modified,
            link,
        }
    }
}

impl Default for Files {
    fn default() -> Self {
        let mut files = Self { nodes: BTreeMap::new() };
        files.nodes.insert("/".into(), Node::new(What::Dir, 0o755));
        files.nodes.insert("/tmp".into(), Node::new(What::Dir, 0o1777));
        files
    }
}

impl Files {
    pub(super) fn put_dir(&mut self, path: &Path) {
        let path = plain(path);
        let above: Vec<_> = path.ancestors().map(Path::to_owned).collect();
        for dir in above.into_iter().rev() {
            self.nodes.entry(dir).or_insert_with(|| Node::new(What::Dir, 0o755));
        }
    }

    fn put(&mut self, path: &Path, node: Node) {
        let path = plain(path);
        if let Some(parent) = path.parent() {
            self.put_dir(parent);
        }
        self.nodes.insert(path, node);
    }

    pub(super) fn put_file(&mut self, path: &Path, content: Vec<u8>, mode: u32) {
        self.put(path, Node::new(What::File(content), mode));
    }

    pub(super) fn put_link(&mut self, link: &Path, to: &Path) {
        self.put(link, Node::new(What::Link(to.to_owned()), 0o777));
    }

    pub(super) fn tree(&self) -> Vec<(FileInfo, Vec<u8>)> {
        let content = |node: &Node| match &node.what {
            What::File(content) => content.clone(),
            _ => Vec::new(),
        };
        self.nodes.iter().map(|(path, node)| (node.info(path), content(node))).collect()
    }

    /// What is below a folder, sorted by path.
    pub(super) fn below(&self, folder: &Path) -> Vec<(PathBuf, What)> {
        let Ok((folder, _)) = self.node(folder, true) else { return Vec::new() };
        let below = self.nodes.iter().filter(|(path, _)| path.starts_with(&folder));
        below.map(|(path, node)| (path.clone(), node.what.clone())).collect()
    }

    /// Where `path` leads: links in its folders are followed, and in its last part if `last`.
    fn resolve(&self, path: &Path, last: bool) -> Refused<PathBuf> {
        let mut links = 0;
        let mut todo: Vec<PathBuf> = parts(path);
        let mut at = PathBuf::from("/");
        while let Some(part) = todo.pop() {
            if part.as_os_str() == ".." {
                at.pop();
                continue;
            }
            let next = at.join(&part);
            match self.nodes.get(&next).map(|node| &node.what) {
                Some(What::Link(to)) if last || !todo.is_empty() => {
                    links += 1;
                    if links > 40 {
                        return Err("too many levels of symbolic links".into());
                    }
                    if to.is_absolute() {
                        at = PathBuf::from("/");
                    }
                    todo.extend(parts(to));
                }
                Some(What::File(_) | What::Link(_)) if !todo.is_empty() => {
                    return Err("not a directory".into());
                }
                None if !todo.is_empty() => return Err(MISSING.into()),
                _ => at = next,
            }
        }
        Ok(at)
    }

    fn node(&self, path: &Path, last: bool) -> Refused<(PathBuf, &Node)> {
        let path = self.resolve(path, last)?;
        let node = self.nodes.get(&path).ok_or(MISSING)?;
        Ok((path, node))
    }

    fn has_children(&self, dir: &Path) -> bool {
        self.nodes.keys().any(|path| path.parent() == Some(dir))
    }

    pub(super) fn read(&self, path: &Path) -> Refused<Vec<u8>> {
        match &self.node(path, true)?.1.what {
            What::File(content) => Ok(content.clone()),
            _ => Err("is a directory".into()),
        }
    }

    pub(super) fn stat(&self, path: &Path) -> Option<FileInfo> {
        let (_, node) = self.node(path, false).ok()?;
        Some(node.info(path))
    }

    pub(super) fn list(&self, path: &Path) -> Refused<Vec<FileInfo>> {
        let (dir, node) = self.node(path, true)?;
        if !matches!(node.what, What::Dir) {
            return Err("not a directory".into());
        }
        let inside = self.nodes.iter().filter(|(at, _)| at.parent() == Some(&dir));
        Ok(inside.filter_map(|(at, node)| Some(node.info(&path.join(at.file_name()?)))).collect())
    }

    /// The place for something new or replaced: its folder exists and it is no folder itself.
    fn place(&self, path: &Path) -> Refused<PathBuf> {
        let at = self.resolve(path, false)?;
        match self.nodes.get(&at) {
            Some(Node { what: What::Dir, .. }) => Err("is a directory".into()),
            _ => Ok(at),
        }
    }

    pub(super) fn write(
        &mut self,
        path: &Path,
        content: Vec<u8>,
        options: &WriteOptions,
    ) -> Refused<()> {
        let at = self.place(path)?;
        let mode = match self.nodes.get(&at) {
            Some(Node { what: What::File(_), mode, .. }) if !options.force_mode => *mode,
            _ => options.mode.unwrap_or(0o644),
        };
        self.nodes.insert(at, Node::new(What::File(content), mode));
        Ok(())
    }

    pub(super) fn create_dir(&mut self, path: &Path) -> Refused<()> {
        let mut at = PathBuf::from("/");
        for part in parts(path).into_iter().rev() {
            at = self.resolve(&at.join(part), true)?;
            match self.nodes.get(&at).map(|node| &node.what) {
                None => {
                    self.nodes.insert(at.clone(), Node::new(What::Dir, 0o755));
                }
                Some(What::Dir) => {}
                Some(_) => return Err(format!("{} is in the way", at.display())),
            }
        }
        Ok(())
    }

    pub(super) fn copy(&mut self, from: &Path, to: &Path) -> Refused<()> {
        let (_, node) = self.node(from, true)?;
        let What::File(content) = &node.what else { return Err("is a directory".into()) };
        let copy = Node::new(What::File(content.clone()), node.mode);
        let to = self.place(to)?;
        self.nodes.insert(to, copy);
        Ok(())
    }

    /// Copies with modes and times, links as links, to a name that is free.
    pub(super) fn copy_tree(&mut self, from: &Path, to: &Path) -> Refused<()> {
        let (from, _) = self.node(from, false)?;
        let to = self.resolve(to, false)?;
        if self.nodes.contains_key(&to) {
            return Err(format!("{} is in the way", to.display()));
        }
        let copied: Vec<_> = self.nodes.range(from.clone()..).collect();
        let copied = copied.into_iter().filter_map(|(path, node)| {
            let rest = path.strip_prefix(&from).ok()?;
            let new = if rest.as_os_str().is_empty() { to.clone() } else { to.join(rest) };
            Some((new, node.clone()))
        });
        let copied: Vec<_> = copied.collect();
        self.nodes.extend(copied);
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> Refused<()> {
        let (from, node) = self.node(from, false)?;
        let moved_dir = matches!(node.what, What::Dir);
        let to = self.resolve(to, false)?;
        match self.nodes.get(&to).map(|node| &node.what) {
            _ if to == from => return Ok(()),
            Some(What::Dir) if !moved_dir => return Err("is a directory".into()),
            Some(What::Dir) if self.has_children(&to) => return Err("directory not empty".into()),
            Some(What::File(_) | What::Link(_)) if moved_dir => {
                return Err("not a directory".into());
            }
            _ if to.starts_with(&from) => return Err("it is inside itself".into()),
            _ => {}
        }
        let moved: Vec<_> =
            self.nodes.keys().filter(|path| path.starts_with(&from)).cloned().collect();
        for path in moved {
            if let (Some(node), Ok(rest)) = (self.nodes.remove(&path), path.strip_prefix(&from)) {
                let rest = rest.to_owned();
                let new = if rest.as_os_str().is_empty() { to.clone() } else { to.join(rest) };
                self.nodes.insert(new, node);
            }
        }
        Ok(())
    }

    pub(super) fn symlink(&mut self, to: &Path, link: &Path) -> Refused<()> {
        let link = self.place(link)?;
        self.nodes.insert(link, Node::new(What::Link(to.to_owned()), 0o777));
        Ok(())
    }

    pub(super) fn set_mode(&mut self, path: &Path, mode: u32) -> Refused<()> {
        let path = self.resolve(path, true)?;
        self.nodes.get_mut(&path).ok_or(MISSING)?.mode = mode & 0o7777;
        Ok(())
    }

    pub(super) fn touch(&mut self, path: &Path, modified: SystemTime) -> Refused<()> {
        let path = self.resolve(path, true)?;
        self.nodes.get_mut(&path).ok_or(MISSING)?.modified = modified;
        Ok(())
    }

    pub(super) fn remove(&mut self, path: &Path) -> Refused<()> {
        let Ok((at, _)) = self.node(path, false) else { return Ok(()) };
        if self.has_children(&at) {
            return Err("directory not empty".into());
        }
        self.nodes.remove(&at);
        Ok(())
    }

    pub(super) fn remove_tree(&mut self, path: &Path) -> Refused<()> {
        let Ok((at, _)) = self.node(path, false) else { return Ok(()) };
        self.nodes.retain(|path, _| !path.starts_with(&at));
        Ok(())
    }
}

const MISSING: &str = "no such file or directory";

/// The parts of a path, last one first, without `/` and `.`.
fn parts(path: &Path) -> Vec<PathBuf> {
    let mut parts: Vec<PathBuf> = path
        .components()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(PathBuf::from(name)),
            Component::ParentDir => Some(PathBuf::from("..")),
            _ => None,
        })
        .collect();
    parts.reverse();
    parts
}

/// The path from `/`, without `.` and `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::from("/");
    for part in parts(path).into_iter().rev() {
        if part.as_os_str() == ".." {
            plain.pop();
        } else {
            plain.push(part);
        }
    }
    plain
}
