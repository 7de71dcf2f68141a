//! [`Lifeline`]: the one process over there that ends the others. It ends a command when it is
//! asked to, and all commands when this side is gone, is silent or can't be reached any more. Where
//! it may come later, a [`fuse`] watches over each shell until then.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use runbook_core::{BoxRead, BoxWrite, Failure, FailureKind, Result, Spawn, quote, scrub};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{OnceCell, mpsc, oneshot};
use tokio::time::timeout;

use super::channel::{Channel, Channels, Purpose};
use super::fuse::Later;
use super::shell;
use super::target::Limits;
use super::words::{compact, push};

/// What it shares with a fuse.
pub(super) static TREE: LazyLock<String> = LazyLock::new(|| compact(include_str!("tree.sh")));
static SCRIPT: LazyLock<String> = LazyLock::new(|| compact(include_str!("lifeline.sh")));

/// How long the end of a channel may take, once it says nothing more.
pub(super) const WORD: Duration = Duration::from_secs(1);

/// One lifeline with the shells that bear its mark: they live and end together.
pub(super) struct Lifeline {
    /// What nothing else bears.
    pub(super) id: String,
    place: String,
    opened: OnceCell<()>,
    say: mpsc::UnboundedSender<Vec<u8>>,
    heard: Mutex<Option<mpsc::UnboundedReceiver<Vec<u8>>>>,
    answers: Arc<Answers>,
    numbers: AtomicU64,
    /// The end of its patience over there, unless it hears a sign of life; 0 before the first.
    patient_until: Arc<AtomicU64>,
    pub(super) later: Later,
}

/// A command that runs.
#[derive(Clone)]
pub(super) struct Whom {
    /// Its name in its environment.
    pub(super) command: String,
    /// The mark of the shell that runs it; empty if it has a channel of its own.
    pub(super) mark: String,
    /// The process id of that shell, once it is known.
    pub(super) pid: String,
    /// Of which kind it is, once that is known.
    pub(super) kind: Kind,
}

/// What a `sh` descends from, as far as it makes a difference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Kind {
    #[default]
    Unknown,
    /// dash, the BSDs'. A simple command costs it no copy of itself. BusyBox descends from it too,
    /// but runs programs of its own in their place, and some not as they run by themselves.
    Ash,
    /// It does not always say that it refused a program.
    Bash,
    Other,
}

impl Kind {
    /// From its greeting.
    pub(super) fn of(remark: &str) -> Option<Self> {
        let (_, kind) = remark.strip_prefix('+')?.split_once(' ').unwrap_or_default();
        Some(match kind {
            "" => Self::Ash,
            "bash" => Self::Bash,
            _ => Self::Other,
        })
    }
}

impl Whom {
    pub(super) fn new(command: &str, mark: String) -> Self {
        Self { command: command.to_owned(), mark, pid: String::new(), kind: Kind::Unknown }
    }

    /// Takes up what the shell said of itself.
    pub(super) fn greeted(&mut self, remarks: &[String]) {
        let greeting =
            |remark: &String| Some((remark.strip_prefix('+')?.to_owned(), Kind::of(remark)?));
        for (said, kind) in remarks.iter().filter_map(greeting) {
            said.split(' ').next().unwrap_or_default().clone_into(&mut self.pid);
            self.kind = kind;
        }
    }
}

/// Who waits for which answer; nobody can any more once the lifeline is gone.
struct Answers(Mutex<Option<HashMap<u64, mpsc::UnboundedSender<String>>>>);

/// Says that the lifeline is gone when it is dropped: with what listens to it, be it that its
/// runtime ended, or with the attempt to open it.
struct Heard(Option<Arc<Answers>>);

impl Drop for Heard {
    fn drop(&mut self) {
        if let Some(answers) = &self.0 {
            *answers.all() = None;
        }
    }
}

impl Answers {
    fn all(&self) -> MutexGuard<'_, Option<HashMap<u64, mpsc::UnboundedSender<String>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lifeline {
    pub(super) fn new(place: &str) -> Self {
        let (say, heard) = mpsc::unbounded_channel();
        Self {
            id: shell::nonce(),
            place: place.to_owned(),
            opened: OnceCell::new(),
            say,
            heard: Mutex::new(Some(heard)),
            answers: Arc::new(Answers(Mutex::new(Some(HashMap::new())))),
            numbers: AtomicU64::new(1),
            patient_until: Arc::default(),
            later: Later::default(),
        }
    }

    /// Whether it is there, and its shells need no fuse any more.
    pub(super) fn is_open(&self) -> bool {
        self.opened.initialized()
    }

    /// What the scripts are told about its shells whose mark matches `marks`.
    pub(super) fn told(marks: &str, limits: &Limits) -> String {
        format!(
            "_life={} _beat={} _beats={} _grace={} _proc={}\n",
            quote(marks),
            limits.beat.as_secs_f32(),
            limits.beats,
            tenths(limits.grace),
            quote(limits.proc),
        )
    }

    /// Whether it still can end anything. A runtime that nobody drives gives no sign of life.
    pub(super) fn lives(&self) -> bool {
        let until = self.patient_until.load(Ordering::Relaxed);
        self.answers.all().is_some() && (until == 0 || now() < until)
    }

    /// A number that only one thing of this lifeline has.
    pub(super) fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Opens it, unless it is open. Before that nothing may run that has no fuse.
    pub(super) async fn open<C: Channels>(&self, channels: &C, limits: &Limits) -> Result<()> {
        let open = async || {
            let line = format!("exec {} -c {} runbook", limits.sh, shell::BOOT);
            let channel = channels.open(&line, Purpose::Shell).await?;
            // Without a channel it may be tried again.
            let mut opening = Heard(Some(Arc::clone(&self.answers)));
            let Some(heard) = self.heard.lock().unwrap_or_else(PoisonError::into_inner).take()
            else {
                return Err(self.lost());
            };
            let mut script = Self::told(&format!("{}[.]", self.id), limits);
            script.push_str("unset _s _script\n");
            script.push_str(&TREE);
            script.push_str(&SCRIPT);
            // By its new name a fuse knows that it is there, and has all of its script.
            let mut renamed = b"export _script=".to_vec();
            push(&mut renamed, script.as_bytes());
            let name = format!(";exec {} -c 'eval \"$_script\"' runbook.{}", limits.sh, self.id);
            renamed.extend_from_slice(name.as_bytes());
            let framed = shell::framed(&renamed);
            let Channel { stdin, stdout, stderr, exit } = channel;
            let patience = (limits.beat * limits.beats, Arc::clone(&self.patient_until));
            tokio::spawn(speak(stdin, framed, heard, limits.beat, patience));
            let (answers, noise) = (Heard(Some(Arc::clone(&self.answers))), Noise::default());
            let (ready, greeting) = oneshot::channel();
            let heard = noise.clone();
            let mut listening = tokio::spawn(async move {
                tokio::join!(listen(stdout, answers, ready, &heard), drain(stderr, &heard));
                Some(exit)
            });
            let why = match timeout(limits.greeting, greeting).await {
                Ok(Ok(())) => {
                    opening.0 = None;
                    return Ok(());
                }
                Ok(Err(_)) => {
                    // Its own failure, if it is the connection that was lost.
                    let end = async { (&mut listening).await.ok()??.await.ok() };
                    if let Ok(Some(Err(failure))) = timeout(WORD, end).await {
                        return Err(failure);
                    }
                    "there is no `sh` that works".to_owned()
                }
                Err(_) => format!("`sh` is not ready after {} s", limits.greeting.as_secs_f32()),
            };
            listening.abort();
            Err(not_ready(&why, &self.place, &noise, &line))
        };
        self.opened.get_or_try_init(open).await.copied()
    }

    /// Tells it something: a line of shell.
    pub(super) fn tell(&self, line: impl Into<Vec<u8>>) {
        // Once it is gone it has ended all that this could be about.
        let _ = self.say.send(line.into());
    }

    /// Ends the tree of a command, and its shell too if `shell`.
    pub(super) async fn kill(&self, whom: &Whom, shell: bool, grace: Duration) -> Result<()> {
        let what = if shell { 'K' } else { 'k' };
        let Whom { mark, pid, command, .. } = whom;
        let arguments = format!("{} {} {} {pid}", quote(mark), quote(command), tenths(grace));
        self.ask(what, arguments.as_bytes(), true).await.map(drop)
    }

    /// Says that this command will run on a channel of its own. Once it knows, it may.
    pub(super) async fn will_run(&self, command: &str) -> Result<()> {
        self.ask('r', quote(command).as_bytes(), false).await.map(drop)
    }

    /// Says that this file will be there under a temporary name; gives its number.
    pub(super) async fn will_make(&self, file: &OsStr) -> Result<u64> {
        let mut word = Vec::new();
        super::words::push_next(&mut word, file);
        self.ask('t', &word, false).await.map(|(number, _)| number)
    }

    /// Ends what another process than this one started for `cookie`; says what it was.
    pub(super) async fn end_leftovers(&self, cookie: &str, grace: Duration) -> Result<Vec<String>> {
        let spare = format!("{}.", Spawn::this_process());
        let arguments = format!("{} {} {}", quote(cookie), quote(&spare), tenths(grace));
        self.ask('l', arguments.as_bytes(), true).await.map(|(_, said)| said)
    }

    /// The number of the question and what is said to it. In the background it hears what else is
    /// said meanwhile.
    async fn ask(
        &self,
        what: char,
        arguments: &[u8],
        background: bool,
    ) -> Result<(u64, Vec<String>)> {
        let number = self.number();
        let (sender, mut answers) = mpsc::unbounded_channel();
        match &mut *self.answers.all() {
            Some(all) => drop(all.insert(number, sender)),
            None => return Err(self.lost()),
        }
        let mut line = format!("{what} {number} ").into_bytes();
        line.extend_from_slice(arguments);
        if background {
            line.extend_from_slice(b" &");
        }
        self.tell(line);
        let mut said = Vec::new();
        loop {
            let Some(answer) = answers.recv().await else { return Err(self.lost()) };
            if let Some(one) = answer.strip_prefix('-') {
                said.push(scrub(one).into_owned());
                continue;
            }
            if let Some(all) = &mut *self.answers.all() {
                all.remove(&number);
            }
            let Some(why) = answer.strip_prefix('!') else {
                return Ok((number, said));
            };
            return Err(Failure::msg(scrub(why)).next(
                "they are another user's, or hang inside the kernel: end them as root, and see the \
                 kernel's log (`dmesg`)",
            ));
        }
    }

    fn lost(&self) -> Failure {
        Failure::new(
            FailureKind::Disconnected,
            format!("the connection to {} was lost", self.place),
        )
    }
}

/// What is said of a host where `line` did not become a shell that works.
pub(super) fn not_ready(why: &str, place: &str, noise: &Noise, line: &str) -> Failure {
    Failure::msg(format!("{why} on {place}{}", noise.said()))
        .next(format!("look at what the login shell there makes of this line: `{line}`"))
}

/// Milliseconds of a clock that goes on while a runtime's stands still.
fn now() -> u64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(START.elapsed().as_millis()).unwrap_or(u64::MAX) + 1
}

/// Whole tenths of a second, rounded up. What is longer than any shell can count is some years.
fn tenths(duration: Duration) -> u128 {
    duration.as_millis().div_ceil(100).min(i32::MAX as u128)
}

/// Passes on what it is told, and a sign of life now and then.
async fn speak(
    mut stdin: BoxWrite,
    script: Vec<u8>,
    mut heard: mpsc::UnboundedReceiver<Vec<u8>>,
    beat: Duration,
    (patience, until): (Duration, Arc<AtomicU64>),
) {
    let mut beats = tokio::time::interval_at(tokio::time::Instant::now() + beat, beat);
    beats.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut line = script;
    loop {
        if stdin.write_all(&line).await.is_err() || stdin.flush().await.is_err() {
            return;
        }
        // Some of it may pass on the way.
        let patience = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
        until.store(now().saturating_add(patience / 4 * 3), Ordering::Relaxed);
        let said = tokio::select! {
            said = heard.recv() => said,
            _ = beats.tick() => Some(b"b".to_vec()),
        };
        let Some(said) = said else { break };
        line = said;
        line.push(b'\n');
    }
    // Nobody holds it any more, so nothing runs: it need not look for anything.
    let _ = stdin.write_all(b"q\n").await;
    let _ = stdin.shutdown().await;
}

/// Hands its answers on: each is a line, a number and the rest.
async fn listen(mut stdout: BoxRead, answers: Heard, ready: oneshot::Sender<()>, noise: &Noise) {
    /// No answer is so long.
    const LONG: usize = 1 << 20;
    let (mut buffer, mut line, mut ready) = (vec![0; 4096], Vec::new(), Some(ready));
    let mut before = 0;
    while let Ok(read) = stdout.read(&mut buffer).await
        && read > 0
        && line.len() < LONG
        && before < LONG
    {
        if ready.is_some() {
            before += read;
            noise.hear(&buffer[..read]);
        }
        for byte in &buffer[..read] {
            if *byte != b'\n' {
                line.push(*byte);
                continue;
            }
            if line == b"+"
                && let Some(ready) = ready.take()
            {
                let _ = ready.send(());
            }
            let text = String::from_utf8_lossy(&line);
            if let Some((number, answer)) = text.split_once(' ')
                && let Ok(number) = number.parse::<u64>()
                && let Some(answers) = &answers.0
                && let Some(Some(who)) = answers.all().as_ref().map(|all| all.get(&number))
            {
                let _ = who.send(answer.to_owned());
            }
            line.clear();
        }
    }
}

async fn drain(mut from: BoxRead, noise: &Noise) {
    let mut buffer = [0; 512];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        noise.hear(&buffer[..read]);
    }
}

/// The first of what a login shell says before it is ready.
#[derive(Clone, Default)]
pub(super) struct Noise(Arc<Mutex<Vec<u8>>>);

impl Noise {
    fn all(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn hear(&self, bytes: &[u8]) {
        const KEPT: usize = 200;
        let mut all = self.all();
        let room = KEPT.saturating_sub(all.len()).min(bytes.len());
        all.extend_from_slice(&bytes[..room]);
    }

    fn said(&self) -> String {
        let all = self.all();
        let text = String::from_utf8_lossy(&all);
        let text = text.trim().escape_debug().to_string();
        if text.is_empty() { text } else { format!("; it says `{}`", scrub(&text)) }
    }
}
