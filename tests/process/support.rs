//! Runs a Lua script in a fresh interpreter and reports how it ended.

use std::ffi::OsString;
use std::fmt::Display;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use wait_timeout::ChildExt;

/// A process that runs longer is hanging, and is killed. The longest needs some seconds on an idle machine. An emulated one takes
/// longer: scripts/test-arm sets the number of seconds.
fn limit() -> Duration {
    let seconds = std::env::var("GMA2WORKERS_TEST_LIMIT").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or(300))
}

/// The interpreter: `lua5.3`, or the one that LUA names.
pub fn lua() -> &'static str {
    static LUA: LazyLock<String> = LazyLock::new(|| std::env::var("LUA").unwrap_or("lua5.3".into()));
    &LUA
}

/// The version of that Lua: "5.3".
pub fn version() -> &'static str {
    lua().trim_start_matches("lua")
}

/// The folder of the module that `scripts/build` made in this test's own profile.
pub fn module_folder() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    // target/PROFILE/deps/process-HASH
    let profile = test.ancestors().nth(2).expect("cargo puts tests two folders below target");
    let folder = match (profile.parent(), profile.file_name()) {
        (Some(target), Some(name)) if lua() != "lua5.3" => target.join(lua()).join(name).join("lua"),
        _ => profile.join("lua"),
    };
    let module = folder.join("gma2workers.so");
    assert!(module.exists(), "{} is missing: run scripts/build first", module.display());
    folder
}

/// The module built in this test's own profile.
pub fn module() -> PathBuf {
    module_folder().join("gma2workers.so")
}

/// The processor that the module is for, as its name in a zip has it.
pub fn processor() -> &'static str {
    let bytes = fs::read(module()).expect("the module can be read");
    // The field `e_machine` of the ELF header.
    match bytes[18] {
        62 => "x86_64",
        183 => "aarch64",
        machine => panic!("no zip is for machine {machine}"),
    }
}

/// The project's folder.
pub fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Waits until no thread uses the processor any more, and fails if one goes on.
pub const WAIT_FOR_REST: &str = r#"
    local function wait_for_rest()
      local native = require "consolenative"
      local stop, used = native.clock() + 40, nil
      repeat
        local before = os.clock()
        native.sleep(0.2)
        used = os.clock() - before
      until used < 0.02 or native.clock() > stop
      assert(used < 0.02, "tasks still run")
    end
"#;

/// Whether a program is installed.
pub fn is_installed(program: &str) -> bool {
    Command::new(program).arg("-v").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

/// One process to run.
#[must_use = "a case checks nothing until it is run"]
pub struct Case {
    words: Vec<OsString>,
    /// If there is a script, it follows as the last word.
    script: String,
    settings: Vec<(&'static str, OsString)>,
    folder: PathBuf,
    input: String,
    interrupt_at: Option<&'static str>,
}

impl Case {
    /// A script for stock Lua that finds the module under its name, and no other module.
    pub fn new(script: &str) -> Case {
        Case::in_lua(lua(), script)
    }

    /// A script for another Lua.
    pub fn in_lua(lua: &str, script: &str) -> Case {
        Case { script: script.to_owned(), ..Case::command([lua, "-e"]) }
    }

    /// Any command.
    pub fn command<W: Into<OsString>>(words: impl IntoIterator<Item = W>) -> Case {
        let case = Case {
            words: words.into_iter().map(Into::into).collect(),
            script: String::new(),
            settings: Vec::new(),
            folder: project().to_owned(),
            input: String::new(),
            interrupt_at: None,
        };
        case.cpath(&module_folder()).env("LUA_PATH", "")
    }

    /// Appends to the script.
    pub fn then(mut self, script: &str) -> Case {
        self.script.push('\n');
        self.script.push_str(script);
        self
    }

    /// Starts the command through another one, such as `taskset`.
    pub fn under<W: Into<OsString>>(mut self, wrapper: impl IntoIterator<Item = W>) -> Case {
        self.words.splice(0..0, wrapper.into_iter().map(Into::into));
        self
    }

    pub fn env(mut self, name: &'static str, value: impl Into<OsString>) -> Case {
        self.settings.push((name, value.into()));
        self
    }

    /// The folder where Lua looks for binaries; the last call counts.
    pub fn cpath(self, folder: &Path) -> Case {
        self.env("LUA_CPATH", folder.join("?.so"))
    }

    /// Lua finds no binary at all.
    pub fn without_cpath(self) -> Case {
        self.env("LUA_CPATH", "")
    }

    /// The folder where Lua looks for scripts, and for folders with an init.lua.
    pub fn path(self, folder: &Path) -> Case {
        let mut templates = folder.join("?.lua").into_os_string();
        templates.push(";");
        templates.push(folder.join("?/init.lua"));
        self.env("LUA_PATH", templates)
    }

    pub fn in_folder(mut self, folder: &Path) -> Case {
        folder.clone_into(&mut self.folder);
        self
    }

    /// The text that the process reads from its standard input.
    pub fn input(mut self, text: &str) -> Case {
        self.input = text.to_owned();
        self
    }

    /// Presses Ctrl-C once, when the process has written that line.
    pub fn interrupt_at(mut self, line: &'static str) -> Case {
        self.interrupt_at = Some(line);
        self
    }

    /// Runs the process to its end. It must not die of a signal, and must not hang.
    #[track_caller]
    pub fn run(self) -> Outcome {
        let (program, arguments) = self.words.split_first().expect("a command has a first word");
        let mut command = Command::new(program);
        command.args(arguments).current_dir(&self.folder);
        if !self.script.is_empty() {
            command.arg(&self.script);
        }
        for name in ["LUA_INIT", "LUA_PATH", "LUA_CPATH"] {
            command.env_remove(name);
            command.env_remove(format!("{name}_{}", version().replace('.', "_")));
        }
        command.envs(self.settings.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().unwrap_or_else(|cause| panic!("cannot start {program:?}: {cause}"));
        let (status, outcome) = follow(child, &self);
        match status {
            None => panic!("killed after {:?}: {outcome}", limit()),
            Some(status) => match status.code() {
                Some(code) => Outcome { code, ..outcome },
                None => panic!("died of signal {:?}: {outcome}", status.signal()),
            },
        }
    }
}

/// Feeds the process and collects its output until it ends. There is no status if it had to be killed.
fn follow(mut child: Child, case: &Case) -> (Option<ExitStatus>, Outcome) {
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("process ids are small"));
    let mut input = child.stdin.take().expect("stdin is piped");
    let output = child.stdout.take().expect("stdout is piped");
    let mut errors = child.stderr.take().expect("stderr is piped");
    thread::scope(|scope| {
        scope.spawn(move || {
            // A process may end without having read all of its input.
            let _ = input.write_all(case.input.as_bytes());
        });
        let stdout = scope.spawn(move || listen(output, case.interrupt_at, pid));
        let stderr = scope.spawn(move || {
            let mut bytes = Vec::new();
            errors.read_to_end(&mut bytes).expect("a pipe can be read");
            bytes
        });
        let status = child.wait_timeout(limit()).expect("a child can be waited for");
        let ended = Instant::now();
        if status.is_none() {
            child.kill().expect("a child can be killed");
            child.wait().expect("a killed child ends");
        }
        let (stdout, interrupted) =
            stdout.join().expect("the reader of stdout ends").expect("it can be read");
        let stderr = stderr.join().expect("the reader of stderr ends");
        let outcome = Outcome {
            code: -1,
            stdout: String::from_utf8_lossy(&stdout).into_owned(),
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
            after_interrupt: interrupted.map(|moment| ended.saturating_duration_since(moment)),
        };
        (status, outcome)
    })
}

/// Collects the output, and sends the signal after the given line.
fn listen(output: impl Read, at: Option<&str>, pid: Pid) -> io::Result<(Vec<u8>, Option<Instant>)> {
    let mut output = BufReader::new(output);
    let (mut all, mut interrupted) = (Vec::new(), None);
    loop {
        let before = all.len();
        if output.read_until(b'\n', &mut all)? == 0 {
            return Ok((all, interrupted));
        }
        let line = all[before..].trim_ascii_end();
        if interrupted.is_none() && at.is_some_and(|at| at.as_bytes() == line) {
            interrupted = Some(Instant::now());
            kill(pid, Signal::SIGINT).map_err(io::Error::from)?;
        }
    }
}

/// How a process ended.
pub struct Outcome {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
    /// The time from Ctrl-C to the end.
    pub after_interrupt: Option<Duration>,
}

impl Display for Outcome {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(to, "code {}\n-- stdout\n{}\n-- stderr\n{}", self.code, self.stdout, self.stderr)
    }
}

impl Outcome {
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Outcome {
        assert!(self.code == code, "expected code {code}, got {self}");
        self
    }

    /// The exit code is 0, and stderr is empty.
    #[track_caller]
    pub fn expect_clean(self) -> Outcome {
        self.expect_code(0).expect_no_complaint()
    }

    #[track_caller]
    pub fn expect_no_complaint(self) -> Outcome {
        assert!(self.stderr.is_empty(), "expected nothing on stderr, got {self}");
        self
    }

    /// Exactly that was written.
    #[track_caller]
    pub fn expect_stdout(self, text: &str) -> Outcome {
        assert!(self.stdout == text, "expected {text:?} on stdout, got {self}");
        self
    }

    #[track_caller]
    pub fn expect_stdout_with(self, part: &str) -> Outcome {
        assert!(self.stdout.contains(part), "expected {part:?} on stdout, got {self}");
        self
    }

    #[track_caller]
    pub fn expect_stderr_with(self, part: &str) -> Outcome {
        assert!(self.stderr.contains(part), "expected {part:?} on stderr, got {self}");
        self
    }

    /// The script failed with that message, and stderr has only the interpreter's report of it.
    #[track_caller]
    pub fn expect_own_error(self, message: &str) -> Outcome {
        let (first, rest) = self.stderr.split_once('\n').unwrap_or((&self.stderr, ""));
        let is_report = first.starts_with(&format!("{}: ", lua())) && first.ends_with(message);
        let is_trace =
            rest.starts_with("stack traceback:\n") && rest.lines().skip(1).all(|l| l.starts_with('\t'));
        assert!(is_report && is_trace, "expected the error {message:?} alone on stderr, got {self}");
        self.expect_code(1)
    }
}

/// An empty folder, removed when it is dropped.
pub fn empty_folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder can be made")
}

/// Makes a drop-in folder without a binary.
pub fn drop_in_without_binary(folder: &Path) {
    fs::create_dir_all(folder).expect("a folder can be made");
    fs::copy(project().join("lua/init.lua"), folder.join("init.lua")).expect("init.lua can be copied");
}

/// Makes a drop-in folder with all Lua files and the binary.
pub fn whole_drop_in(folder: &Path) {
    std::process::Command::new("cp")
        .arg("-r")
        .arg(project().join("lua"))
        .arg(folder)
        .status()
        .expect("cp runs");
    drop_in(folder);
}

/// Makes a drop-in folder as the README says.
pub fn drop_in(folder: &Path) {
    drop_in_without_binary(folder);
    fs::copy(module(), folder.join("gma2workers.so")).expect("the module can be copied");
}
