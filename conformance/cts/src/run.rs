//! One run over all cases on one driver, continued where an earlier one stopped.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use deqp_runner::deqp_command::DeqpCommand;
use deqp_runner::{
    Expectation, RunnerResults, RunnerStatus, SubRunConfig, TestCase, TestCommand as _, TestConfiguration,
    parallel_test,
};
use regex::RegexSet;
use vw_conformance::driver::Driver;

use crate::expectations::{Expectations, Kind};

/// Most cases of one program run.
const PER_PROGRAM: usize = 500;

/// Beside the results: whole seconds spent on them.
const SECONDS: &str = "seconds";

/// A run on one driver.
pub(crate) struct Suite {
    command: DeqpCommand,
    saved: PathBuf,
    /// Results so far, by case.
    pub(crate) results: HashMap<String, RunnerStatus>,
    /// Time spent on these, in earlier runs too.
    pub(crate) elapsed: Duration,
}

impl Suite {
    /// A run called `name`, with the results that are there already.
    ///
    /// # Errors
    /// The program is not there, or earlier results cannot be read.
    pub(crate) fn new(
        name: &str,
        deqp: &Path,
        driver: &Driver,
        output: &Path,
        timeout: f32,
        expectations: &Expectations,
    ) -> Result<Self> {
        let deqp = deqp.canonicalize().with_context(|| format!("no CTS at {}", deqp.display()))?;
        let output = output.join(name);
        std::fs::create_dir_all(&output)?;
        let output = output.canonicalize()?;
        let saved = output.join("results.csv");
        let mut results = HashMap::new();
        if let Ok(mut file) = File::open(&saved) {
            let earlier = RunnerResults::from_csv(&mut file)
                .with_context(|| format!("earlier results in {}", saved.display()))?;
            results.extend(earlier.sorted_results().into_iter().map(|r| (r.test.clone(), r.status)));
        }
        let elapsed = std::fs::read_to_string(saved.with_file_name(SECONDS)).unwrap_or_default();
        let elapsed = Duration::from_secs(elapsed.trim().parse().unwrap_or_default());
        let flags = ["--deqp-log-images=disable", "--deqp-log-shader-sources=disable"];
        let command = DeqpCommand {
            args: flags.iter().map(|flag| (*flag).to_owned()).collect(),
            vk_device_ids: Vec::new(),
            qpa_to_xml: None,
            config: TestConfiguration {
                output_dir: output.clone(),
                shader_cache_dir: output,
                skips: expectations.patterns(Kind::Skips)?,
                flakes: expectations.patterns(Kind::Flakes)?,
                single_thread: RegexSet::empty(),
                baseline: RunnerResults::new(),
                timeout: Duration::from_secs_f32(timeout),
                fraction: 1,
                fraction_start: 1,
                env: environment(driver),
                save_xfail_logs: false,
                max_fails: None,
                prefix: String::new(),
                includes: Vec::new(),
                expectation: Expectation::from_sub_run_config(&SubRunConfig::default(), name),
            },
            deqp,
        };
        Ok(Self { command, saved, results, elapsed })
    }

    /// Runs the cases that have no result yet, and saves what is known then.
    ///
    /// # Errors
    /// The program cannot be started, or results cannot be saved.
    pub(crate) fn run(&mut self, cases: &[String]) -> Result<()> {
        let left = cases.iter().filter(|case| !self.results.contains_key(*case));
        let left: Vec<_> = left.cloned().map(TestCase::Named).collect();
        if left.is_empty() {
            return Ok(());
        }
        let started = Instant::now();
        let groups = self.command.split_tests_to_groups(left, PER_PROGRAM)?;
        for result in parallel_test(std::io::stdout(), groups)?.sorted_results() {
            self.results.insert(result.test.clone(), result.status);
        }
        self.elapsed += started.elapsed();
        self.save()
    }

    fn save(&self) -> Result<()> {
        let temporary = self.saved.with_extension("part");
        let mut file = BufWriter::new(File::create(&temporary)?);
        let mut names: Vec<_> = self.results.iter().collect();
        names.sort_unstable_by_key(|(name, _)| *name);
        for (name, status) in names {
            writeln!(file, "{name},{status}")?;
        }
        file.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()?;
        std::fs::rename(&temporary, &self.saved).context("saving results")?;
        std::fs::write(self.saved.with_file_name(SECONDS), self.elapsed.as_secs().to_string())?;
        Ok(())
    }
}

/// The driver's environment as the runner takes it.
fn environment(driver: &Driver) -> HashMap<String, String> {
    let mut probe = std::process::Command::new("true");
    driver.apply(&mut probe);
    let text = |s: OsString| s.to_string_lossy().into_owned();
    probe
        .get_envs()
        .filter_map(|(name, value)| Some((text(name.to_owned()), text(value?.to_owned()))))
        .collect()
}
