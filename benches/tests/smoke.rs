//! Every measurement once, with next to nothing to do: none of them has rotted. What they give is not judged.

use std::process::Command;

use serde_json::Value;

#[test]
fn every_row_when_measured_once_has_a_number_on_both_drivers() {
    let file = std::env::temp_dir().join(format!("vw-bench-smoke-{}.json", std::process::id()));
    let output = Command::new(env!("CARGO_BIN_EXE_vw-bench"))
        .args(["--smoke", "--no-instructions", "--json"])
        .arg(&file)
        .output()
        .expect("the benchmark's program");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let text = std::fs::read_to_string(&file).expect("the numbers");
    std::fs::remove_file(&file).expect("the numbers' file is ours");
    let results: Value = serde_json::from_str(&text).expect("JSON");
    let rows = results["rows"].as_array().expect("rows");
    assert!(rows.len() > 40, "only {} rows", rows.len());
    for row in rows {
        let name = row["name"].as_str().expect("a name");
        let value = |side: &str| row["values"][side][0].as_f64();
        assert!(value("vw").is_some_and(f64::is_finite), "no number for `{name}` through vw\n{errors}");
        // A program without a host has neither doorbells nor a host's idleness.
        let of_host_alone = ["doorbells", "wakes a frame", "calls that wait", "of the host"];
        let expected = !of_host_alone.iter().any(|words| name.contains(words));
        assert_eq!(value("native").is_some_and(f64::is_finite), expected, "native `{name}`\n{errors}");
    }
}
