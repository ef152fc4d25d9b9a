//! Brings the pinned parts of the interop test into `target/interop`, once, under a lock.
//!
//! Node modules come from the lock file, Python packages from pinned requirements; a stamp holds the text of both, so
//! that a change of either installs anew. Never touches the repository or the user's own packages.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::process::Process;

/// The installed parts.
pub(crate) struct Parts {
    folder: PathBuf,
}

impl Parts {
    /// Installs what is not there yet; `None`, after one printed line, where node or python is missing.
    ///
    /// # Panics
    /// With `CI=true` when something is missing, and always when an installation fails.
    pub(crate) fn install() -> Option<Self> {
        if let Some(missing) = missing() {
            assert!(
                std::env::var("CI").as_deref() != Ok("true"),
                "the interop test needs {missing}"
            );
            println!("the interop test is skipped: it needs {missing}");
            return None;
        }
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("interop");
        fs::create_dir_all(&folder).unwrap();
        let lock = File::create(folder.join("lock")).unwrap();
        lock.lock().unwrap();
        let parts = Self { folder };
        parts.copy_scripts();
        parts.install_packages();
        Some(parts)
    }

    /// Node with one of the installed scripts.
    pub(crate) fn node(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("node");
        command.current_dir(&self.folder).args(arguments);
        command
    }

    /// A program of its own in the folder of the parts.
    pub(crate) fn program(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.folder);
        command
    }

    /// Where one of the installed files stands, if it does.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The installed Python with one of the scripts.
    pub(crate) fn python(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.folder.join("python/bin/python"));
        command.current_dir(&self.folder).args(arguments);
        command
    }

    /// The scripts stand beside the modules that they import, since node looks for those from there.
    fn copy_scripts(&self) {
        for entry in fs::read_dir(sources()).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                fs::copy(&path, self.folder.join(path.file_name().unwrap())).unwrap();
            }
        }
    }

    fn install_packages(&self) {
        let stamp = self.folder.join("installed");
        let wanted = ["package-lock.json", "requirements.txt"]
            .map(|name| fs::read_to_string(sources().join(name)).unwrap())
            .concat();
        if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
            return;
        }
        println!(
            "installing the parts of the interop test into {}",
            self.folder.display()
        );
        self.run("npm", Command::new("npm").arg("ci"));
        self.run(
            "python3",
            Command::new("python3").args(["-m", "venv", "--clear", "python"]),
        );
        let pip = ["-m", "pip", "install", "--quiet", "--requirement", "requirements.txt"];
        self.run("pip", &mut self.python(&pip));
        fs::write(stamp, wanted).unwrap();
    }

    fn run(&self, name: &str, command: &mut Command) {
        let process = Process::start(name, command.current_dir(&self.folder));
        let (well, output) = process.finish(Duration::from_secs(300));
        assert!(well, "{name} fails:\n{}", output.join("\n"));
    }
}

/// The folder of the scripts and lock files.
pub(crate) fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop")
}

/// What this machine lacks, for people.
fn missing() -> Option<&'static str> {
    let runs = |program: &str, arguments: &[&str]| {
        Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    };
    if !runs(
        "node",
        &["--eval", "process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)"],
    ) {
        Some("node, version 20 or later")
    } else if !runs("npm", &["--version"]) {
        Some("npm")
    } else if !runs(
        "python3",
        &[
            "-c",
            "import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))",
        ],
    ) {
        Some("python3, version 3.11 or later, with venv")
    } else {
        None
    }
}
