//! A Prometheus that scrapes the admin ports of daemons.

use std::process::Command;

use qres_tests::{http, wait};
use serde_json::Value;
use tempfile::TempDir;

use crate::program::{Program, free_port, on_path};

/// A running Prometheus with the alert rules of the chart.
pub struct Prometheus {
    url: String,
    _program: Program,
    _dir: TempDir,
}

impl Prometheus {
    /// Starts Prometheus and waits until it answers; `None` if it is not installed.
    pub async fn start(targets: &[String]) -> Option<Self> {
        let program = on_path("prometheus")?;
        let dir = tempfile::tempdir().unwrap();
        let config = serde_json::json!({
            "global": { "scrape_interval": "1s", "evaluation_interval": "1s" },
            "rule_files": [chart("files/rules.yaml")],
            "scrape_configs": [{ "job_name": "qres", "static_configs": [{ "targets": targets }] }],
        });
        // JSON is YAML.
        let path = dir.path().join("prometheus.yml");
        std::fs::write(&path, config.to_string()).unwrap();
        let port = free_port();
        let mut command = Command::new(program);
        command
            .arg(format!("--config.file={}", path.display()))
            .arg(format!("--storage.tsdb.path={}", dir.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"));
        let running = Program::start(&mut command, &dir.path().join("log"));
        let url = format!("http://127.0.0.1:{port}");
        wait::until("Prometheus to be ready", || async {
            let answer = http::get(&format!("{url}/-/ready")).ok()?;
            (answer.status == 200).then_some(())
        })
        .await;
        Some(Self {
            url,
            _program: running,
            _dir: dir,
        })
    }

    /// Returns the series of a query; panics if Prometheus refuses the query.
    pub fn query(&self, query: &str) -> Vec<Value> {
        let data = self.get(&format!("query?query={}", http::escape(query)));
        data["result"].as_array().cloned().unwrap_or_default()
    }

    /// Returns the alert rules with their health.
    pub fn rules(&self) -> Vec<Value> {
        let groups = self.get("rules")["groups"].as_array().cloned().unwrap_or_default();
        let rules = groups.iter().filter_map(|group| group["rules"].as_array().cloned());
        rules.flatten().collect()
    }

    fn get(&self, path: &str) -> Value {
        let answer = http::get(&format!("{}/api/v1/{path}", self.url)).unwrap();
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        let json: Value = serde_json::from_str(&answer.body).unwrap();
        json["data"].clone()
    }
}

/// Returns the path of a file of the chart.
pub fn chart(file: &str) -> String {
    format!("{}/../helm/qres/{file}", env!("CARGO_MANIFEST_DIR"))
}
