//! The values of the Helm chart (`helm/qres`) and the settings of the daemon have the same names and types.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use qres_tests::binaries;
use serde_json::Value;

/// Returns the settings of the daemon with their default values, `None` for a setting without one, as `--check-config` prints
/// them.
fn settings() -> BTreeMap<String, Option<toml::Value>> {
    let output = Command::new(binaries::daemon())
        .arg("--check-config")
        .env_clear()
        .env("HOME", "/nonexistent")
        .output()
        .expect("the daemon runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    let values: toml::Table = text.parse().expect("the report is a file of settings");
    let unset = text
        .lines()
        .filter_map(|line| line.strip_prefix("# ")?.split_once(" is not set"));
    let unset = unset.map(|(key, _)| (key.to_owned(), None));
    values
        .into_iter()
        .map(|(key, value)| (key, Some(value)))
        .chain(unset)
        .collect()
}

fn read(name: &str) -> String {
    let path = super::root().join("helm/qres").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns the schema of `config:` in the chart's values.
fn schema() -> serde_json::Map<String, Value> {
    let schema: Value = serde_json::from_str(&read("values.schema.json")).expect("JSON");
    let config = &schema["properties"]["config"];
    assert_eq!(config["additionalProperties"], false, "an unknown setting is refused");
    config["properties"].as_object().expect("settings").clone()
}

/// Returns the names below `config:` in values.yaml, which is indented by two.
fn values() -> BTreeSet<String> {
    let text = read("values.yaml");
    let (_, config) = text.split_once("\nconfig:\n").expect("values.yaml has `config:`");
    config
        .lines()
        .take_while(|line| line.is_empty() || line.starts_with("  "))
        .filter_map(|line| line.trim_start().split_once(':'))
        .filter(|(name, _)| !name.starts_with('#'))
        .map(|(name, _)| name.to_owned())
        .collect()
}

/// Returns true if the schema takes values of this JSON type.
fn takes(schema: &Value, kind: &str) -> bool {
    let listed = |types: &Value| match types {
        Value::Array(types) => types.iter().any(|t| t == kind),
        one => one == kind,
    };
    match &schema["enum"] {
        Value::Array(choices) => kind == "string" && choices.iter().any(Value::is_string),
        _ => listed(&schema["type"]),
    }
}

#[test]
fn the_charts_values_are_the_daemons_settings() {
    let (settings, schema) = (settings(), schema());
    for key in settings.keys() {
        assert!(schema.contains_key(key), "values.schema.json lacks the setting {key}");
    }
    for key in schema.keys() {
        assert!(
            settings.contains_key(key),
            "values.schema.json has {key}, which is no setting of the daemon"
        );
    }
    let names: BTreeSet<String> = schema.keys().cloned().collect();
    assert_eq!(values(), names, "values.yaml and values.schema.json");
}

#[test]
fn the_charts_values_have_the_types_of_the_daemons_settings() {
    let schema = schema();
    for (key, default) in settings() {
        let Some(default) = default else { continue };
        let kind = match default {
            toml::Value::Integer(_) => "integer",
            toml::Value::Boolean(_) => "boolean",
            toml::Value::Array(_) => "array",
            _ => "string",
        };
        assert!(takes(&schema[&key], kind), "values.schema.json: {key} takes no {kind}");
    }
}
