//! A program started by a test: its lines as they come, and no way for it to outlive the test.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::until;

/// What a program printed and how it ended.
#[derive(Debug, Clone)]
pub struct Output {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    /// The standard output of a program that had to succeed.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(
            self.code,
            Some(0),
            "stdout: {}\nstderr: {}",
            self.stdout,
            self.stderr
        );
        self.stdout
    }

    /// The standard error of a program that had to fail.
    #[track_caller]
    pub fn failed(self) -> String {
        assert_ne!(
            self.code,
            Some(0),
            "stdout: {}\nstderr: {}",
            self.stdout,
            self.stderr
        );
        self.stderr
    }
}

/// A running program. Dropping it kills it; so does the end of the thread that started it.
pub struct Program {
    child: Child,
    stdout: Arc<Mutex<Vec<String>>>,
    stderr: Arc<Mutex<Vec<String>>>,
    readers: Vec<std::thread::JoinHandle<()>>,
}

/// `program` under a wrapper that makes the kernel kill it with the thread that starts it, even if that is killed.
pub fn command(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

impl Program {
    /// Starts `program` with its lines collected.
    pub fn start<A: AsRef<OsStr>>(program: &Path, args: &[A]) -> Program {
        Program::spawn(command(program).args(args))
    }

    /// Starts a command made by [`command`].
    pub fn spawn(command: &mut Command) -> Program {
        let mut program = Program::without_pipes(command);
        program.readers = vec![
            collect(
                program.child.stdout.take().expect("a pipe"),
                Arc::clone(&program.stdout),
            ),
            collect(
                program.child.stderr.take().expect("a pipe"),
                Arc::clone(&program.stderr),
            ),
        ];
        program
    }

    /// Starts a command that prints to somewhere else.
    pub fn without_pipes(command: &mut Command) -> Program {
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Program {
            child,
            stdout: Arc::default(),
            stderr: Arc::default(),
            readers: Vec::new(),
        }
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The lines on standard output so far.
    pub fn lines(&self) -> Vec<String> {
        self.stdout
            .lock()
            .expect("the reader does not panic")
            .clone()
    }

    /// The lines on standard error so far.
    pub fn errors(&self) -> Vec<String> {
        self.stderr
            .lock()
            .expect("the reader does not panic")
            .clone()
    }

    /// Waits for a line on standard output and returns the first that fits.
    #[track_caller]
    pub fn line(&self, what: &str, within: Duration, fits: impl Fn(&str) -> bool) -> String {
        let end = Instant::now() + within;
        loop {
            if let Some(line) = self.lines().iter().find(|line| fits(line)) {
                return line.clone();
            }
            assert!(
                Instant::now() < end,
                "not within {within:?}: {what}\nstdout: {:#?}\nstderr: {:#?}",
                self.lines(),
                self.errors()
            );
            std::thread::sleep(super::POLL);
        }
    }

    /// Whether it has ended, and how.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child of ours")
    }

    /// Sends a signal by its name, such as `TERM`.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .arg(format!("-{name}"))
            .arg(self.pid().to_string())
            .status();
        assert!(
            status.is_ok_and(|status| status.success()),
            "kill -{name} {}",
            self.pid()
        );
    }

    /// Waits for its end; kills it when `within` is over, and then the code is `None`.
    pub fn wait(mut self, within: Duration) -> Output {
        let end = Instant::now() + within;
        let mut code = None;
        while Instant::now() < end {
            if let Some(status) = self.ended() {
                code = status.code();
                break;
            }
            std::thread::sleep(super::POLL);
        }
        self.kill();
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        Output {
            code,
            stdout: self.lines().join("\n"),
            stderr: self.errors().join("\n"),
        }
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
    }
}

fn collect(
    pipe: impl Read + Send + 'static,
    lines: Arc<Mutex<Vec<String>>>,
) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n') {
            let Ok(line) = line else { return };
            lines
                .lock()
                .expect("nobody panics with it")
                .push(String::from_utf8_lossy(&line).into_owned());
        }
    })
}

/// Runs something when this process ends, in whatever way: a shell that waits for the end of its standard input.
pub struct Guard(Option<Child>);

impl Guard {
    /// `script` is bash and gets `args` as `$1` and so on.
    pub fn new<A: AsRef<OsStr>>(script: &str, env: &[(&str, String)], args: &[A]) -> Guard {
        use std::os::unix::process::CommandExt;
        let child = Command::new("bash")
            .arg("-c")
            .arg(format!("trap '' INT TERM HUP; read -r _; {script}"))
            .arg("guard")
            .args(args)
            .envs(env.iter().map(|(name, value)| (*name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C in the terminal is for the tests; this one cleans up after them.
            .process_group(0)
            .spawn()
            .expect("bash");
        Guard(Some(child))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            drop(child.stdin.take());
            let _ = child.wait();
        }
    }
}

/// Waits until `pid` is gone (or a zombie).
pub fn gone(pid: u32, within: Duration) {
    until(&format!("process {pid} is gone"), within, || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let state = stat
            .rsplit(')')
            .next()
            .and_then(|rest| rest.trim_start().chars().next());
        matches!(state, None | Some('Z')).then_some(())
    });
}
