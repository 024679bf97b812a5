//! Worker processes, and what they are given to do. One that dies or hangs is a violation of the run it was at; a new one
//! takes its place.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use super::job::Report;
use super::recipe::Recipe;

/// Bytes of what a worker said last that are kept.
const LAST_WORDS: usize = 4_000;

/// How to run.
#[derive(Clone, Debug)]
pub struct Pool {
    /// Workers at the same time.
    pub jobs: usize,
    /// When a run has hung.
    pub patience: Duration,
    /// The bug that is planted in every worker.
    pub plant: Option<&'static str>,
}

struct Worker {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    words: Option<thread::JoinHandle<String>>,
}

impl Pool {
    /// Plays recipes as they are asked for, until there are no more, or `done` says that enough was seen. `done` is told
    /// each report as it comes, in no particular order.
    ///
    /// # Errors
    /// A worker cannot be started.
    pub fn run(
        &self,
        recipes: impl Iterator<Item = Recipe> + Send,
        mut done: impl FnMut(&Recipe, Report) -> bool + Send,
    ) -> Result<(), String> {
        let recipes = parking_lot::Mutex::new(recipes.fuse());
        let stop = AtomicBool::new(false);
        let done = parking_lot::Mutex::new(&mut done);
        let failed = parking_lot::Mutex::new(None);
        thread::scope(|scope| {
            for _ in 0..self.jobs {
                scope.spawn(|| {
                    let mut worker = None;
                    while !stop.load(Ordering::Relaxed) {
                        let Some(recipe) = recipes.lock().next() else { break };
                        let go_on = match self.play(&mut worker, &recipe) {
                            Ok(report) => done.lock()(&recipe, report),
                            Err(error) => {
                                *failed.lock() = Some(error);
                                false
                            }
                        };
                        stop.fetch_or(!go_on, Ordering::Relaxed);
                    }
                    drop(worker);
                });
            }
        });
        failed.into_inner().map_or(Ok(()), Err)
    }

    fn play(&self, place: &mut Option<Worker>, recipe: &Recipe) -> Result<Report, String> {
        let mut worker = match place.take() {
            Some(worker) => worker,
            None => Worker::start(self.plant)?,
        };
        worker.give(recipe);
        match worker.lines.recv_timeout(self.patience) {
            Ok(line) => {
                *place = Some(worker);
                Report::read(&line)
            }
            Err(RecvTimeoutError::Timeout) => {
                let what = format!("no end after {} s of real time", self.patience.as_secs());
                Ok(Report::ended("hang", what))
            }
            Err(RecvTimeoutError::Disconnected) => Ok(Report::ended("panic", worker.last_words())),
        }
    }
}

impl Worker {
    fn start(plant: Option<&str>) -> Result<Self, String> {
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut command = Command::new(program);
        command.arg("worker").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if let Some(bug) = plant {
            command.args(["--plant", bug]);
        }
        let mut child = command.spawn().map_err(|error| format!("cannot start a worker: {error}"))?;
        let (tell, lines) = channel();
        let (out, words) = (child.stdout.take(), child.stderr.take());
        thread::spawn(move || {
            for line in out.into_iter().flat_map(|out| BufReader::new(out).lines()).map_while(Result::ok) {
                if tell.send(line).is_err() {
                    break;
                }
            }
        });
        let words = thread::spawn(move || {
            let mut said = Vec::new();
            if let Some(mut words) = words {
                let _ = words.read_to_end(&mut said);
            }
            String::from_utf8_lossy(&said).into_owned()
        });
        Ok(Self { input: child.stdin.take(), child, lines, words: Some(words) })
    }

    fn give(&mut self, recipe: &Recipe) {
        if let Some(input) = &mut self.input {
            // One that is gone is noticed by its silence.
            let _ = writeln!(input, "{recipe}").and_then(|()| input.flush());
        }
    }

    fn last_words(&mut self) -> String {
        let _ = self.child.wait();
        let said = self.words.take().and_then(|words| words.join().ok()).unwrap_or_default();
        let from = said.len().saturating_sub(LAST_WORDS);
        let from = (from..=said.len()).find(|at| said.is_char_boundary(*at)).unwrap_or(0);
        said[from..].trim().to_owned()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Ends it at its next line, or now if it hangs.
        self.input = None;
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
