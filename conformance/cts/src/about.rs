//! What was compared: the day, the CTS's release, the host's driver.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use vw_conformance::child;
use vw_conformance::driver::Driver;

/// How long the CTS may take to tell about itself and the device.
const LIMIT: Duration = Duration::from_secs(60);

/// A line for the report.
///
/// # Errors
/// The CTS does not run on the driver.
pub(crate) fn line(deqp: &Path, host: &Driver, output: &Path) -> Result<String> {
    let deqp = deqp.canonicalize().with_context(|| format!("no CTS at {}", deqp.display()))?;
    let log = output.canonicalize()?.join("about.qpa");
    let mut command = host.command(&deqp);
    command.current_dir(deqp.parent().context("the CTS lies in no folder")?);
    command.arg("--deqp-case=dEQP-VK.info.device").arg(format!("--deqp-log-filename={}", log.display()));
    child::run(&mut command, LIMIT)?.expect_success("dEQP-VK.info.device");
    let text = std::fs::read(&log).with_context(|| format!("reading {}", log.display()))?;
    let text = String::from_utf8_lossy(&text);
    let value =
        |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("unknown").trim();
    let release = value("#sessionInfo releaseName");
    let release = release.split("-0-g").next().unwrap_or(release);
    Ok(format!(
        "{}, {release}, host driver {} (Vulkan {})",
        jiff::Zoned::now().date(),
        value("deviceName: "),
        value(" <Text>apiVersion: ").trim_end_matches("</Text>"),
    ))
}
